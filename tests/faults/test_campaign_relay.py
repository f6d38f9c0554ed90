"""The paths that the campaign breaks: each way of failing looks to both ends as it should."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import until
from tests.support.relay import TcpRelay, UdpRelay

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
NAP = 0.1  # seconds in which nothing may come


@contextlib.contextmanager
def connected() -> Iterator[tuple[TcpRelay, socket.socket, socket.socket]]:
    """A relay, and both ends of a connection over it."""
    with socket.create_server((HOST, 0)) as server, TcpRelay(server.getsockname()[1]) as relay:
        server.settimeout(5)
        with socket.create_connection((HOST, relay.port), timeout=5) as client:
            far, _ = server.accept()
            with far:
                far.settimeout(5)
                client.sendall(b"hello")
                assert far.recv(9) == b"hello"
                far.sendall(b"you")
                assert client.recv(9) == b"you"
                yield relay, client, far


def ended(sock: socket.socket) -> bool:
    try:
        return sock.recv(9) == b""
    except ConnectionError:
        return True


def silent(sock: socket.socket) -> bool:
    sock.settimeout(NAP)
    try:
        return not sock.recv(9)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(5)


def test_cut_ends_both() -> None:
    with connected() as (relay, client, far):
        relay.cut()
        assert ended(client)
        assert ended(far)


def test_stalled_bytes_come_later() -> None:
    with connected() as (relay, client, far):
        relay.stall()
        client.sendall(b"late")
        assert silent(far)
        relay.flow()
        assert far.recv(9) == b"late"


def test_half_open_is_seen_by_one_end() -> None:
    with connected() as (relay, client, far):
        relay.half_open()
        assert ended(far)
        client.sendall(b"into the void")
        client.settimeout(NAP)
        with pytest.raises(TimeoutError):
            client.recv(9)
        client.settimeout(5)
        relay.cut()
        assert ended(client)


def test_dark_datagrams_are_gone() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        server.bind((HOST, 0))
        server.settimeout(5)
        client.settimeout(5)
        with UdpRelay(server.getsockname()[1]) as relay:
            client.connect((HOST, relay.port))
            client.send(b"hello")
            data, path = server.recvfrom(99)
            assert data == b"hello"
            server.sendto(b"you", path)
            assert client.recv(99) == b"you"
            relay.dark = True
            client.send(b"nobody")
            assert silent(server)
            relay.dark = False

            def comes() -> bool:
                client.send(b"again")
                return server.recv(99) == b"again"

            until(comes, 5, "nothing comes through any more")
