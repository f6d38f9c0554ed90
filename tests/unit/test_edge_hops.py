"""From the source's line to the uplink with as few hops as rows that must be on disk first allow."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bridge.errors import StoreError
from bridge.store.outbox import Append, End, Limits, Outbox, Release
from edge_agent.app import App
from edge_agent.config import Agent, Stream
from edge_agent.fake import FakeUplink
from edge_agent.joining import merged
from edge_agent.keeper import Keeper
from edge_agent.one_thread import PROVEN, QUICK, OneThread
from edge_agent.recent import MOST_BYTES, MOST_PIECES, Recent
from edge_agent.releases import MOST
from edge_agent.sources.reads import READ, reads
from edge_agent.uplink import TAKEN, Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bridge.messages import Observation, Rows


def rows(first: int, count: int) -> Rows:
    return np.arange(first, first + count, dtype=np.float32)[:, None]


def append(first: int, count: int = 5, **more: Any) -> Append:
    return Append(1, rows(first, count), t=100.0 + first * 0.1, dt=0.1, **{"align": 25, **more})


def values(recent: Recent, first: int, last: int, series: int = 1) -> list[list[float]] | None:
    found = recent.rows(series, first, last)
    return None if found is None else [piece.values[:, 0].tolist() for piece in found]


def test_recent_rows_are_those_that_the_outbox_would_hand_out(tmp_path: Path) -> None:
    box, recent = Outbox(tmp_path / "a.db", Limits(), tell=pytest.fail), Recent()
    series = box.begin("wrist", "e").id
    for first, count in ((0, 5), (5, 60), (65, 3)):
        changes = [Append(series, rows(first, count), 9.0, 0.1, align=25)]
        recent.add(changes, box.apply(changes, 1.0))
    for span in ((0, 67), (0, 4), (5, 24), (30, 66), (67, 67)):
        kept, found = list(box.read(series, *span)), recent.rows(series, *span)
        assert found is not None
        assert [(p.first, p.last, p.t, p.dt) for p in found] == [(p.first, p.last, p.t, p.dt) for p in kept]
        assert all(np.array_equal(one.values, other.values) for one, other in zip(found, kept, strict=True))
    box.close()


def test_only_rows_that_are_all_there_are_recent() -> None:
    recent = Recent()
    recent.add([append(0), End(1), append(10), append(15)], [0, None, 10, 15])
    assert values(recent, 10, 19) == [[10, 11, 12, 13, 14], [15, 16, 17, 18, 19]]
    assert values(recent, 12, 16) == [[12, 13, 14], [15, 16]]
    assert values(recent, 0, 4) == [[0, 1, 2, 3, 4]]
    assert values(recent, 3, 12) is None, "rows 5 to 9 are not there"
    assert values(recent, 18, 20) is None
    assert values(recent, 10, 14, series=2) is None
    recent.clear()
    assert values(recent, 10, 14) is None


def test_recent_rows_are_bounded() -> None:
    recent = Recent()
    recent.add([append(n) for n in range(0, 5 * 2 * MOST_PIECES, 5)], range(0, 5 * 2 * MOST_PIECES, 5))
    assert values(recent, 0, 4) is None
    assert len(recent._pieces) == MOST_PIECES
    half = MOST_BYTES // 8
    recent.add([append(10_000, half, align=half), append(30_000, half, align=half)], [half, 2 * half])
    recent.add([append(50_000, 1)], [90_000])
    assert values(recent, half, half) is None
    assert values(recent, 2 * half, 2 * half) == [[30_000]]
    recent.add([append(0, MOST_BYTES)], [100_000])
    assert values(recent, 100_000, 100_000) is None, "more than all that is remembered is not remembered at all"


def test_releases_that_follow_each_other_are_one() -> None:
    given = [Release(1, 0, 4), Release(1, 5, 9), Release(2, 10, 14), Release(2, 15, 19, rule="age"), Release(2, 30, 31)]
    assert merged(given) == [Release(1, 0, 9), *given[2:]]
    assert merged([]) == []


class Clock:
    """Monotonic seconds that pass while something is done."""

    def __init__(self) -> None:
        self.now = 5.0
        self.takes = 0.0

    def mono(self) -> float:
        return self.now

    def work(self) -> str:
        self.now += self.takes
        return threading.current_thread().name


async def test_what_has_proven_quick_is_done_without_the_thread() -> None:
    clock = Clock()
    thread = OneThread("x", clock.mono)
    where = [await thread.run_soon(clock.work) for _ in range(PROVEN + 2)]
    assert where == ["x_0"] * PROVEN + ["MainThread"] * 2
    clock.takes = 2 * QUICK
    assert await thread.run_soon(clock.work) == "MainThread"
    clock.takes = 0.0
    assert [await thread.run_soon(clock.work) for _ in range(PROVEN + 1)] == ["x_0"] * PROVEN + ["MainThread"]
    thread.close()


async def test_order_is_kept_with_what_the_thread_still_does() -> None:
    clock, gate = Clock(), threading.Event()
    order: list[str] = []
    thread = OneThread("x", clock.mono)
    for _ in range(PROVEN):
        await thread.run_soon(clock.work)

    def wait() -> None:
        gate.wait(10)
        order.append("first")

    first = thread.run(wait)
    second = asyncio.create_task(thread.run_soon(lambda: order.append(threading.current_thread().name)))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, second)
    assert order == ["first", "x_0"]
    thread.close()


async def test_what_fails_was_not_quick_and_raises_as_it_is() -> None:
    clock = Clock()
    thread = OneThread("x", clock.mono)

    def fail() -> str:
        raise StoreError("no")

    for _ in range(2):
        for _ in range(PROVEN):
            await thread.run_soon(clock.work)
        with pytest.raises(StoreError, match="no"):
            await thread.run_soon(fail)
    with pytest.raises(StoreError, match="no"):
        await thread.run(fail)
    abandoned = thread.run(clock.work)
    abandoned.cancel()
    assert await thread.run(clock.work) == "x_0"
    thread.close()


@pytest.fixture
async def keeper(tmp_path: Path) -> AsyncIterator[Keeper]:
    made = Keeper(
        lambda: Outbox(tmp_path / "a.db", Limits(), tell=pytest.fail),
        clock=lambda: 5.0,
        mono=lambda: 1.0,
        commit_wait=0.0,
        ample=1 << 20,
    )
    await made.open()
    run = asyncio.create_task(made.run())
    yield made
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await made.close()


async def test_rows_are_told_of_once_they_are_on_disk_and_are_in_memory_too(keeper: Keeper) -> None:
    series = keeper.box.begin("wrist", "e").id
    seen: list[tuple[int, int]] = []
    for _ in range(3):
        done = await keeper.append(
            Append(series, rows(0, 5), 1.0, 0.1, align=5), lambda first: seen.append((first, keeper.box.rows(series)))
        )
        assert await done == seen[-1][0]
    assert seen == [(0, 5), (5, 10), (10, 15)]
    found = keeper.newest.recent.rows(series, 5, 14)
    assert found is not None
    assert [piece.first for piece in found] == [5, 10]


async def test_releases_wait_for_each_other_while_rows_do_not_wait_for_them(keeper: Keeper) -> None:
    series = keeper.box.begin("wrist", "e").id
    await (await keeper.append(Append(series, rows(0, 20))))
    keeper.release([Release(series, 0, 4)])
    keeper.release([Release(series, 5, 9)])
    await (await keeper.append(Append(series, rows(20, 5))))
    assert keeper.box.rows(series) == 25, "not in that commit"
    await asyncio.wait_for(keeper.flush(), 5)
    assert keeper.box.kept(series) == [(10, 24)]


async def test_many_releases_go_at_once_and_so_do_all_when_no_rows_will_come(keeper: Keeper) -> None:
    series = keeper.box.begin("wrist", "e").id
    await (await keeper.append(Append(series, rows(0, 2 * MOST))))
    commit = keeper.next_commit()
    keeper.release([Release(series, n, n) for n in range(MOST)])
    await asyncio.wait_for(commit.wait(), 0.2)
    assert keeper.box.rows(series) == MOST
    keeper.wind_down()
    commit = keeper.next_commit()
    keeper.release([Release(series, MOST, 2 * MOST - 1)])
    await asyncio.wait_for(commit.wait(), 0.2)
    assert keeper.box.rows(series) == 0


async def test_what_is_safe_was_not_given_up_for_its_age(tmp_path: Path) -> None:
    now = 5.0
    keeper = Keeper(
        lambda: Outbox(tmp_path / "a.db", Limits(max_age=10.0), tell=pytest.fail),
        clock=lambda: now,
        mono=lambda: now,
        commit_wait=0.0,
        ample=1 << 20,
    )
    await keeper.open()
    run = asyncio.create_task(keeper.run())
    series = keeper.box.begin("wrist", "e").id
    await (await keeper.append(Append(series, rows(0, 10), align=5)))
    keeper.release([Release(series, 0, 4)])
    now = 20.0
    house = asyncio.create_task(keeper.keep_house())
    async with asyncio.timeout(5):
        while not keeper.box.dropped():  # what is released is forgotten in a commit before
            await keeper.next_commit().wait()
    assert [(one.first, one.last, one.rule) for one in keeper.box.dropped()] == [(5, 9, "age")]
    for task in (run, house):
        task.cancel()
    await asyncio.gather(run, house, return_exceptions=True)
    await keeper.close()


async def test_rows_just_committed_are_sent_without_reading_them_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "a.npz", values=np.arange(200.0), rate=1000.0)
    uplink = FakeUplink(lambda _stream, _message: TAKEN)
    stream = Stream(
        name="wrist", source="replay", files=[str(tmp_path / "a.npz")], rows_per_message=5, longest_wait=0.01
    )
    agent = App(
        Agent(site="s", device="d", url="mqtt://x", commit_wait=0.0), [stream], store=tmp_path / "a.db", uplink=uplink
    )
    monkeypatch.setattr(Outbox, "read", lambda *_: pytest.fail("read back"))
    work = asyncio.create_task(agent.run())
    await asyncio.wait_for(uplink.until(lambda: sum(len(one.values) for _, one in uplink.sent) == 200), 20)
    assert sorted(value for _, one in uplink.sent for value in one.values[:, 0].tolist()) == list(range(200))
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def test_what_is_sent_is_told_beside_its_bytes(tmp_path: Path) -> None:
    heard: list[Any] = []

    class Listening(FakeUplink):
        async def send(self, stream: str, payload: bytes, form: Any, *, said: Any = None) -> Outcome:
            heard.append(said)
            return await super().send(stream, payload, form, said=said)

    np.savez(tmp_path / "a.npz", values=np.arange(100.0), rate=50.0)
    uplink = Listening()
    stream = Stream(name="wrist", source="replay", files=[str(tmp_path / "a.npz")], speed=0)
    await App(Agent(site="s", device="d", url="mqtt://x"), [stream], store=tmp_path / "a.db", uplink=uplink).run()
    assert heard
    for said, (_, message) in zip(heard, uplink.sent, strict=True):
        assert (said.seq, said.epoch, said.t, said.values.tolist()) == key_of(message)


def key_of(message: Observation) -> tuple[Any, ...]:
    return message.seq, message.epoch, message.t, message.values.tolist()


async def test_a_pipe_is_read_by_the_loop_and_a_file_by_a_thread(tmp_path: Path) -> None:
    out, into = os.pipe()
    came = reads(out)
    first = asyncio.ensure_future(anext(came))
    await asyncio.sleep(0)
    assert not first.done()
    assert not [one for one in threading.enumerate() if one.name == "lines"]
    os.write(into, b"abc")
    assert await first == b"abc"
    os.close(into)
    assert [data async for data in came] == [b""]
    os.close(out)
    path = tmp_path / "lines"
    path.write_bytes(b"x" * (READ + 1))
    with path.open("rb") as file:
        assert [len(data) async for data in reads(file.fileno())] == [READ, 1, 0]


async def test_a_reader_that_is_cancelled_leaves_the_rest_in_the_pipe() -> None:
    out, into = os.pipe()
    waiting = asyncio.ensure_future(anext(reads(out)))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    os.write(into, b"rest")
    await asyncio.sleep(0)
    assert os.read(out, 9) == b"rest"
    os.close(into)
    os.close(out)


async def test_rows_that_come_during_a_commit_that_frees_nothing_do_not_wait(
    keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    series = keeper.box.begin("wrist", "e").id
    await (await keeper.append(Append(series, rows(0, 10))))
    keeper.wind_down()
    gate = threading.Event()
    blocked = asyncio.create_task(keeper.call(lambda: gate.wait(10)))
    keeper.release([Release(series, 100, 104)])  # released before: a repeated receipt
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert keeper._thread._busy == 2, "its commit has begun"
    done = await keeper.append(Append(series, rows(10, 5)))
    gate.set()
    assert await asyncio.wait_for(done, 0.5) == 10
    await blocked
    assert "full" not in caplog.text
