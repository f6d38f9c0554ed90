"""What a watch does about a real socket that falls silent, and what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from bridge import tcp
from bridge.errors import LinkError
from edge_agent import vigil, watching
from edge_agent.watching import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Stand:
    """A connected pair of sockets, a watch over one end, and a dial that the test answers."""

    def __init__(self, near: socket.socket) -> None:
        self.near = near
        self.asked = 0
        self.asked_first = asyncio.Event()
        self.dialled: list[asyncio.Future[socket.socket]] = []
        self.tasks: list[asyncio.Task[socket.socket]] = []
        self._begun = asyncio.Event()
        self.dead: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.watch = Watch(sock=lambda: near, ask=self._ask, dial=self._dial, dead=self.dead.set_result)

    def _ask(self) -> None:
        self.asked += 1
        self.asked_first.set()

    def _dial(self) -> asyncio.Task[socket.socket]:
        answer: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
        self.dialled.append(answer)
        self._begun.set()

        async def wait() -> socket.socket:
            return await answer

        self.tasks.append(asyncio.create_task(wait()))
        return self.tasks[-1]

    async def until_dialled(self, times: int = 1) -> None:
        while len(self.dialled) < times:
            self._begun.clear()
            await self._begun.wait()


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        with near, server.accept()[0]:
            made = Stand(near)
            task = asyncio.create_task(made.watch.run())
            yield made
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_the_timers_of_tcp_are_set_at_the_beginning(stand: Stand) -> None:
    await asyncio.sleep(0)
    seen = tcp.look(stand.near, 0.0)
    assert seen is not None
    assert stand.near.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == pytest.approx(
        1e3 * vigil.patience(seen.info.rtt, seen.info.rttvar), rel=0.01
    )


async def test_tcp_repeats_sooner_only_where_its_round_trip_is_of_now(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to: list[float] = []
    monkeypatch.setattr(tcp, "margin", lambda _sock, seconds: set_to.append(seconds))
    stand.watch._margin = 0.0  # the watch has looked already
    stand.watch._look()
    for _ in range(watching.BUSY_WITH):
        stand.watch.owed()
    stand.watch._look()
    monkeypatch.setattr(watching, "BUSY_FOR", 0.0)
    stand.watch._look()
    assert set_to == [vigil.LINUX_MARGIN, vigil.LEAST_MARGIN, vigil.LINUX_MARGIN]


async def test_the_kernel_s_longest_timer_follows_a_long_way(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[float] = []
    monkeypatch.setattr(tcp, "cap", lambda _sock, seconds: set_to.append(seconds))
    seen = tcp.look(stand.near, 0.0)
    assert seen is not None
    for rtt in (0.05, 2.0, 2.1, 0.05):
        info = msgspec.structs.replace(seen.info, rtt=rtt, rttvar=0.05)
        monkeypatch.setattr(tcp, "look", lambda _sock, _at, info=info: msgspec.structs.replace(seen, info=info))
        stand.watch._look()
    assert set_to == pytest.approx([3.2, 1.0])


async def test_silence_is_asked_about_tried_beside_and_told(stand: Stand) -> None:
    stand.watch.owed()
    async with asyncio.timeout(10):
        assert "half-open" in await stand.dead
    assert (stand.asked, len(stand.dialled)) == (1, 1)
    beside = stand.watch.take()
    assert beside is not None
    assert stand.watch.take() is None
    beside.cancel()


async def test_an_answer_ends_it_and_what_was_begun_is_given_up(stand: Stand) -> None:
    stand.watch.owed()
    async with asyncio.timeout(10):
        await stand.until_dialled()
    stand.watch.heard(more=False)
    await asyncio.wait(stand.tasks, timeout=10)
    assert stand.tasks[0].cancelled()
    assert stand.watch.take() is None
    assert not stand.dead.done()


async def test_one_that_fails_is_begun_again(stand: Stand) -> None:
    stand.near.close()  # a kernel that tells nothing: only another connection could show that the path carries
    stand.watch.owed()
    async with asyncio.timeout(10):
        await stand.until_dialled()
        stand.dialled[0].set_exception(LinkError("timed out"))
        await stand.until_dialled(2)
        stand.dialled[1].set_result(socket.socket())
        await stand.dead
    beside = stand.watch.take()
    assert beside is not None
    beside.result().close()


async def test_a_loop_that_was_held_up_does_not_blame_the_broker(stand: Stand) -> None:
    await asyncio.sleep(0)
    stand.watch.owed()
    await asyncio.sleep(0)
    time.sleep(1.5)  # noqa: ASYNC251 # holds the loop up
    async with asyncio.timeout(10):
        await stand.asked_first.wait()
    assert stand.watch._vigil.silent(asyncio.get_running_loop().time()) < 1.5


async def test_a_link_that_answers_nowhere_is_told_of(
    stand: Stand, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vigil, "GONE", 1.5)  # not to wait for ten seconds
    stand.near.close()
    caplog.set_level("INFO", "edge_agent.watching")
    stand.watch.owed()
    async with asyncio.timeout(20):
        assert "the link is gone" in await stand.dead
    assert [one.message[:13] for one in caplog.records] == ["nothing heard"]
