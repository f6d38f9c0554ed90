"""Rows that were sent before they are on disk, where the disk refuses them for a while."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bridge.errors import StoreError
from bridge.store.outbox import OVERHEAD, Append, Limits, Outbox, Release
from edge_agent import keeper as keeping
from edge_agent import recent
from edge_agent.config import Stream
from edge_agent.fake import FakeUplink
from edge_agent.keeper import LONE, Keeper
from edge_agent.one_thread import PROVEN
from edge_agent.sender import Sender
from edge_agent.uplink import SAFE, Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from bridge.messages import Observation, Rows
    from bridge.store.outbox import Change
    from edge_agent.route import Route

ROWS = 10  # a message


def rows(first: int, count: int = 1) -> Rows:
    return np.arange(first, first + count, dtype=np.float32)[:, None]


class Stand:
    """A keeper whose commits have proven quick, and a sender of messages of ten rows, all of which must be full."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1.0
        self.refuses = self.unheard = False
        self._folder, self._monkeypatch = folder, monkeypatch
        self._apply = Outbox.apply
        self.next = 0
        monkeypatch.setattr(Outbox, "apply", lambda *args: self.apply(*args))
        monkeypatch.setattr(keeping, "RETRY", 0.01)

    async def begin(self, *, most: int = 1 << 20) -> None:
        self.keeper = Keeper(
            lambda: Outbox(self._folder / "a.db", Limits(max_bytes=most), tell=pytest.fail, boot="b"),
            clock=lambda: 5.0,
            mono=lambda: self.now,
            commit_wait=0.0,
            ample=most,
        )
        await self.keeper.open()
        self.run = [asyncio.create_task(self.keeper.run())]
        self.series = self.keeper.box.begin("wrist", "e")
        self.uplink = FakeUplink(lambda _stream, message: self.answer(message))
        self.sender = Sender(
            self.keeper, self.uplink, clock=lambda: self.now, dice=lambda: 0.0, receipt_timeout=1.0, backlog_after=5.0
        )
        self.keeper.listen(self.sender.gave_up)
        stream = Stream(name="wrist", source="stdin", rows_per_message=ROWS, windows="whole")
        self.route: Route = self.sender.add(self.series, stream, 0, lanes=True)
        self.run.append(asyncio.create_task(self.sender.run()))
        self.sender.connected(fresh=False)
        for _ in range(2 * PROVEN):
            await self.put()
            await asyncio.sleep(0)

    async def end(self) -> None:
        for task in self.run:
            task.cancel()
        await asyncio.gather(*self.run, return_exceptions=True)
        await self.keeper.close()

    def answer(self, message: Observation) -> Outcome | None:
        if self.unheard and self.refuses:
            self.uplink.sent.pop()
            self.unheard = False
            self.uplink._arrived.set()  # `until` looks again
            return None
        return SAFE if len(message.values) == ROWS else Outcome("refused", "shape: a window has ten rows")

    def apply(self, box: Outbox, changes: Sequence[Change], *more: float) -> list[int | None]:
        if self.refuses and any(isinstance(change, Append) for change in changes):
            raise StoreError("no space left on device")
        return self._apply(box, changes, *more)

    def put(self, count: int = 1) -> asyncio.Future[int]:
        self.now += 2 * LONE
        first, self.next = self.next, self.next + count

        def grew(number: int) -> None:
            assert number == first
            if self.route.lanes.live.end < first + count:
                self.sender.grew(self.route, first + count)

        return self.keeper.take(Append(self.series.id, rows(first, count), align=ROWS), grew, grew)

    async def all_arrive(self) -> None:
        while self.next % ROWS:
            await self.put()
        async with asyncio.timeout(5):
            await self.uplink.until(lambda: {n for n, _ in self.arrived()} == set(range(self.next)))
            await self.keeper.flush()
        assert sorted(self.arrived()) == [(n, float(n)) for n in range(self.next)], "each once, under its number"
        assert self.keeper.box.dropped() == []
        assert self.keeper.box.rows() == 0

    def arrived(self) -> list[tuple[int, float]]:
        return [
            ((one.seq or 0) + i, row[0]) for _, one in self.uplink.sent for i, row in enumerate(one.values.tolist())
        ]


