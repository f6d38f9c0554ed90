"""Uplink over MQTT: connections one after the other, and what is said on them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from bridge import topics
from bridge.errors import LinkError, Refused, TakenOver
from bridge.messages import Error, Receipt
from bridge.wire.answers import decode_answer
from edge_agent import backoff, dialling, shortening
from edge_agent.dialling import Unanswered
from edge_agent.login import Login, tls_context
from edge_agent.mqtt_connection import Connection, TooLarge
from edge_agent.uplink import TAKEN, Outcome

if TYPE_CHECKING:
    import socket

    from bridge.link.events import TcpInfo
    from bridge.wire.formats import Format
    from edge_agent.uplink import Listener, Said, Writing

log = logging.getLogger(__name__)

NO_SUBSCRIBERS = 0x10
QUOTA_EXCEEDED = 0x97  # other refusals (an ACL's 0x87) are of one topic
REFUSED_WAIT = 5.0  # seconds
HINT_AT = 2  # attempts in a row that found no broker of our protocol, before we wonder aloud
STEADY = 5.0  # seconds after which a connection counts as good, and back-off begins anew
LOST_AT_ONCE = 3  # connections lost within that time, one after the other, that look like a twin's
GOODBYE = 1.0  # seconds
PERSISTENCE = 120.0  # seconds of nothing but silence in which a link is expected back: SYNs, two a second
AT_ONCE, SHORT = 0.1, 1.0  # seconds of pause then, at most, and after an error that came at once (no route)
LENIENCY = 1.0, 16.0  # seconds more that a connection may be silent if the last died so early; twice each time, at most
BESIDE = 512  # bytes of a packet that topic, properties and header may take


class MqttUplink:
    """See `edge_agent.uplink.Uplink`.

    Args:
        login: who we are to the broker.
        site: first level of our topics.
        device: second.
        window: most messages under way.
        publish_timeout: seconds without a PUBACK after which the connection is given up.

    Attributes:
        asked: PINGREQs that left so far, whoever asked.

    Raises:
        ConfigError: a certificate file cannot be used.
    """

    in_order = False

    def __init__(
        self, login: Login, *, site: str, device: str, window: int = 16, publish_timeout: float = 20.0
    ) -> None:
        self.transport = "mqtt5" if login.protocol == "5" else "mqtt311"
        self.window = window
        self.most_bytes: int | None = None
        self.asked = 0
        self._most = window
        self._site, self._device = site, device
        self._login = login
        self._timeout = publish_timeout
        self._tls = tls_context(login)
        self._connection: Connection | None = None
        self._up = False
        self._came_up = False
        self._unheard = False
        self._listening = True
        self._hurry = asyncio.Event()
        self._facts: dict[str, Any] = {}
        self._telling = asyncio.Lock()  # one status at a time: the window leaves room for one
        self._dialler = dialling.Dialler(login.url)
        self._successor: asyncio.Task[socket.socket] | None = None
        self._heard = float("-inf")  # when a connection last stood
        self._leniency = 0.0
        self._readable = False
        self._largest: int | None = None  # bytes of a packet that the broker takes, as it said last
        self._short = False

    async def run(self, listener: Listener) -> None:
        """Connects, and again with jittered back-off, until cancelled.

        Raises:
            TakenOver: another client uses our client id.
        """
        attempt = lost = 0
        while True:
            began, self._came_up = time.monotonic(), False
            try:
                await self._session(listener)
            except TakenOver:
                raise
            except LinkError as why:
                steady = time.monotonic() - began > STEADY
                attempt = 1 if steady else attempt + 1
                silent = isinstance(why, Unanswered)
                explained = silent or isinstance(why, TooLarge)
                lost = lost + 1 if self._came_up and not steady and not explained else 0
                if lost >= LOST_AT_ONCE:  # Mosquitto tells a client with a lasting session nothing
                    name = self._login.client_id
                    log.warning("lost %d times at once: does a second agent use client id %s?", lost, name)
                pause = self._pause_after(why, attempt, time.monotonic() - began)
                self._be_lenient(silent and not steady)
                hint = "" if self._heard > float("-inf") or attempt != HINT_AT else self._hint()
                log.warning("%s: %s; trying again in %.1f s%s", self._login.url, why, pause, hint)
                await self._pause(pause)

    def _pause_after(self, why: LinkError, attempt: int, took: float) -> float:
        """Seconds: next to none while a link that carried is silent, for our SYNs tell when it is back."""
        dice = random.random()  # noqa: S311 # spreads load, guards nothing
        pause = backoff.delay(attempt, dice)
        if isinstance(why, Unanswered) and time.monotonic() - self._heard < PERSISTENCE:
            return min(AT_ONCE * dice if took >= SHORT else pause, SHORT)
        return pause

    def _be_lenient(self, more: bool) -> None:
        """A broker that stalls, and is slow with new connections too, is not hammered with them."""
        least, most = LENIENCY
        self._leniency = min(most, max(least, 2 * self._leniency)) if more and self._came_up else 0.0

    async def _pause(self, seconds: float) -> None:
        self._hurry.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            return

    def hurry(self) -> None:
        """The link is back, another way was heard: connects now instead of after the back-off."""
        self._hurry.set()

    def drop(self, why: str) -> None:
        """Ends the connection, whose other end does not answer though the link carries; another is tried at once."""
        if self._connection is not None and self._up:
            self._connection.drop(why)

    def _hint(self) -> str:
        other = "3.1.1" if self._login.protocol == "5" else "5"
        return (
            f". Does this port speak MQTT {self._login.protocol}? The bridge's embedded broker has one port for 3.1.1 "
            f'(1883) and one for 5 (1884); protocol = "{other}" is the other'
        )

    def writing(self, _stream: str) -> Writing | None:
        """As the settings say."""
        return None

    async def send(self, stream: str, payload: bytes, _form: Format, *, said: Said | None = None) -> Outcome:  # noqa: ARG002 # as every uplink
        """Publishes with QoS 1 and waits for the PUBACK.

        Raises:
            LinkError: not connected, the connection ended, or no PUBACK in time: unknown.
        """
        if self._connection is None or not self._up:
            raise LinkError("not connected")
        topic = topics.data(self._site, self._device, stream)
        code = await self._connection.publish(topic, payload, timeout=self._timeout)
        if code >= 0x80:
            kind: Literal["wait", "barred"] = "wait" if code == QUOTA_EXCEEDED else "barred"
            return Outcome(kind, f"the broker refused with reason 0x{code:02x}", REFUSED_WAIT)
        if code == NO_SUBSCRIBERS and not self._unheard:
            log.warning("%s: nobody listens to %s; rows are kept until a bridge does", self._login.url, topic)
        self._unheard = code == NO_SUBSCRIBERS
        return TAKEN

    @property
    def is_up(self) -> bool:
        """Whether messages can be sent now."""
        return self._connection is not None and self._up

    def post(self, stream: str, payload: bytes) -> None:
        """Publishes with QoS 0; the bridge's receipt is the only answer.

        Raises:
            LinkError: not connected.
        """
        if self._connection is None or not self._up:
            raise LinkError("not connected")
        self._connection.post(topics.data(self._site, self._device, stream), payload)

    def listen(self, *, wanted: bool) -> None:
        """Whether receipts are to come; each connection begins with yes."""
        if self._connection is not None and self._up and wanted != self._listening:
            self._listening = wanted
            self._connection.listen(topics.receipt(self._site, self._device, "+"), wanted=wanted)

    async def ask(self) -> None:
        """Returns when the broker has answered a small question.

        Raises:
            LinkError: not connected, or the connection ended.
        """
        if self._connection is None or not self._up:
            raise LinkError("not connected")
        await self._connection.ask()

    def kernel(self) -> TcpInfo | None:
        """What the kernel knows of the connection."""
        return self._connection.kernel() if self._connection is not None and self._up else None

    async def tell(self, facts: dict[str, Any], *, at_once: bool = True) -> int:
        """See `Uplink`; the next connection tells it too. The will, which may come much later, has no facts."""
        self._facts = facts
        if at_once and self._connection is not None and self._up:
            with suppress(LinkError):  # the connection has ended, which `run` sees too
                return await self._tell_status(self._connection, online=True, timeout=self._timeout)
        return 0

    async def close(self) -> None:
        """Publishes that we are offline, and disconnects without the will."""
        connection, self._connection = self._connection, None
        if self._successor is not None:
            dialling.spare(self._successor)
        if connection is None:
            return
        if self._up:
            self._up = False
            try:
                await self._tell_status(connection, online=False, timeout=GOODBYE)
            except LinkError as why:
                log.info("%s: could not say goodbye: %s", self._login.url, why)
        await connection.close()

    async def _session(self, listener: Listener) -> NoReturn:
        """One connection.

        Raises:
            LinkError: how it ended.
        """
        connection = self._connection = Connection(
            self._login,
            self._tls,
            will=self._will(),
            hear=lambda topic, payload: _hear(listener, topic, payload),
            most=self._most,
            dialler=self._dialler,
            dialled=self._successor,
            leniency=self._leniency,
            asked=self._count,
        )
        self._successor = None
        try:
            await self._converse(connection, listener)
        except LinkError as why:
            if self._up:
                self._heard = time.monotonic()
            else:
                self._readable = False
            self._up, self._connection = False, None
            self._successor = connection.successor()
            listener.disconnected(str(why))
            await connection.close()
            raise

    def _count(self) -> None:
        self.asked += 1

    async def _converse(self, connection: Connection, listener: Listener) -> NoReturn:
        receipts = topics.receipt(self._site, self._device, "+")
        accepted = await connection.open([receipts, topics.error(self._site, self._device)], known=self._readable)
        self._readable = True
        self.window = min(self._most, max(1, accepted.receive_maximum - 1))  # one is left for the status
        self._largest = size = accepted.maximum_packet_size
        self.most_bytes = None if size is None else max(1, size - BESIDE)
        self._up = self._came_up = self._listening = True
        log.info("%s: connected, %s", self._login.url, self.transport)
        telling = asyncio.create_task(self._tell_status(connection, online=True, timeout=self._timeout))
        listener.connected(fresh=not accepted.session)  # the rows follow the status, and do not wait for its PUBACK
        await telling
        raise await asyncio.shield(connection.ended)  # else being cancelled would count as its end

    async def _tell_status(self, connection: Connection, *, online: bool, timeout: float) -> int:  # noqa: ASYNC109 # ends the connection too
        """Bytes of it."""
        async with self._telling:
            payload = self._status(shortening.PUBLISH, online=online, **self._facts)
            if payload is not None:
                await connection.publish(topics.status(self._site, self._device), payload, timeout=timeout, retain=True)
            return len(payload or b"")

    def _status(self, beside: int, *, online: bool, **facts: Any) -> bytes | None:
        """As much of it as the broker takes; `beside`: bytes of its packet besides the topic."""
        topic = topics.status(self._site, self._device)
        room = None if self._largest is None else self._largest - beside - len(topic.encode())
        payload = shortening.fitting(room, online=online, t=time.time(), transport=self.transport, **facts)
        if payload is None and not self._short:
            log.warning("%s takes packets of %d bytes: too few for a status or a will", self._login.url, self._largest)
            self._short = True
        return payload

    def _will(self) -> tuple[str, bytes] | None:
        """It has to fit CONNECT, and the packet in which it is published; at first nobody knows of a bound."""
        login = self._login
        names = sum(len((one or "").encode()) for one in (login.client_id, login.username, login.password))
        payload = self._status(max(shortening.PUBLISH, shortening.CONNECT + names), online=False)
        return None if payload is None else (topics.status(self._site, self._device), payload)


def _hear(listener: Listener, topic: str, payload: bytes) -> None:
    try:
        if topic.endswith("/error"):
            listener.refusal(decode_answer(payload, Error))
        else:
            listener.receipt(topic.rpartition("/")[2], decode_answer(payload, Receipt))
    except Refused as why:
        log.warning("%s: %s", topic, why)
