"""Connections begun beside others: whose they are when they come to be, and when they do not."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from bridge.errors import LinkError
from edge_agent.config import Url, parse_url
from edge_agent.dialling import Dialler, Unanswered, detached, is_open, spare

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as made:
        yield made


def url_of(server: socket.socket) -> Url:
    return parse_url(f"mqtt://127.0.0.1:{server.getsockname()[1]}")


async def test_one_connection_tuned(server: socket.socket) -> None:
    with await Dialler(url_of(server)).dial(patience_s=7.0) as sock, server.accept()[0]:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000
        assert not sock.getblocking()


async def test_a_syn_that_nobody_answers_is_sent_again(server: socket.socket) -> None:
    url = url_of(server)
    with socket.create_connection((url.host, url.port)):  # the queue is full: Linux drops SYNs
        dialled = asyncio.create_task(Dialler(url).dial(patience_s=9.0))
        _, waits = await asyncio.wait([dialled], timeout=0.2)
        assert waits
        assert not is_open(dialled)
        server.accept()[0].close()
        async with asyncio.timeout(8):
            (await dialled).close()


async def test_refusals_and_names_that_are_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = url_of(server)
    with pytest.raises(LinkError, match="refused") as refused:
        await Dialler(url).dial(patience_s=1.0)
    assert not isinstance(refused.value, Unanswered)
    with pytest.raises(LinkError, match="cannot connect"):
        await Dialler(Url("mqtt", "a" * 70, 1883)).dial(patience_s=1.0)


async def test_addresses_are_kept_while_nobody_can_tell_them(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialler = Dialler(parse_url(f"mqtt://localhost:{server.getsockname()[1]}"))
    with await dialler.dial(patience_s=1.0), server.accept()[0]:
        pass
    hangs = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        hangs.wait()
        raise OSError("no name server")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with await dialler.dial(patience_s=1.0), server.accept()[0]:
        pass
    hangs.set()
    with await dialler.dial(patience_s=1.0), server.accept()[0]:
        pass
    with pytest.raises(LinkError, match="no name server"):
        await Dialler(url_of(server)).dial(patience_s=1.0)


async def test_one_that_nobody_wants_is_closed_whatever_became_of_it(server: socket.socket) -> None:
    waiting = asyncio.create_task(Dialler(url_of(server)).dial(patience_s=1.0))
    assert not is_open(None)
    assert not is_open(waiting)
    spare(waiting)
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    spare(waiting)
    ready = asyncio.create_task(Dialler(url_of(server)).dial(patience_s=1.0))
    sock = await ready
    assert is_open(ready)
    spare(ready)
    assert sock.fileno() == -1

    async def fail() -> socket.socket:
        raise LinkError("no")

    failed = asyncio.create_task(fail())
    await asyncio.wait([failed])
    assert not is_open(failed)
    spare(failed)


async def test_a_call_that_hangs_holds_nobody_up() -> None:
    hangs = threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await detached(hangs.wait)
    hangs.set()
    assert await detached(lambda: 7) == 7