@pytest.fixture
async def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stand]:
    made = Stand(tmp_path, monkeypatch)
    yield made
    await made.end()


async def refused(stand: Stand, left: int) -> asyncio.Future[int]:
    """The row sent early that the disk refuses; so many rows are missing then until the message is full."""
    while (stand.next + 1 + left) % ROWS:
        await stand.put()
        await asyncio.sleep(0)
    stand.refuses = True
    done = stand.put()
    assert stand.route.lanes.live.end == stand.next, "it counts already"
    assert not done.done()
    return done


@pytest.mark.parametrize("forgotten", ["evicted", "cleared"])
async def test_a_message_waits_for_no_disk_and_misses_no_row(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, forgotten: str
) -> None:
    if forgotten == "evicted":
        monkeypatch.setattr(recent, "MOST_PIECES", 3)
    await stand.begin()
    stand.unheard = forgotten == "cleared"
    done = await refused(stand, 0)
    if forgotten == "cleared":  # as where old rows are given up to make room
        await stand.uplink.until(lambda: not stand.unheard)
        stand.keeper.newest.recent.clear()
        stand.now += 100.0
    async with asyncio.timeout(5):
        await stand.uplink.until(lambda: stand.next - 1 in dict(stand.arrived()))
        await asyncio.sleep(0)
    assert not done.done()
    stand.refuses = False
    await done
    await stand.all_arrive()


async def test_rows_joined_to_those_that_were_sent_are_not_sent_twice(stand: Stand) -> None:
    await stand.begin()
    done = await refused(stand, 3)
    behind = stand.put()
    stand.refuses = False
    await asyncio.gather(done, behind)
    await stand.all_arrive()


async def test_what_is_not_on_disk_stays_in_the_backlog(stand: Stand) -> None:
    await stand.begin()
    stand.sender.disconnected("cut")
    done = await refused(stand, 0)
    box, series = stand.keeper.box, stand.series.id
    await stand.keeper.call(lambda: box.apply([Release(series, 0, stand.next)], 5.0))
    stand.keeper.newest.recent.clear()
    assert await stand.keeper.newest.next_kept(series, 0) == stand.next - 1
    assert [piece.first for piece in await stand.keeper.newest.read(series, 0, stand.next)] == [stand.next - 1]
    assert await stand.keeper.newest.read(series + 1, 0, stand.next) == []
    stand.refuses = False
    await done
    assert await stand.keeper.newest.next_kept(series, 0) == stand.next - 1


async def test_a_commit_without_them_does_not_count_as_theirs(stand: Stand) -> None:
    await stand.begin(most=(1 << 14))
    box, series = stand.keeper.box, stand.series.id
    stand.sender.disconnected("cut")
    while stand.next % ROWS:
        await stand.put()
    await stand.keeper.flush()
    whole = stand.next
    while box.bytes + 3 * OVERHEAD + 40 < (1 << 14):
        await stand.put(ROWS)
        await asyncio.sleep(0)
    stand.keeper.release([Release(series, whole + n, whole + n) for n in (4, 14, 24)])  # splits blobs: more bytes
    stand.refuses = True
    done = stand.put()
    stand.keeper.release([Release(series, stand.next - 1, stand.next - 1)])
    house = asyncio.create_task(stand.keeper.keep_house())
    stand.run.append(house)
    await asyncio.sleep(0.05)
    stand.refuses = False
    await asyncio.sleep(0.05)
    assert not done.done(), "no room"
    await stand.keeper.call(lambda: box.apply([Release(series, 0, whole)], 5.0))
    await done
    await stand.keeper.flush()
    assert box.kept(series)[-1][1] < stand.next - 1, "it is forgotten, once it is there"


async def test_what_is_forgotten_beside_the_commits_ends_the_waiting_for_it(stand: Stand) -> None:
    await stand.begin()
    stand.keeper.release([Release(stand.series.id, 0, 1)])
    stand.run.append(asyncio.create_task(stand.keeper.keep_house()))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await stand.keeper.call(lambda: None)  # behind the house's commit
        assert stand.keeper.box.kept(stand.series.id)[0][0] > 0
        await stand.keeper.flush()
