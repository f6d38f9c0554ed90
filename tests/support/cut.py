"""Ways that can be cut: TCP and UDP through relays in the test's event loop that swallow everything while they are."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from tests.unit.coap.relay import Link
from tests.unit.coap.relay import link as udp_link

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Link", "TcpCut", "tcp_cut", "udp_link"]

READ = 65_536


class TcpCut:
    """A TCP relay. While it is cut, what is sent is acknowledged by this machine and stays here.

    Attributes:
        opened: connections so far.
        carried: bytes from clients, passed on.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._through = asyncio.Event()
        self._through.set()
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()
        self.opened = 0
        self.carried = 0

    @property
    def port(self) -> int:
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def start(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    def cut(self) -> None:
        self._through.clear()

    def mend(self) -> None:
        self._through.set()

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        writers = [writer]
        try:
            await self._through.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
            writers.append(far_writer)
            await asyncio.gather(self._pump(reader, far_writer, count=True), self._pump(far_reader, writer))
        except OSError:
            pass
        finally:
            for one in writers:
                one.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool = False) -> None:
        while data := await reader.read(READ):
            await self._through.wait()
            self.carried += len(data) if count else 0
            writer.write(data)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def tcp_cut(port: int) -> AsyncIterator[TcpCut]:
    """A relay to a port of this machine."""
    relay = await TcpCut(port).start()
    try:
        yield relay
    finally:
        await relay.close()
