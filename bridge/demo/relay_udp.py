"""UDP datagrams through the link: what is lost is lost."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from bridge.demo.link import Link

HOST = "127.0.0.1"
HEADERS = 28  # bytes of IPv4 and UDP
LARGEST = 65_536
CLIENTS = 64  # remembered; then the oldest is forgotten

Address: TypeAlias = tuple[str, int]


class UdpRelay:
    """A port of its own; what comes goes to a port of this machine, through the link.

    Args:
        link: what datagrams pass.
        port: where they go.

    Attributes:
        payload: bytes of CoAP payload that came through to that port, each message once however often it was repeated.
    """

    def __init__(self, link: Link, port: int) -> None:
        self._link, self._upstream = link, port
        self._loop = asyncio.get_running_loop()
        self._near = _socket()
        self._near.bind((HOST, 0))
        self._far: dict[Address, socket.socket] = {}
        self._known: set[tuple[Address, bytes]] = set()
        self.payload = 0

    def start(self) -> int:
        """The port to send to."""
        self._loop.add_reader(self._near, self._from_client)
        port: int = self._near.getsockname()[1]
        return port

    def close(self) -> None:
        """What is under way is lost."""
        for one in (self._near, *self._far.values()):
            self._loop.remove_reader(one)
            one.close()
        self._far.clear()

    def _from_client(self) -> None:
        with suppress(BlockingIOError):
            while True:
                data, client = self._near.recvfrom(LARGEST)
                self._link.carry("up", len(data) + HEADERS, partial(self._to_server, data, client))

    def _to_server(self, data: bytes, client: Address) -> None:
        known = (client, data[2:4])  # RFC 7252 section 4.4: a repeated message keeps its ID
        if known not in self._known:
            self._known.add(known)
            self.payload += len(coap_payload(data))
        with suppress(OSError):  # nobody listens there
            self._server(client).send(data)

    def _server(self, client: Address) -> socket.socket:
        """The socket that stands for a client."""
        if client not in self._far:
            if len(self._far) >= CLIENTS:
                oldest = self._far.pop(next(iter(self._far)))
                self._loop.remove_reader(oldest)
                oldest.close()
            self._far[client] = one = _socket()
            one.connect((HOST, self._upstream))
            self._loop.add_reader(one, self._from_server, one, client)
        return self._far[client]

    def _from_server(self, server: socket.socket, client: Address) -> None:
        with suppress(OSError):  # nothing more to read, or nobody listens there
            while True:
                data = server.recv(LARGEST)
                self._link.carry("down", len(data) + HEADERS, partial(self._to_client, data, client))

    def _to_client(self, data: bytes, client: Address) -> None:
        with suppress(OSError):  # it is gone
            self._near.sendto(data, client)


def _socket() -> socket.socket:
    made = socket.socket(type=socket.SOCK_DGRAM)
    made.setblocking(False)
    return made


def coap_payload(datagram: bytes) -> bytes:
    """Payload of a CoAP message (RFC 7252 section 3); empty where there is none, or where it is no such message."""
    at = 4 + (datagram[0] & 15) if datagram else 0
    while at < len(datagram) and datagram[at] != 0xFF:
        delta, length = datagram[at] >> 4, datagram[at] & 15
        at += 1 + _EXTENSION.get(delta, 0)
        more = _EXTENSION.get(length, 0)
        extended = int.from_bytes(datagram[at : at + more], "big")
        at += more + (length if not more else _OFFSET[length] + extended)
    return datagram[at + 1 :]


_EXTENSION = {13: 1, 14: 2}  # bytes that follow for such a delta or length (RFC 7252 section 3.1)
_OFFSET = {13: 13, 14: 269}
