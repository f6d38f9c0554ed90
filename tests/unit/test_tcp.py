"""What the kernel tells of a connection, and what it is told: on a real socket."""

from __future__ import annotations

import contextlib
import socket
import sys

import pytest

from bridge import tcp

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO is Linux'")


@pytest.fixture
def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    return near, far


def test_bytes_that_the_peer_has_not_taken_are_told(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    with near, far:
        near.sendall(b"x")
        assert far.recv(1) == b"x"
        before = tcp.told(near, 5.0)
        assert before is not None
        assert (before.info.at, before.held) == (5.0, 0)
        assert before.info.segments >= 1
        assert 0 < before.info.rtt < 1
        assert 0 <= before.heard_ago < 10
        near.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                near.send(bytes(1 << 20))  # until the far side's window is full
        after = tcp.told(near, 6.0)
        assert after is not None
        assert after.held > 0


def test_the_kernel_s_timers_are_set(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    with near, far:
        tcp.follow(near, idle=9.6, apart=0.2, give_up=7.5, longest=1.0)
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 1
        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7_500


def test_a_socket_that_is_no_more_tells_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    near.close()
    far.close()
    assert tcp.told(near, 0.0) is None
    tcp.follow(near, idle=1, apart=1, give_up=1, longest=1)
