"""A session on a real socket: receive, hand over, collect, send; and come back when the path breaks.

One read of the socket becomes one list of deliveries; everything published or acknowledged until the loop is idle
leaves in one write.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from typing import TYPE_CHECKING, Any

from bridge.errors import BridgeError, LinkError, RemoteProtocolError, TakenOver
from bridge.mqtt.backoff import Backoff
from bridge.mqtt.reading import Reading
from bridge.mqtt.session import Session, State
from bridge.mqtt.wire import Wire

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Sequence

    from bridge.mqtt.endpoint import Endpoint
    from bridge.mqtt.messages import Acked, Delivery, Publish, Settings

log = logging.getLogger("bridge.mqtt")

CONNECT_TIMEOUT = 10.0  # seconds for TCP, TLS, CONNACK and SUBACKs together
FEW = 8  # messages that leave at once; more gather until the loop has done what is due
SHORT = 10.0  # seconds of a connection below which its end looks like another client's beginning
GOODBYE = 2.0  # seconds for the last bytes of a connection


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
        on_acknowledged: Callable[[list[Acked]], None] | None = None,
        backlog: int = 8_192,
    ) -> None:
        """Prepare; `run` connects.

        Args:
            endpoint: broker to connect to.
            settings: session to ask for.
            on_deliveries: takes what arrived.
            on_connected: called after each CONNACK with all SUBACKs.
            on_acknowledged: told of the PUBACKs of each read, for the link's round trip.
            backlog: publishes waiting for the broker above which `full` is true.
        """
        self.endpoint = endpoint
        self.session = Session(settings, timing=on_acknowledged is not None)
        self._on_deliveries = on_deliveries
        self._on_connected = on_connected
        self._on_acknowledged = on_acknowledged
        self._backlog = backlog
        self._transport: asyncio.Transport | None = None
        self._ended: asyncio.Future[BridgeError | None] | None = None
        self._ready = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._flush_due = False
        self._receiving = False
        self._reading = Reading()
        self._choked = False
        self._wire: Wire | None = None
        self._announced = False
        self._announced_at = 0.0
        self._delivering = True
        self._closing = asyncio.Event()
        self._unsubscribing: asyncio.Future[None] | None = None

    # ---- what the owner asks

    @property
    def connected(self) -> bool:
        """Whether publishes leave now."""
        return self._announced

    @property
    def full(self) -> bool:
        """Whether more publishes wait for the broker than `backlog`."""
        return self.session.waiting >= self._backlog

    @property
    def socket(self) -> socket.socket | None:
        """The socket of the present connection, while it is open, for what the kernel knows."""
        if self._transport is None or self._transport.is_closing():
            return None  # its number may be another's soon
        found: socket.socket | None = self._transport.get_extra_info("socket")
        return found

    def drop(self, why: str) -> None:
        """End the present connection as one that does not carry any more; `run` begins the next one."""
        if self._announced:
            self._drop(LinkError(why))

    async def ready(self) -> None:
        """Wait until connected and subscribed."""
        await self._ready.wait()

    async def drained(self) -> None:
        """Wait until every publish has been acknowledged by the broker."""
        await self._drained.wait()

    def publish(self, messages: Sequence[Publish]) -> None:
        """Queue messages; many leave together at the end of this loop turn, a few at once, all after a reconnect."""
        self.session.publish(messages)
        if self.session.waiting:
            self._drained.clear()
        if self._reading.paused and self.full:
            self._reading.resume()
        if len(messages) <= FEW and not self._receiving:
            self._flush()
        else:
            self._schedule_flush()

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        """Settle deliveries; their PUBACKs leave together, in the order of arrival."""
        self.session.acknowledge_all(deliveries)
        if not self._flush_due and self.session.pending:
            self._schedule_flush()

    def stop_delivering(self) -> None:
        """Hand over nothing more; what still arrives stays with the broker, unacknowledged."""
        self._delivering = False

    async def unsubscribe(self, filters: Iterable[str]) -> None:
        """End subscriptions for good; while connected, returns once the broker has confirmed it.

        What comes until then is delivered.
        """
        self.session.unsubscribe(filters)
        self._schedule_flush()
        if self._announced and not self.session.ready:
            self._unsubscribing = asyncio.get_running_loop().create_future()
            await self._unsubscribing

    def pause(self) -> None:
        """Stop reading the socket; not while `full`, for the PUBACKs that end that come by the same way.

        The broker's messages are bounded then by our Receive Maximum, for nothing is settled while publishes wait.
        """
        if not self.full:
            self._reading.pause()

    def resume(self) -> None:
        """Read the socket again."""
        self._reading.resume()

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
        established = self.session.established
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await loop.create_connection(
                    lambda: Wire(self._opened, self.session.buffer, self._received, self._closed, self._choke),
                    self.endpoint.host,
                    self.endpoint.port,
                    ssl=self.endpoint.tls,
                    server_hostname=self.endpoint.host if self.endpoint.tls else None,
                )
                ready = loop.create_task(self._ready.wait())
                waited: set[asyncio.Future[Any]] = {self._ended, ready}
                try:
                    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    ready.cancel()
        except TimeoutError:
            self._drop(LinkError(f"no answer within {CONNECT_TIMEOUT:.0f} s"))
        except ssl.SSLError as why:
            self._drop(LinkError(f"TLS failed: {why}"))
        except OSError as why:
            self._drop(LinkError(f"cannot connect: {why.strerror or why}"))
        if self.session.established != established:  # though it may have ended in the same read
            backoff.succeeded()
        if not self._ended.done():
            keeper = asyncio.ensure_future(self._keep_alive())
            try:
                await asyncio.wait([self._ended])
            finally:
                keeper.cancel()
        return self._ended.result()

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(self.session.tick_after)
            try:
                self.session.tick(time.monotonic(), listening=not self._reading.paused)
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
        self._reading.end()
        if self._wire is not None:
            self._wire.cut()
        if transport is not None:
            transport.abort() if isinstance(why, LinkError) else transport.close()
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(why)

    # ---- callbacks of the transport

    def _opened(self, wire: Wire, transport: asyncio.Transport) -> None:
        if self._closing.is_set():
            wire.cut()
            transport.abort()
            return
        self._wire, self._transport = wire, transport
        self._choked = False
        self.session.connect(time.monotonic())
        self._flush()
        self._reading.begin(transport)

    def _received(self, count: int) -> None:
        due, self._flush_due = self._flush_due, True  # what becomes due on the way leaves below
        self._receiving = True
        delivered = False
        try:
            delivered = self._take(count)
        except BridgeError as why:
            self._drop(why)
        finally:
            self._flush_due, self._receiving = due, False
            if delivered:  # the owner answers before this loop turn ends
                self._schedule_flush()
            elif self.session.pending:
                self._flush()
            self._reading.took(count)

    def _take(self, count: int) -> bool:
        """Let the session take so many bytes, and tell the owner what came; whether there were deliveries for him."""
        session = self.session
        deliveries = session.received(count, time.monotonic())
        if not self._announced and session.ready:
            self._announced, self._announced_at = True, time.monotonic()
            log.info("%s: connected%s", self.endpoint, ", session resumed" if session.session_present else "")
            if self._on_connected is not None:
                self._on_connected(session)
            self._ready.set()
        if self._on_acknowledged is not None and (acked := session.take_acked()):
            self._on_acknowledged(acked)
        if not session.waiting:
            self._drained.set()
        if self._unsubscribing is not None and session.ready and not self._unsubscribing.done():
            self._unsubscribing.set_result(None)
        if not deliveries or not self._delivering:
            return False
        self._on_deliveries(deliveries)
        return True

    def _closed(self, why: Exception | None) -> None:
        if why is not None:
            self._drop(LinkError(f"connection lost: {why}"))
        elif self.session.state is State.CONNECTING:
            hint = "does it speak MQTT 5 on this port? The bridge's embedded broker has one port for 3.1.1, one for 5"
            self._drop(LinkError(f"the broker closed the connection without an answer; {hint}"))
        else:
            hint = ""
            if self._announced and time.monotonic() - self._announced_at < SHORT:
                hint = f" within {SHORT:.0f} s; does another client use the id {self.session.settings.client_id!r}?"
            self._drop(LinkError(f"the broker closed the connection{hint}"))

    def _choke(self, choked: bool) -> None:
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
        if self._wire is None or self._transport is None or self._choked:
            return
        data = self.session.outgoing(time.monotonic())
        if data:
            self._wire.write(data)
