"""A link between a CoAP client and a server: delay, rate, seeded loss, outages; in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Any, cast

from tests.unit.coap.support import port_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_OVERHEAD = 28  # bytes of IPv4 and UDP


class _Back(asyncio.DatagramProtocol):
    def __init__(self, link: Link, addr: Any) -> None:
        self._link = link
        self._addr = addr

    def datagram_received(self, data: bytes, _addr: Any) -> None:
        self._link.carry(data, back_to=self._addr)


class Link(asyncio.DatagramProtocol):
    """Both directions of a link, alike; its settings may be changed at any time.

    Attributes:
        loss: share of datagrams lost, each way.
        delay_s: seconds a datagram takes, each way.
        rate: bits a second, each way; 0: no bound. What waits for its turn waits in a queue without end.
        is_up: nothing passes while it is not.
        drop: datagrams of the client that never pass.
        sent: datagrams that came from the client, lost ones included.
        offered: when each of them came, seconds.
    """

    def __init__(self, port: int, *, loss: float, delay_s: float, rate: float, seed: int) -> None:
        self.loss, self.delay_s, self.rate = loss, delay_s, rate
        self.is_up = True
        self.drop: Callable[[bytes], bool] = lambda _data: False
        self.offered: list[float] = []
        self.transport: asyncio.DatagramTransport
        self._port = port
        self._dice = random.Random(seed)
        self._free = {True: 0.0, False: 0.0}
        self._outward: dict[Any, asyncio.Task[asyncio.DatagramTransport]] = {}
        self._watchers: list[tuple[int, asyncio.Event]] = []

    @property
    def sent(self) -> int:
        return len(self.offered)

    @property
    def url(self) -> str:
        return f"coap://127.0.0.1:{self.transport.get_extra_info('sockname')[1]}"

    async def reached(self, sent: int) -> None:
        """Return once so many datagrams came from the client."""
        event = asyncio.Event()
        self._watchers.append((sent, event))
        self._wake()
        await event.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        loop = asyncio.get_running_loop()
        self.offered.append(loop.time())
        self._wake()
        if addr not in self._outward:
            self._outward[addr] = loop.create_task(self._connect(addr))
        if not self.drop(data):
            self.carry(data, forward_from=addr)

    def carry(self, data: bytes, *, forward_from: Any = None, back_to: Any = None) -> None:
        lost = self._dice.random() < self.loss
        if lost or not self.is_up:
            return
        loop = asyncio.get_running_loop()
        forward = back_to is None
        begins = max(loop.time(), self._free[forward])
        self._free[forward] = begins + ((len(data) + _OVERHEAD) * 8 / self.rate if self.rate else 0.0)
        if forward:
            loop.call_at(self._free[forward] + self.delay_s, self._pass_on, data, self._outward[forward_from])
        else:
            loop.call_at(self._free[forward] + self.delay_s, self._pass_back, data, back_to)

    async def close(self) -> None:
        for transport in [self.transport, *await asyncio.gather(*self._outward.values())]:
            transport.close()

    def _pass_on(self, data: bytes, outward: asyncio.Task[asyncio.DatagramTransport]) -> None:
        outward.add_done_callback(lambda task: task.result().sendto(data))

    def _pass_back(self, data: bytes, addr: Any) -> None:
        if not self.transport.is_closing():
            self.transport.sendto(data, addr)

    async def _connect(self, addr: Any) -> asyncio.DatagramTransport:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Back(self, addr), remote_addr=("127.0.0.1", self._port)
        )
        return transport

    def _wake(self) -> None:
        for sent, event in self._watchers:
            if self.sent >= sent:
                event.set()


@contextlib.asynccontextmanager
async def link(
    url: str, *, loss: float = 0.0, delay_s: float = 0.0, rate: float = 0.0, seed: int = 1
) -> AsyncIterator[Link]:
    """A link that leads to a server; its own URL is `url`."""
    make: Callable[[], Link] = lambda: Link(port_of(url), loss=loss, delay_s=delay_s, rate=rate, seed=seed)  # noqa: E731
    _, found = await asyncio.get_running_loop().create_datagram_endpoint(make, local_addr=("127.0.0.1", 0))
    try:
        yield found
    finally:
        await found.close()
