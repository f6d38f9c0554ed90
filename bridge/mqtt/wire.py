"""What asyncio calls about one TCP connection, passed on for as long as it is the owner's."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = 1 << 14  # bytes that go to the kernel at once
HIGH_WATER = 1 << 20  # bytes written and not yet taken by the kernel, above which publishes wait in the session
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux only


class Wire(asyncio.BufferedProtocol):
    """Bound to one transport and silent once `cut`, so that a late callback cannot touch its successor.

    Args:
        opened: told that a connection is up.
        buffer: gives room for the next bytes.
        received: told how many came.
        closed: told that it is gone, and why if not in peace.
        choke: told whether the kernel takes no more for now.
    """

    def __init__(
        self,
        opened: Callable[[Wire, asyncio.Transport], None],
        buffer: Callable[[], memoryview],
        received: Callable[[int], None],
        closed: Callable[[Exception | None], None],
        choke: Callable[[bool], None],
    ) -> None:
        self._opened = opened
        self._buffer = buffer
        self._received = received
        self._closed = closed
        self._choke = choke
        self._cut = False
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._plain: int | None = None  # the socket's number, without TLS

    def cut(self) -> None:
        """Pass nothing on from now on."""
        self._cut = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Without Nagle, and with a bound on what waits for the kernel."""
        tcp = cast("asyncio.Transport", transport)  # there is no other; uvloop's own class only looks like it
        self._socket = tcp.get_extra_info("socket")
        if self._socket is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tcp.get_extra_info("sslcontext") is None:
                self._plain = self._socket.fileno()
        self._transport = tcp
        tcp.set_write_buffer_limits(high=HIGH_WATER)
        self._opened(self, tcp)

    def write(self, data: bytes) -> None:
        """Write, at once where it is little and nothing waits before it.

        asyncio's transports would do so too, uvloop's only when the loop has done all that is due: a lone Result would
        leave 5 µs later.
        """
        transport = self._transport
        if transport is None:
            return
        plain = None if transport.is_closing() else self._plain  # a number that was given back may be another's
        if plain is not None and len(data) <= SMALL and not transport.get_write_buffer_size():
            try:
                written = os.write(plain, data)
            except OSError:  # no room, or the connection is gone: the transport finds out
                written = 0
            if written == len(data):
                return
            data = data[written:]
        transport.write(data)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 # asyncio calls it so
        """Where asyncio is to read into; a place of no use once cut."""
        return memoryview(bytearray(1)) if self._cut else self._buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Brokers leave Nagle on: without TCP_QUICKACK a lone reply waits 40 ms for our delayed TCP acknowledgement.

        Linux forgets it, so it is asked for at each read (0.2 µs): after a large one too, for we may answer late.
        """
        if self._cut:
            return
        if self._socket is not None and _QUICKACK is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        self._received(nbytes)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end; what the peer said before is passed on, though a write that failed was quicker than reading it."""
        if exc is not None:
            self._read_rest()
        if not self._cut:
            self._closed(exc)

    def _read_rest(self) -> None:
        """A reset takes nothing from what had come before it; there is no more to come, so this ends."""
        while self._plain is not None and not self._cut:
            try:
                count = os.readv(self._plain, [self._buffer()])
            except OSError:
                return
            if not count:
                return
            self._received(count)

    def pause_writing(self) -> None:
        """The write buffer is full."""
        if not self._cut:
            self._choke(True)

    def resume_writing(self) -> None:
        """The write buffer has room."""
        if not self._cut:
            self._choke(False)
