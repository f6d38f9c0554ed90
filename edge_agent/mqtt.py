"""Uplink over MQTT 3.1.1 or 5 on paho-mqtt: one client object a connection, its thread translated to the event loop.

A client object is not used again after a disconnect: paho would publish everything it remembers at once, whatever
`max_inflight` says. What is sent again, and in which order, is decided in `flights.py`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge import topics
from bridge.errors import ConfigError, ConnectionRefusedByPeer, LinkError, Refused, TakenOver
from bridge.messages import Error, Receipt
from bridge.wire.answers import decode_answer, encode_status
from edge_agent import backoff
from edge_agent.uplink import TAKEN, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.reasoncodes import ReasonCode

    from bridge.wire.formats import Format
    from edge_agent.config import Url
    from edge_agent.uplink import Listener

log = logging.getLogger(__name__)

TAKEN_OVER = 0x8E
NO_SUBSCRIBERS = 0x10
CONNECT_TIMEOUT = 10.0  # seconds for TCP, TLS and CONNACK
STEADY = 5.0  # seconds after which a connection counts as good, and back-off begins anew
LOST_AT_ONCE = 3  # connections lost within that time, one after the other, that look like a twin's
SESSION = 86_400  # seconds a broker keeps our receipts while we are away


class Login(msgspec.Struct, frozen=True):
    """Who we are to the broker; never logged.

    Attributes:
        site: first level of our topics.
        device: second.
        client_id: name of our session.
        username: if any.
        password: if any.
        ca: PEM file.
        cert: PEM file.
        key: PEM file.
        keep_session: let the broker keep receipts for us while we are away.
    """

    site: str
    device: str
    client_id: str
    username: str | None = None
    password: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    keep_session: bool = True

    def __repr__(self) -> str:
        return f"Login({self.client_id})"


class MqttUplink:
    """See `edge_agent.uplink.Uplink`.

    Args:
        url: mqtt or mqtts.
        login: who we are.
        protocol: "3.1.1" or "5".
        window: most messages under way.
        keepalive: seconds.
        publish_timeout: seconds without a PUBACK after which the connection is given up.

    Raises:
        ConfigError: a certificate file cannot be used.
    """

    in_order = False

    def __init__(
        self,
        url: Url,
        login: Login,
        *,
        protocol: str,
        window: int = 16,
        keepalive: int = 30,
        publish_timeout: float = 20.0,
    ) -> None:
        self.transport = "mqtt5" if protocol == "5" else "mqtt311"
        self.window = window
        self.most_bytes: int | None = None
        self._most = window
        self._url = url
        self._login = login
        self._version = paho.MQTTv5 if protocol == "5" else paho.MQTTv311
        self._keepalive = keepalive
        self._timeout = publish_timeout
        self._tls = tls_context(login) if url.scheme == "mqtts" else None
        self._client: paho.Client | None = None
        self._up = False
        self._came_up = False
        self._open: dict[int, asyncio.Future[int]] = {}
        self._ended: asyncio.Future[LinkError]  # of the present connection; set by `_session`

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
                lost = lost + 1 if self._came_up and not steady else 0
                if lost >= LOST_AT_ONCE:  # Mosquitto tells a taken-over client only if its session was to end with it
                    log.warning(
                        "lost %d times at once: does a second agent use client id %s?", lost, self._login.client_id
                    )
                pause = backoff.delay(attempt, random.random())  # noqa: S311 # spreads load, guards nothing
                log.warning("%s: %s; trying again in %.1f s", self._url, why, pause)
                await asyncio.sleep(pause)

    async def send(self, stream: str, payload: bytes, form: Format) -> Outcome:
        """Publishes with QoS 1 and waits for the PUBACK.

        Raises:
            LinkError: not connected, the connection ended, or no PUBACK in time: unknown.
        """
        topic = topics.data(self._login.site, self._login.device, stream)
        code = await self._publish(topic, payload, content_type=form.value)
        if code < 0x80:
            if code == NO_SUBSCRIBERS:
                log.warning("%s: nobody listens to %s; rows are kept until a bridge does", self._url, topic)
            return TAKEN
        return Outcome("wait", f"the broker refused with reason 0x{code:02x}", 5.0)

    async def close(self) -> None:
        """Publishes that we are offline, and disconnects without the will."""
        client, self._client = self._client, None
        if client is None:
            return
        if self._up:
            self._client = client
            try:
                async with asyncio.timeout(1.0):
                    await self._tell_status(online=False)
            except (LinkError, TimeoutError) as why:
                log.info("%s: could not say goodbye: %s", self._url, why)
            self._client = None
        self._up = False
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)

    async def _session(self, listener: Listener) -> None:
        """One connection, from its first byte to its last.

        Raises:
            LinkError: how it ended.
        """
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        connected: asyncio.Future[tuple[ReasonCode, bool, Properties | None]] = loop.create_future()
        subscribed: asyncio.Future[list[ReasonCode]] = loop.create_future()
        client = self._client = self._new_client(loop, listener, connected, subscribed)
        try:
            await self._converse(client, listener, connected, subscribed)
        except TimeoutError:
            error = LinkError(f"no answer within {CONNECT_TIMEOUT:.0f} s")
        except LinkError as why:
            error = why
        await self._drop(client, error)
        listener.disconnected(str(error))
        raise error

    async def _converse(
        self,
        client: paho.Client,
        listener: Listener,
        connected: asyncio.Future[tuple[ReasonCode, bool, Properties | None]],
        subscribed: asyncio.Future[list[ReasonCode]],
    ) -> NoReturn:
        ended = self._ended
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await _detached(lambda: self._dial(client))
            client.loop_start()
            code, session, properties = await _first(connected, ended)
            self._check(code, properties)
            await self._subscribe(client, subscribed, ended)
        self._up = self._came_up = True
        log.info("%s: connected, %s", self._url, self.transport)
        await self._tell_status(online=True)
        listener.connected(fresh=not session)
        raise await ended

    async def _drop(self, client: paho.Client, why: LinkError) -> None:
        self._up, self._client = False, None
        for future in self._open.values():
            if not future.done():
                future.set_exception(LinkError(str(why)))
        self._open.clear()
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)

    def _dial(self, client: paho.Client) -> None:
        extra: dict[str, Any] = {}
        if self._version == paho.MQTTv5:
            properties = _properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = SESSION if self._login.keep_session else 0
            extra = {"clean_start": not self._login.keep_session, "properties": properties}
        try:
            client.connect(self._url.host, self._url.port, self._keepalive, **extra)
        except (OSError, ValueError) as why:  # ValueError: a host name that cannot be encoded
            raise LinkError(f"cannot connect: {why}") from why

    def _check(self, code: ReasonCode, properties: Properties | None) -> None:
        if code.is_failure:
            raise ConnectionRefusedByPeer(f"the broker refused: {code}", code=code.value)
        self.window = min(self._most, getattr(properties, "ReceiveMaximum", self._most))
        most = getattr(properties, "MaximumPacketSize", None)
        self.most_bytes = None if most is None else max(1, most - 512)  # topic, properties and header beside it

    async def _subscribe(
        self, client: paho.Client, subscribed: asyncio.Future[list[ReasonCode]], ended: asyncio.Future[LinkError]
    ) -> None:
        site, device = self._login.site, self._login.device
        client.subscribe([(f"{topics.ROOT}/{site}/{device}/receipt/+", 1), (topics.error(site, device), 1)])
        if any(code.is_failure for code in await _first(subscribed, ended)):
            raise LinkError("the broker does not let us read our receipts: check its ACL")

    async def _tell_status(self, *, online: bool) -> None:
        payload = encode_status(online=online, t=time.time(), transport=self.transport)
        await self._publish(topics.status(self._login.site, self._login.device), payload, retain=True)

    async def _publish(
        self, topic: str, payload: bytes, *, content_type: str | None = None, retain: bool = False
    ) -> int:
        client = self._client
        if client is None or not self._up:
            raise LinkError("not connected")
        properties = None
        if content_type is not None and self._version == paho.MQTTv5:
            properties = _properties(PacketTypes.PUBLISH)
            properties.ContentType = content_type
        info = client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise LinkError(f"not sent: {paho.error_string(info.rc)}")
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._open[info.mid] = future
        try:
            async with asyncio.timeout(self._timeout):
                return await future
        except TimeoutError as why:
            error = LinkError(f"no PUBACK within {self._timeout:.0f} s")
            if not self._ended.done():
                self._ended.set_result(error)
            raise error from why
        finally:
            if self._open.get(info.mid) is future:
                del self._open[info.mid]

    def _new_client(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: Listener,
        connected: asyncio.Future[tuple[ReasonCode, bool, Properties | None]],
        subscribed: asyncio.Future[list[ReasonCode]],
    ) -> paho.Client:
        login, ended = self._login, self._ended
        clean = None if self._version == paho.MQTTv5 else not login.keep_session
        client = paho.Client(
            CallbackAPIVersion.VERSION2, login.client_id, clean, protocol=self._version, reconnect_on_failure=False
        )
        client.max_inflight_messages_set(self._most + 4)  # our own bound is below; the status needs room beside it
        client.connect_timeout = CONNECT_TIMEOUT / 2
        if login.username is not None:
            client.username_pw_set(login.username, login.password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        will = encode_status(online=False, t=time.time(), transport=self.transport)
        client.will_set(topics.status(login.site, login.device), will, qos=1, retain=True)

        def soon(call: Callable[..., None], *args: Any) -> None:  # paho calls from its own thread
            loop.call_soon_threadsafe(call, *args)

        def settle(future: asyncio.Future[Any] | None, value: Any) -> None:
            if future is not None and not future.done():
                future.set_result(value)

        client.on_socket_open = lambda _client, _data, sock: _tune(sock, wanted=self._client is client)
        client.on_connect = lambda _client, _data, flags, code, props: soon(
            settle, connected, (code, flags.session_present, props)
        )
        client.on_subscribe = lambda _client, _data, _mid, codes, _props: soon(settle, subscribed, codes)
        client.on_disconnect = lambda _client, _data, _flags, code, _props: soon(settle, ended, _ending(code))
        client.on_publish = lambda _client, _data, mid, code, _props: soon(
            lambda: settle(self._open.get(mid), code.value if code else 0)
        )
        client.on_message = lambda _client, _data, message: soon(_hear, listener, message.topic, message.payload)
        return client


def tls_context(login: Login) -> ssl.SSLContext:
    """What the certificate files make.

    Raises:
        ConfigError: one of them cannot be used.
    """
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


def _properties(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call] # paho types it no further


def _tune(sock: Any, *, wanted: bool) -> None:
    if wanted:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        sock.close()  # dialled too late: nobody waits for it, and it would take our own session over


def _ending(code: ReasonCode) -> LinkError:
    if code.value == TAKEN_OVER:
        return TakenOver("another client uses our client id; is a second agent running for this device?")
    return LinkError(f"disconnected: {code}")


def _hear(listener: Listener, topic: str, payload: bytes) -> None:
    try:
        if topic.endswith("/error"):
            listener.refusal(decode_answer(payload, Error))
        else:
            listener.receipt(topic.rpartition("/")[2], decode_answer(payload, Receipt))
    except Refused as why:
        log.warning("%s: %s", topic, why)


async def _detached(call: Callable[[], None]) -> None:
    """Runs a call that may hang (a name server, an unreachable host) where it cannot hold up the end of the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(why: LinkError | None) -> None:
        if not done.done():
            done.set_result(None) if why is None else done.set_exception(why)

    def work() -> None:
        failed = None
        try:
            call()
        except LinkError as why:
            failed = why
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, failed)

    threading.Thread(target=work, name="mqtt-dial", daemon=True).start()
    await done


async def _first(wanted: asyncio.Future[Any], ended: asyncio.Future[LinkError]) -> Any:
    """What is wanted, unless the connection ends before."""
    await asyncio.wait({wanted, ended}, return_when=asyncio.FIRST_COMPLETED)
    if wanted.done():
        return wanted.result()
    raise ended.result()
