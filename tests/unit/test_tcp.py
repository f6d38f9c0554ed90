"""What the kernel tells of a connection, and what it is told: on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from bridge import loop, tcp

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO is Linux'")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    with near, far:
        yield near, far


def test_bytes_that_the_peer_has_not_taken_are_told(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    near.sendall(b"x")
    assert far.recv(1) == b"x"
    before = tcp.look(near, 5.0)
    assert before is not None
    assert (before.info.at, before.info.segments, before.info.retransmitted, before.held) == (5.0, 1, 0, 0)
    assert 0 < before.info.rtt < 1
    assert 0 <= before.heard_ago < 10
    near.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            near.send(bytes(1 << 20))  # until the far side's window is full
    after = tcp.look(near, 6.0)
    assert after is not None
    assert after.held > 0


def test_what_came_and_what_is_acknowledged_is_counted(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    before = tcp.look(near, 0.0)
    near.sendall(b"12345")
    assert far.recv(5) == b"12345"
    far.sendall(b"x")
    assert near.recv(1) == b"x"
    after = tcp.look(near, 1.0)
    assert before is not None
    assert after is not None
    assert 0 < after.least <= after.info.rtt + 1e-6
    assert after.written - before.written == 5
    assert after.acked == after.written
    assert after.data_in - before.data_in == 1
    assert after.segments_in > before.segments_in


def test_what_we_put_on_the_wire_is_counted_with_headers_and_what_the_kernel_holds(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    before = tcp.look(near, 0.0)
    near.sendall(bytes(1_000))
    assert len(far.recv(1_000, socket.MSG_WAITALL)) == 1_000
    after = tcp.look(near, 1.0)
    assert before is not None
    assert after is not None
    assert after.on_wire - before.on_wire == 1_000 + 52
    near.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            near.send(bytes(1 << 20))
    full = tcp.look(near, 2.0)
    assert full is not None
    assert full.on_wire > full.written == full.acked + full.held


def test_the_timers_of_a_connection_that_is_kept_alive(pair: tuple[socket.socket, socket.socket]) -> None:
    near, _ = pair
    tcp.follow(near, idle=9.6, apart=0.2, give_up=7.5)
    assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
    assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 1
    assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7_500


def test_nothing_is_sent_twice_because_the_way_is_long() -> None:
    assert [tcp.repeat_within(rtt, 0.02) for rtt in (0.0, 0.05, 0.6)] == [tcp.LONGEST_RTO] * 3
    assert tcp.repeat_within(2.0, 0.05) == pytest.approx(3.2)
    assert tcp.repeat_within(60.0, 9.0) == tcp.LONGEST_RTT


def test_the_timers_of_a_connection_that_is_watched(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    tcp.tune(near, patience_s=7.0)
    assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7_000
    tcp.wait(near, 3.0)
    assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 3_000
    tcp.margin(near, 0.1)
    tcp.forget(near)
    near.close()
    with pytest.raises(ConnectionResetError):
        far.recv(1)


def test_what_uvloop_shows_of_its_socket_tells_and_takes_as_much() -> None:
    pytest.importorskip("uvloop")

    async def talk() -> tuple[tcp.Look | None, int]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            reader, writer = await asyncio.open_connection(*server.getsockname())
            with server.accept()[0] as far:
                far.sendall(b"x")
                assert await reader.readexactly(1) == b"x"
                sock = writer.get_extra_info("socket")
                assert not isinstance(sock, socket.socket)
                tcp.follow(sock, idle=10, apart=1, give_up=7.5)
                seen = tcp.look(sock, 2.0)
                timeout: int = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                writer.close()
                await writer.wait_closed()
        return seen, timeout

    seen, timeout = loop.run(talk())
    assert seen is not None
    assert (seen.data_in, seen.held, timeout) == (1, 0, 7_500)
    assert 0 < seen.info.rtt < 1


def test_a_socket_that_is_no_more_tells_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    near, _ = pair
    near.close()
    assert tcp.look(near, 0.0) is None
    assert tcp.look(object(), 0.0) is None
    tcp.follow(near, idle=1, apart=1, give_up=1)
    tcp.margin(object(), 0.1)
