"""A raw CoAP peer and a lossy path, for what a well-behaved library never sends."""

# aiocoap ships no py.typed
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, cast

from aiocoap import Message
from aiocoap.numbers.types import CON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

DATA = ("edge", "v1", "plant", "wrist-8", "data", "wrist")
DATA_PATH = "/".join(DATA)
RESULT_PATH = "edge/v1/plant/wrist-8/result/activity"


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def encode(
    code: Any, mid: int, *, mtype: Any = CON, token: bytes = b"t", payload: bytes = b"", **options: Any
) -> bytes:
    message = Message(code=code, payload=payload, **options)
    message.mid, message.mtype, message.token = mid, mtype, token
    data: bytes = message.encode()
    return data


class Peer(asyncio.DatagramProtocol):
    """A UDP socket whose datagrams are read one by one."""

    def __init__(self, answer: Callable[[bytes], list[bytes]] | None = None) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.transport: asyncio.DatagramTransport
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.put_nowait(data)
        for answer in self._answer(data) if self._answer else []:
            self.transport.sendto(answer, addr)

    def send(self, data: bytes) -> None:
        self.transport.sendto(data)

    async def read(self, timeout: float = 5) -> Message:  # noqa: ASYNC109  a bound on the test, not a protocol timer
        return Message.decode(await asyncio.wait_for(self.received.get(), timeout))

    async def ask(self, data: bytes) -> Message:
        self.send(data)
        return await self.read()


@contextlib.asynccontextmanager
async def peer(url: str) -> AsyncIterator[Peer]:
    """A peer that talks to a server."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Peer, remote_addr=("127.0.0.1", port_of(url)))
    try:
        yield protocol
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def fake_server(answer: Callable[[bytes], list[bytes]]) -> AsyncIterator[tuple[str, Peer]]:
    """A server that answers as a function says; yields its URL."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: Peer(answer), local_addr=("127.0.0.1", 0))
    try:
        yield f"coap://127.0.0.1:{transport.get_extra_info('sockname')[1]}", protocol
    finally:
        transport.close()


class Relay(asyncio.DatagramProtocol):
    """Passes datagrams to a server and back, except those for which `drop` says so."""

    def __init__(self, port: int, drop: Callable[[], bool]) -> None:
        self._port = port
        self._drop = drop
        self._outward: dict[Any, asyncio.DatagramTransport] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if not self._drop():
            task = asyncio.get_running_loop().create_task(self._pass_on(data, addr))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, data: bytes, addr: Any) -> None:
        if addr not in self._outward:
            relay = self

            class Back(asyncio.DatagramProtocol):
                def datagram_received(self, data: bytes, _addr: Any) -> None:
                    if not relay._drop():
                        relay.transport.sendto(data, addr)

            loop = asyncio.get_running_loop()
            self._outward[addr], _ = await loop.create_datagram_endpoint(Back, remote_addr=("127.0.0.1", self._port))
        self._outward[addr].sendto(data)

    async def close(self) -> None:
        await asyncio.gather(*self._tasks)
        for transport in [self.transport, *self._outward.values()]:
            transport.close()


@contextlib.asynccontextmanager
async def lossy(url: str, drop: Callable[[], bool]) -> AsyncIterator[str]:
    """A URL that leads to another through loss."""
    loop = asyncio.get_running_loop()
    transport, relay = await loop.create_datagram_endpoint(
        lambda: Relay(port_of(url), drop), local_addr=("127.0.0.1", 0)
    )
    try:
        yield f"coap://127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    finally:
        await relay.close()
