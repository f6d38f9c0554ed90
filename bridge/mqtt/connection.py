"""A session on a real socket: receive, hand over, collect, send; and come back when the path breaks.

One read of the socket becomes one list of deliveries; everything published or acknowledged until the loop is idle
leaves in one write.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

from bridge.errors import BridgeError, LinkError, RemoteProtocolError, TakenOver
from bridge.mqtt.backoff import Backoff
from bridge.mqtt.session import Session, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.mqtt.endpoint import Endpoint
    from bridge.mqtt.messages import Delivery, Publish, Settings

log = logging.getLogger("bridge.mqtt")

CONNECT_TIMEOUT = 10.0  # seconds for TCP, TLS, CONNACK and SUBACKs together
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux only
GOODBYE = 2.0  # seconds for the last bytes of a connection
HIGH_WATER = 1 << 20  # bytes written and not yet taken by the kernel, above which publishes wait in the session


class Connection:
    """Keeps one MQTT 5 session connected.

    Deliveries go to `on_deliveries`, a plain callback that must not block; `pause` stops reading the socket until
    `resume`, so that the broker feels the back-pressure.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        settings: Settings,
        on_deliveries: Callable[[list[Delivery]], None],
        *,
        on_connected: Callable[[Session], None] | None = None,
        backlog: int = 8_192,
    ) -> None:
        """Prepare; `run` connects.

        Args:
            endpoint: broker to connect to.
            settings: session to ask for.
            on_deliveries: takes what arrived.
            on_connected: called after each CONNACK with all SUBACKs.
            backlog: publishes waiting for the broker above which `full` is true.
        """
        self.endpoint = endpoint
        self.session = Session(settings)
        self._on_deliveries = on_deliveries
        self._on_connected = on_connected
        self._backlog = backlog
        self._transport: asyncio.Transport | None = None
        self._ended: asyncio.Future[BridgeError | None] | None = None
        self._ready = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._flush_due = False
        self._paused = False
        self._choked = False
        self._socket: socket.socket | None = None
        self._announced = False
        self._delivering = True
        self._closing = asyncio.Event()

    # ---- what the owner asks

    @property
    def connected(self) -> bool:
        """Whether publishes leave now."""
        return self._announced

    @property
    def full(self) -> bool:
        """Whether more publishes wait for the broker than `backlog`."""
        return self.session.waiting >= self._backlog

    async def ready(self) -> None:
        """Wait until connected and subscribed."""
        await self._ready.wait()

    async def drained(self) -> None:
        """Wait until every publish has been acknowledged by the broker."""
        await self._drained.wait()

    def publish(self, messages: Iterable[Publish]) -> None:
        """Queue messages; they leave together at the end of this loop turn, or after a reconnect."""
        self.session.publish(messages)
        if self.session.waiting:
            self._drained.clear()
        if self._paused and self.full:
            self.resume()
        self._schedule_flush()

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        """Settle deliveries; their PUBACKs leave together, in the order of arrival."""
        for delivery in deliveries:
            if delivery.qos:
                self.session.acknowledge(delivery)
        self._schedule_flush()

    def stop_delivering(self) -> None:
        """Hand over nothing more; what still arrives stays with the broker, unacknowledged."""
        self._delivering = False

    def pause(self) -> None:
        """Stop reading the socket; not while `full`, for the PUBACKs that end that come by the same way.

        The broker's messages are bounded then by our Receive Maximum, for nothing is settled while publishes wait.
        """
        if self.full:
            return
        self._paused = True
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read the socket again."""
        self._paused = False
        if self._transport is not None and not self._transport.is_reading() and not self._transport.is_closing():
            self._transport.resume_reading()

    async def run(self) -> None:
        """Stay connected until `close` or a takeover.

        Raises:
            TakenOver: another client uses our client id; coming back would fight it for ever.
        """
        work = asyncio.create_task(self._stay_connected())
        closing = asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait({work, closing}, return_when=asyncio.FIRST_COMPLETED)
            if self._transport is not None:  # `close` says goodbye first
                await asyncio.wait({work}, timeout=GOODBYE)
            if work.done():
                work.result()
        finally:
            work.cancel()
            closing.cancel()
            self._drop(LinkError("closed"))

    async def _stay_connected(self) -> None:
        backoff = Backoff()
        while not self._closing.is_set():
            why = await self._live_once(backoff)
            if self._closing.is_set():
                return
            if isinstance(why, TakenOver):
                log.error("%s: %s", self.endpoint, why)
                raise why
            delay = backoff.failed(random.random())  # noqa: S311 # jitter, not a secret
            log.warning("%s: %s; trying again in %.1f s", self.endpoint, why or "connection closed", delay)
            await asyncio.sleep(delay)

    async def close(self) -> None:
        """Flush, say goodbye and end `run`."""
        self._closing.set()
        if self._transport is None or self._ended is None:
            return
        self._flush()
        self.session.disconnect()
        self._flush()
        # The broker closes first: rumqttd may drop another client when we close behind a DISCONNECT.
        await asyncio.wait([self._ended], timeout=GOODBYE / 4)
        if self._transport is not None:
            self._transport.close()
            await asyncio.wait([self._ended], timeout=GOODBYE / 2)

    # ---- one connection's life

    async def _live_once(self, backoff: Backoff) -> BridgeError | None:
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await loop.create_connection(
                    lambda: _Wire(self),
                    self.endpoint.host,
                    self.endpoint.port,
                    ssl=self.endpoint.tls,
                    server_hostname=self.endpoint.host if self.endpoint.tls else None,
                )
                ready = loop.create_task(self._ready.wait())
                waited: set[asyncio.Future[Any]] = {self._ended, ready}
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                ready.cancel()
        except TimeoutError:
            self._drop(LinkError(f"no answer within {CONNECT_TIMEOUT:.0f} s"))
        except ssl.SSLError as why:
            self._drop(LinkError(f"TLS failed: {why}"))
        except OSError as why:
            self._drop(LinkError(f"cannot connect: {why.strerror or why}"))
        if not self._ended.done():
            backoff.succeeded()
            keeper = asyncio.ensure_future(self._keep_alive())
            await asyncio.wait([self._ended])
            keeper.cancel()
        return self._ended.result()

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            try:
                self.session.tick(time.monotonic(), listening=not self._paused)
            except LinkError as why:
                self._drop(why)
                return
            self._schedule_flush()

    def _drop(self, why: BridgeError | None) -> None:
        """End this connection."""
        self._announced = False
        self._ready.clear()
        if self.session.state is not State.DISCONNECTED and isinstance(why, RemoteProtocolError):
            self.session.disconnect(why.code)
            self._flush()
        self.session.lost()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort() if isinstance(why, LinkError) else transport.close()
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(why)

    # ---- callbacks of the transport

    def _opened(self, transport: asyncio.Transport) -> None:
        if self._closing.is_set():
            transport.abort()
            return
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self._transport = transport
        self._choked = False
        self.session.connect(time.monotonic())
        self._flush()
        if self._paused:
            transport.pause_reading()

    def _received(self, data: bytes) -> None:
        if self._socket is not None and _QUICKACK is not None:
            # Brokers leave Nagle on: without this a lone reply waits 40 ms for our delayed TCP acknowledgement.
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        try:
            deliveries = self.session.receive(data, time.monotonic())
        except BridgeError as why:
            self._drop(why)
            return
        if not self._announced and self.session.ready:
            self._announced = True
            log.info("%s: connected%s", self.endpoint, ", session resumed" if self.session.session_present else "")
            if self._on_connected is not None:
                self._on_connected(self.session)
            self._ready.set()
        if not self.session.waiting:
            self._drained.set()
        if deliveries and self._delivering:
            self._on_deliveries(deliveries)
        self._schedule_flush()

    def _closed(self, why: Exception | None) -> None:
        if why is not None:
            self._drop(LinkError(f"connection lost: {why}"))
        elif self.session.state is State.CONNECTING:
            hint = "does it speak MQTT 5 on this port? The bridge's embedded broker has one port for 3.1.1, one for 5"
            self._drop(LinkError(f"the broker closed the connection without an answer; {hint}"))
        else:
            self._drop(LinkError("the broker closed the connection"))

    def _choke(self, *, choked: bool) -> None:
        self._choked = choked
        if not choked:
            self._schedule_flush()

    # ---- writing

    def _schedule_flush(self) -> None:
        if not self._flush_due and self._transport is not None:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._transport is None or self._choked:
            return
        data = self.session.outgoing(time.monotonic())
        if data:
            self._transport.write(data)


class _Wire(asyncio.Protocol):
    """Passes the transport's callbacks on; bound to one transport, so that a late one cannot touch its successor."""

    def __init__(self, owner: Connection) -> None:
        self._owner = owner
        self._mine: asyncio.Transport | None = None

    def _current(self) -> bool:
        return self._mine is not None and self._owner._transport is self._mine  # noqa: SLF001 # one thing in two classes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 # asyncio gives TCP protocols nothing else
        self._mine = transport
        self._owner._opened(transport)  # noqa: SLF001 # one thing in two classes

    def data_received(self, data: bytes) -> None:
        if self._current():
            self._owner._received(data)  # noqa: SLF001 # one thing in two classes

    def connection_lost(self, exc: Exception | None) -> None:
        if self._current():
            self._owner._closed(exc)  # noqa: SLF001 # one thing in two classes

    def pause_writing(self) -> None:
        self._owner._choke(choked=True)  # noqa: SLF001 # one thing in two classes

    def resume_writing(self) -> None:
        self._owner._choke(choked=False)  # noqa: SLF001 # one thing in two classes
