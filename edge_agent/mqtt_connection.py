"""One MQTT connection on one paho-mqtt client, whose thread is translated to the event loop.

A client object is not used again after a disconnect: paho would publish everything it remembers at once, whatever
`max_inflight` says. What is sent again, and in which order, is decided in `flights.py`.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge.errors import ConfigError, ConnectionRefusedByPeer, LinkError, TakenOver
from edge_agent import kernel
from edge_agent.config import Url
from edge_agent.pinging import PingingClient

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paho.mqtt.reasoncodes import ReasonCode

    from bridge.link.events import TcpInfo

_T = TypeVar("_T")

TAKEN_OVER = 0x8E
CONNECT_TIMEOUT = 10.0  # seconds for TCP, TLS, CONNACK and SUBACK
PATIENCE = 20.0  # seconds that the kernel repeats what nobody acknowledges before it gives the connection up
SESSION = 86_400  # seconds a broker keeps our receipts while we are away


class Login(msgspec.Struct, frozen=True):
    """Who we are to the broker, and how we speak to it; never logged.

    Attributes:
        url: mqtt or mqtts.
        client_id: name of our session.
        protocol: "3.1.1" or "5".
        keep_alive: seconds.
        username: if any.
        password: if any.
        ca: PEM file.
        cert: PEM file.
        key: PEM file.
        keep_session: let the broker keep receipts for us while we are away.
    """

    url: Url
    client_id: str
    protocol: str = "5"
    keep_alive: int = 30
    username: str | None = None
    password: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    keep_session: bool = True

    def __repr__(self) -> str:
        return f"Login({self.client_id})"


class Accepted(msgspec.Struct, frozen=True):
    """What the broker said at the beginning: did it know our session, how much does it take."""

    session: bool
    receive_maximum: int
    maximum_packet_size: int | None


def tls_context(login: Login) -> ssl.SSLContext | None:
    """What the certificate files make; None without TLS.

    Raises:
        ConfigError: one of them cannot be used.
    """
    if login.url.scheme != "mqtts":
        return None
    try:
        context = ssl.create_default_context(cafile=login.ca)
    except (OSError, ssl.SSLError) as why:
        raise ConfigError(f"ca {login.ca}: {why}") from why
    if login.cert is not None:
        try:
            context.load_cert_chain(login.cert, login.key)
        except (OSError, ssl.SSLError) as why:
            raise ConfigError(f"cert {login.cert}, key {login.key}: {why}") from why
    return context


class Connection:
    """From the first byte to the last; not used twice.

    Args:
        login: who we are.
        tls: from `tls_context`.
        will: topic and payload of the retained will.
        hear: takes topic and payload of each message, on the event loop.
        most: messages that may be under way.

    Attributes:
        ended: how it ended, once it has.
    """

    def __init__(
        self,
        login: Login,
        tls: ssl.SSLContext | None,
        *,
        will: tuple[str, bytes],
        hear: Callable[[str, bytes], None],
        most: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._login = login
        self._v5 = login.protocol == "5"
        self._open: dict[int, asyncio.Future[int]] = {}
        self._wanted = True
        self._connected: asyncio.Future[tuple[ReasonCode, bool, Properties | None]] = self._loop.create_future()
        self._subscribed: asyncio.Future[list[ReasonCode]] = self._loop.create_future()
        self.ended: asyncio.Future[LinkError] = self._loop.create_future()
        self._pongs: deque[asyncio.Future[None]] = deque()
        self._client = PingingClient(
            CallbackAPIVersion.VERSION2,
            login.client_id,
            None if self._v5 else not login.keep_session,
            protocol=paho.MQTTv5 if self._v5 else paho.MQTTv311,
            reconnect_on_failure=False,
        )
        self._client.max_inflight_messages_set(most + 4)  # our own bound is below; the status needs room beside it
        self._client.connect_timeout = CONNECT_TIMEOUT / 2
        self._client.will_set(will[0], will[1], qos=1, retain=True)
        if login.username is not None:
            self._client.username_pw_set(login.username, login.password)
        if tls is not None:
            self._client.tls_set_context(tls)
        self._listen(hear)

    async def open(self, filters: Sequence[str]) -> Accepted:
        """Connects and subscribes with QoS 1.

        Raises:
            LinkError: it did not come to be.
        """
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await _detached(self._dial)
                self._client.loop_start()
                code, session, properties = await self._unless_ended(self._connected)
                if code.is_failure:
                    raise ConnectionRefusedByPeer(f"the broker refused: {code}", code=code.value)
                self._client.subscribe([(one, 1) for one in filters])
                if any(code.is_failure for code in await self._unless_ended(self._subscribed)):
                    raise LinkError("the broker does not let us read our receipts: check its ACL")
        except TimeoutError as why:
            raise LinkError(f"no answer within {CONNECT_TIMEOUT:.0f} s") from why
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
        try:
            async with asyncio.timeout(timeout):
                return await self._unless_ended(future)
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
        sock = self._client.socket()
        return None if sock is None else kernel.info(sock, self._loop.time())

    def drop(self, why: str) -> None:
        """Ends it: it is not worth waiting for."""
        _settle(self.ended, LinkError(why))

    async def close(self) -> None:
        """Disconnects, without the will if the broker still hears us."""
        self._wanted = False
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    def _dial(self) -> None:
        extra: dict[str, Any] = {}
        if self._v5:
            properties = _properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = SESSION if self._login.keep_session else 0
            extra = {"clean_start": not self._login.keep_session, "properties": properties}
        url = self._login.url
        try:
            self._client.connect(url.host, url.port, self._login.keep_alive, **extra)
        except (OSError, ValueError) as why:  # ValueError: a host name that cannot be encoded
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

        client.on_socket_open = lambda _client, _data, sock: self._tune(sock)
        client.on_connect = lambda _client, _data, flags, code, props: soon(
            _settle, self._connected, (code, flags.session_present, props)
        )
        client.on_subscribe = lambda _client, _data, _mid, codes, _props: soon(_settle, self._subscribed, codes)
        client.on_disconnect = lambda _client, _data, _flags, code, _props: soon(_settle, self.ended, _ending(code))
        client.on_publish = lambda _client, _data, mid, code, _props: soon(acknowledged, mid, code)
        client.on_pong = lambda: soon(self._pong)
        client.on_message = lambda _client, _data, message: soon(hear, message.topic, bytes(message.payload))

    def _pong(self) -> None:
        if self._pongs:  # paho's own PINGREQ has nobody waiting
            _settle(self._pongs.popleft(), None)

    def _tune(self, sock: Any) -> None:
        if self._wanted:
            kernel.tune(sock, patience_s=PATIENCE)
        else:
            sock.close()  # dialled too late: nobody waits for it, and it would take our own session over

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
    return LinkError(f"disconnected: {code}")


async def _detached(call: Callable[[], None]) -> None:
    """Runs a call that may hang (a name server, an unreachable host) where it cannot hold up the end of the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[LinkError | None] = loop.create_future()

    def work() -> None:
        failed = None
        try:
            call()
        except LinkError as why:
            failed = why
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, done, failed)

    threading.Thread(target=work, name="mqtt-dial", daemon=True).start()
    failed = await done
    if failed is not None:
        raise failed
