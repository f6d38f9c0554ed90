"""TCP connections through the link: each end a thin pump around a `Stream`."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, cast

from bridge.demo.stream import MSS, Stream

if TYPE_CHECKING:
    from bridge.demo.link import Link

HOST = "127.0.0.1"
MOST = 65_536  # bytes that may wait in one direction; then the sender is held back, as by a full send buffer


class End(asyncio.Protocol):
    """One end of a connection; what it reads goes through `stream` to `peer`.

    Attributes:
        peer: the other end.
        transport: None before it is connected.
        is_gone: it was connected, and is not any more.
        has_spoken: bytes came from it.
    """

    def __init__(self, stream: Stream) -> None:
        self.peer: End
        self.transport: asyncio.Transport | None = None
        self.is_gone = self.has_spoken = False
        self._stream = stream
        self._held = self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast("asyncio.Transport", transport)
        if self._ended:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.has_spoken = True
        if self._ended and self.transport is not None:
            self.transport.close()
            return
        for start in range(0, len(data), MSS):
            chunk = data[start : start + MSS]
            self._stream.send(len(chunk), partial(self._arrived, chunk))
        if self._stream.waiting > MOST and self.transport is not None:
            self._held = True
            self.transport.pause_reading()

    def _arrived(self, chunk: bytes) -> None:
        self.peer.write(chunk)
        if self._held and self._stream.waiting <= MOST // 2 and self.transport is not None:
            self._held = False
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 # as asyncio calls it
        """See `asyncio.Protocol`; the other end hears of it in its turn."""
        self.is_gone = True
        self._stream.send(0, self.peer.end)

    def write(self, data: bytes) -> None:
        """What arrived."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def orphan(self) -> None:
        """The peer is gone: to be closed as soon as it says something."""
        self._ended = True

    def end(self) -> None:
        """The peer is gone."""
        self._ended = True
        if self.transport is not None:
            self.transport.close()


class Near(End):
    """The client's end. Its kernel connects to us at once; its bytes wait until a handshake has passed the link."""

    def __init__(self, link: Link, port: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._down = Stream(link, "down", self._loop)
        self._port = port
        self._dialling: asyncio.Task[None] | None = None
        super().__init__(Stream(link, "up", self._loop))
        self.peer = End(self._down)
        self.peer.peer = self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`: SYN."""
        super().connection_made(transport)
        cast("asyncio.Transport", transport).pause_reading()
        self._stream.send(0, self._syn)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`.

        A server that has not said anything yet hears nothing any more, not even of the end, until it speaks: as of a
        client whose link is dead. The embedded broker does not survive a client that leaves before its CONNACK and
        comes back (docs/adr/0004).
        """
        if self.peer.has_spoken:
            super().connection_lost(exc)
            return
        self.is_gone = True
        self._stream.close()
        self.peer.orphan()

    def _syn(self) -> None:
        self._dialling = self._loop.create_task(self._dial())

    async def _dial(self) -> None:
        try:
            await self._loop.create_connection(lambda: self.peer, HOST, self._port)
        except OSError:
            self._down.send(0, self.end)  # as a server that is not there
            return
        self._down.send(0, self._syn_ack)

    def _syn_ack(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    @property
    def over(self) -> bool:
        """Both ends are closed."""
        return self.is_gone and self.peer.is_gone

    def abort(self) -> None:
        """Ends it at once, whatever is under way."""
        for stream, end in ((self._stream, self), (self._down, self.peer)):
            stream.close()
            if end.transport is not None:
                end.transport.abort()
        if self._dialling is not None:
            self._dialling.cancel()


class TcpRelay:
    """Listens for clients and takes each to a port of this machine, through the link.

    Args:
        link: what bytes pass.
        port: where they go.
    """

    def __init__(self, link: Link, port: int) -> None:
        self._link, self._upstream = link, port
        self._server: asyncio.Server | None = None
        self._clients: list[Near] = []

    async def start(self) -> int:
        """The port to connect to."""
        self._server = await asyncio.get_running_loop().create_server(self._client, HOST, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def _client(self) -> Near:
        self._clients = [one for one in self._clients if not one.over] + [Near(self._link, self._upstream)]
        return self._clients[-1]

    def close(self) -> None:
        """Ends all connections at once."""
        if self._server is not None:
            self._server.close()
        for one in self._clients:
            one.abort()
