"""Paths that fail as a test wants: TCP that is cut, stalls or is left half open; UDP that goes dark."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from typing import Self

HOST = "127.0.0.1"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST


class TcpRelay:
    """A path to a TCP server on loopback; clients connect to `port`. As a context manager it is gone at the end.

    Attributes:
        curt: so many connections to come end with the first bytes that the server says.
    """

    def __init__(self, upstream: int) -> None:
        self.curt = 0
        self._upstream = upstream
        self._flowing = threading.Event()
        self._flowing.set()
        self._pairs: list[_Pair] = []
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    @property
    def url(self) -> str:
        return f"mqtt://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.flow()
        self.cut()

    def cut(self) -> None:
        """Break all connections, also those left half open; new ones are taken."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.end()

    def stall(self) -> None:
        """Let nothing through, and break nothing."""
        self._flowing.clear()

    def flow(self) -> None:
        """Let everything through again."""
        self._flowing.set()

    def half_open(self) -> None:
        """The server sees all clients go; they see nothing, and what they send goes nowhere, until `cut`."""
        for pair in list(self._pairs):
            pair.abandon()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection((HOST, self._upstream), timeout=5)
            except OSError:
                near.close()  # as a server that is not there
                continue
            far.settimeout(None)
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = _Pair(near, far)
            self._pairs = [one for one in self._pairs if not one.over] + [pair]
            for read, write in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(pair, read, write), name="relay", daemon=True).start()

    def _carry(self, pair: _Pair, read: socket.socket, write: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := read.recv(65_536):
                self._flowing.wait()
                if not pair.abandoned:
                    write.sendall(data)
                if self.curt and read is pair.far:
                    self.curt -= 1
                    time.sleep(0.1)  # until the client has read them
                    break
        if read is pair.near or not pair.abandoned:
            pair.end()
        read.close()  # each socket is closed by the thread that reads it, once that is over


class _Pair:
    """Both ends of one connection."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near = near
        self.far = far
        self.abandoned = False
        self.over = False

    def end(self) -> None:
        self.over = True
        for sock in (self.near, self.far):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                sock.shutdown(socket.SHUT_RDWR)

    def abandon(self) -> None:
        self.abandoned = True
        with contextlib.suppress(OSError):
            self.far.shutdown(socket.SHUT_RDWR)


class UdpRelay:
    """A path to a UDP server on loopback; clients send to `port`. As a context manager it is gone at the end.

    Attributes:
        dark: datagrams are thrown away, both ways.
    """

    def __init__(self, upstream: int) -> None:
        self.dark = False
        self._upstream = (HOST, upstream)
        self._near = socket.socket(type=socket.SOCK_DGRAM)
        self._near.bind((HOST, 0))
        self._near.setblocking(False)
        self.port: int = self._near.getsockname()[1]
        self._far: dict[tuple[str, int], socket.socket] = {}
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._carry, name="relay-udp", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.close()
        self._thread.join(5)
        for sock in (self._near, self._stopped, *self._far.values()):
            sock.close()

    def _carry(self) -> None:
        while True:
            owners = {sock: client for client, sock in self._far.items()}
            ready, _, _ = select.select([self._near, self._stopped, *owners], [], [])
            if self._stopped in ready:
                return
            for sock in ready:
                with contextlib.suppress(OSError):  # a server that is not there
                    self._forward(sock, owners.get(sock))

    def _forward(self, sock: socket.socket, client: tuple[str, int] | None) -> None:
        data, sender = sock.recvfrom(65_536)
        if self.dark:
            return
        if client is not None:
            self._near.sendto(data, client)
            return
        if sender not in self._far:
            self._far[sender] = socket.socket(type=socket.SOCK_DGRAM)
            self._far[sender].setblocking(False)  # the error that select told of may be gone: a send had it
            self._far[sender].connect(self._upstream)
        self._far[sender].send(data)
