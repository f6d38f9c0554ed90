"""One MQTT connection on one paho-mqtt client, whose thread is translated to the event loop.

A client object is not used again after a disconnect: paho would publish everything it remembers at once, whatever
`max_inflight` says. What is sent again, and in which order, is decided in `flights.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge import tcp
from bridge.errors import ConnectionRefusedByPeer, LinkError, TakenOver
from edge_agent import dialling, vigil
from edge_agent.dialling import Unanswered
from edge_agent.pinging import PingingClient
from edge_agent.watching import Watch

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Sequence

    from paho.mqtt.reasoncodes import ReasonCode

    from bridge.link.events import TcpInfo
    from edge_agent.login import Login

_T = TypeVar("_T")

TAKEN_OVER, PACKET_TOO_LARGE = 0x8E, 0x95
CONNECT_TIMEOUT = 10.0  # seconds for TCP, TLS, CONNACK and SUBACK
LET_GO, LET_GO_DEAD = 1.0, 0.1  # seconds for DISCONNECT to be written; where nobody hears it
SESSION = 86_400  # seconds a broker keeps our receipts while we are away


class TooLarge(LinkError):
    """The broker ended the connection because of a packet larger than it takes."""


class Accepted(msgspec.Struct, frozen=True):
    """What the broker said at the beginning: did it know our session, how much does it take."""

    session: bool
    receive_maximum: int
    maximum_packet_size: int | None


class Connection:
    """From the first byte to the last; not used twice.

    Args:
        login: who we are.
        tls: from `tls_context`.
        will: topic and payload of the retained will, if there is to be one.
        hear: takes topic and payload of each message, on the event loop.
        most: messages that may be under way.
        dialler: makes TCP connections to the broker.
        dialled: one that was begun already.
        leniency: seconds more that it may be silent; see `edge_agent.vigil`.
        asked: called at each PINGREQ, whoever asked.

    Attributes:
        ended: how it ended, once it has.
    """

    def __init__(
        self,
        login: Login,
        tls: ssl.SSLContext | None,
        *,
        will: tuple[str, bytes] | None,
        hear: Callable[[str, bytes], None],
        most: int,
        dialler: dialling.Dialler,
        dialled: asyncio.Task[socket.socket] | None = None,
        leniency: float = 0.0,
        asked: Callable[[], None] = lambda: None,
    ) -> None:
        self._told_asked = asked
        self._loop = asyncio.get_running_loop()
        self._login = login
        self._v5 = login.protocol == "5"
        self._open: dict[int, asyncio.Future[int]] = {}
        self._wanted = True
        self._connected: asyncio.Future[tuple[ReasonCode, bool, Properties | None]] = self._loop.create_future()
        self._subscribed: asyncio.Future[None] = self._loop.create_future()
        self.ended: asyncio.Future[LinkError] = self._loop.create_future()
        self._pongs: deque[asyncio.Future[None]] = deque()
        self._asked_at: float | None = None  # since when a PINGREQ, ours or paho's, has no answer
        self._dialler, self._dialled = dialler, dialled
        self._watch = Watch(
            sock=self._socket, ask=self._inquire, dial=self._dial, leniency=leniency,
            dead=lambda why: _settle(self.ended, Unanswered(why)),
        )  # fmt: skip
        self._watching: asyncio.Task[None] | None = None
        self._client = PingingClient(
            CallbackAPIVersion.VERSION2,
            login.client_id,
            None if self._v5 else not login.keep_session,
            protocol=paho.MQTTv5 if self._v5 else paho.MQTTv311,
            reconnect_on_failure=False,
        )
        self._client.max_inflight_messages_set(most + 4)  # our own bound is below; the status needs room beside it
        self._client.connect_timeout = CONNECT_TIMEOUT / 2
        if will is not None:
            self._client.will_set(will[0], will[1], qos=1, retain=True)
        if login.username is not None:
            self._client.username_pw_set(login.username, login.password)
        if tls is not None:
            self._client.tls_set_context(tls)
        self._listen(hear)

    async def open(self, filters: Sequence[str], *, known: bool = False) -> Accepted:
        """Connects and subscribes with QoS 1.

        Args:
            filters: what to read.
            known: the broker let us read that before; what it says now is not waited for, which spares a round trip.

        Raises:
            LinkError: it did not come to be.
        """
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                self._dialled = self._dialled or self._dial()
                sock, self._dialled = await self._dialled, None
                await dialling.detached(lambda: self._greet(sock))
                self._client.loop_start()
                code, session, properties = await self._unless_ended(self._connected)
                if code.is_failure:
                    raise ConnectionRefusedByPeer(f"the broker refused: {code}", code=code.value)
                self._watching = asyncio.create_task(self._watch.run())
                self._client.subscribe([(one, 1) for one in filters])
                self._watch.owed()
                if not known:
                    await self._unless_ended(self._subscribed)
        except TimeoutError as why:
            raise Unanswered(f"no answer within {CONNECT_TIMEOUT:.0f} s") from why
        return Accepted(
            session, getattr(properties, "ReceiveMaximum", 65_535), getattr(properties, "MaximumPacketSize", None)
        )

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        timeout: float,  # noqa: ASYNC109 # ends the connection too
        retain: bool = False,
    ) -> int:
        """Publishes with QoS 1; without a PUBACK in time the connection ends.

        Returns:
            The reason code of the PUBACK.

        Raises:
            LinkError: what became of it is unknown.
        """
        # No properties: the first byte tells JSON from CBOR, and rumqttd's 3.1.1 listener dies of any property.
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise LinkError(f"not sent: {paho.error_string(info.rc)}")
        future: asyncio.Future[int] = self._loop.create_future()
        self._open[info.mid] = future
        self._watch.owed()
        began = self._loop.time()
        try:
            async with asyncio.timeout(timeout):
                code = await self._unless_ended(future)
                self._watch.heard(more=self._is_owed(), took=self._loop.time() - began)
                return code
        except TimeoutError as why:
            error = LinkError(f"no PUBACK within {timeout:.0f} s")
            _settle(self.ended, error)
            raise error from why
        finally:
            del self._open[info.mid]

    def post(self, topic: str, payload: bytes) -> None:
        """Publishes with QoS 0: whatever answers it comes another way.

        Raises:
            LinkError: there is no connection.
        """
        info = self._client.publish(topic, payload, qos=0)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise LinkError(f"not sent: {paho.error_string(info.rc)}")
        self._watch.owed()

    def listen(self, topic_filter: str, *, wanted: bool) -> None:
        """Subscribes with QoS 1, or ends that; what is published from now on meets a broker that knows."""
        if wanted:
            self._client.subscribe([(topic_filter, 1)])
        else:
            self._client.unsubscribe(topic_filter)

    async def ask(self) -> None:
        """PINGREQ, and its answer.

        Raises:
            LinkError: the connection ended, or there is none.
        """
        code = self._client.ping()
        if code != paho.MQTT_ERR_SUCCESS:
            raise LinkError(f"not sent: {paho.error_string(code)}")
        pong: asyncio.Future[None] = self._loop.create_future()
        self._pongs.append(pong)
        await self._unless_ended(pong)

    def kernel(self) -> TcpInfo | None:
        """What the kernel knows of the connection."""
        sock = self._socket()
        seen = None if sock is None else tcp.look(sock, self._loop.time())
        return None if seen is None else seen.info

    def drop(self, why: str) -> None:
        """Ends it: it is not worth waiting for."""
        _settle(self.ended, Unanswered(why))

    def successor(self) -> asyncio.Task[socket.socket] | None:
        """The TCP connection that was begun beside this one, which died; its taker uses it or closes it."""
        return self._watch.take()

    async def close(self) -> None:
        """Disconnects, without the will if the broker still hears us.

        Paho's thread ends when it has written that: a full send buffer would hold it until the kernel gives up.
        """
        self._wanted = False
        if self._watching is not None:
            self._watching.cancel()
        for unused in (self._dialled, self._watch.take()):
            if unused is not None:
                dialling.spare(unused)
        dead = self.ended.done() and isinstance(self.ended.result(), Unanswered)
        if dead:
            tcp.forget(self._socket())
        self._client.disconnect()
        stopped = asyncio.create_task(asyncio.to_thread(self._client.loop_stop))
        severing = self._loop.call_later(LET_GO_DEAD if dead else LET_GO, self._sever)

        def ended(_: object) -> None:  # also if nobody waits for it any more
            severing.cancel()
            self._client.release()

        stopped.add_done_callback(ended)
        await asyncio.shield(stopped)

    def _sever(self) -> None:
        if (sock := self._socket()) is not None:
            tcp.sever(sock)

    def _socket(self) -> Any:
        return self._client.socket()

    def _dial(self) -> asyncio.Task[socket.socket]:
        return self._loop.create_task(self._dialler.dial(patience_s=vigil.LEAST_PATIENCE))

    def _greet(self, sock: socket.socket) -> None:
        """TLS and CONNECT; in a thread of its own."""
        extra: dict[str, Any] = {}
        if self._v5:
            properties = _properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = SESSION if self._login.keep_session else 0
            extra = {"clean_start": not self._login.keep_session, "properties": properties}
        url = self._login.url
        self._client.dialled = sock
        try:
            self._client.connect(url.host, url.port, self._login.keep_alive, **extra)
        except (OSError, ValueError) as why:  # ValueError: a host name that no certificate can have
            sock.close()
            raise LinkError(f"cannot connect: {why}") from why

    def _listen(self, hear: Callable[[str, bytes], None]) -> None:
        """Paho calls from its own thread; each call is handed to the loop, in order."""
        client = self._client

        def soon(call: Callable[..., None], *args: Any) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(call, *args)

        def acknowledged(mid: int, code: ReasonCode | None) -> None:
            if mid in self._open:
                _settle(self._open[mid], 0 if code is None else code.value)

        client.on_socket_open = lambda _client, _data, sock: self._opened(sock)
        client.on_connect = lambda _client, _data, flags, code, props: soon(
            _settle, self._connected, (code, flags.session_present, props)
        )
        client.on_subscribe = lambda _client, _data, _mid, codes, _props: soon(self._granted, codes)
        client.on_disconnect = lambda _client, _data, _flags, code, _props: soon(_settle, self.ended, _ending(code))
        client.on_publish = lambda _client, _data, mid, code, _props: soon(acknowledged, mid, code)
        client.on_ping = lambda: soon(self._questioned)
        client.on_pong = lambda: soon(self._pong)
        client.on_message = lambda _client, _data, message: soon(
            self._take, hear, message.topic, bytes(message.payload)
        )

    def _opened(self, sock: Any) -> None:
        if not self._wanted:
            sock.close()  # too late: nobody waits for it, and it would take our own session over

    def _granted(self, codes: list[ReasonCode]) -> None:
        self._watch.heard(more=self._is_owed())
        if any(code.is_failure for code in codes):
            _settle(self.ended, LinkError("the broker does not let us read our receipts: check its ACL"))
        else:
            _settle(self._subscribed, None)

    def _take(self, hear: Callable[[str, bytes], None], topic: str, payload: bytes) -> None:
        self._watch.heard(more=self._is_owed())
        hear(topic, payload)

    def _is_owed(self) -> bool:
        """Whether the broker has to answer something yet."""
        return self._asked_at is not None or any(not one.done() for one in self._open.values())

    def _inquire(self) -> None:
        """PINGREQ, unless one is under way."""
        if self._asked_at is None:
            self._client.ping()

    def _questioned(self) -> None:
        self._told_asked()
        if self._asked_at is None:
            self._asked_at = self._loop.time()
        self._watch.owed()

    def _pong(self) -> None:
        took = None if self._asked_at is None else self._loop.time() - self._asked_at
        self._asked_at = None
        self._watch.heard(more=self._is_owed(), took=took)
        if self._pongs:  # paho's own PINGREQ has nobody waiting
            _settle(self._pongs.popleft(), None)

    async def _unless_ended(self, wanted: asyncio.Future[_T]) -> _T:
        either: set[asyncio.Future[Any]] = {wanted, self.ended}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if wanted.done():
            return wanted.result()
        raise self.ended.result()


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _properties(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call] # paho types it no further


def _ending(code: ReasonCode) -> LinkError:
    if code.value == TAKEN_OVER:
        return TakenOver("another client uses our client id; is a second agent running for this device?")
    return (TooLarge if code.value == PACKET_TOO_LARGE else LinkError)(f"disconnected: {code}")
