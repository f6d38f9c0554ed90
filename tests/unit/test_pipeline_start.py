"""What the pipeline does about its journal at the start, and when it turns out to be damaged."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from bridge.pipeline.entries import Patience
from bridge.store import waiting
from bridge.store.database import Broken, Full
from bridge.store.journal import Journal, Record
from tests.support.engines import ROWS, HeldEngine, until
from tests.support.lives import ROUTES, Life, World

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.store.records import Saved


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "journal.db")


async def test_it_has_taken_up_the_journal_once_that_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    load, go_on = Journal.load, threading.Event()

    def slow(journal: Journal) -> Saved:
        assert go_on.wait(10)
        return load(journal)

    monkeypatch.setattr(Journal, "load", slow)
    life = world.live()
    await asyncio.sleep(0)
    assert not life.pipeline.taken_up.is_set()
    go_on.set()
    await asyncio.wait_for(life.pipeline.taken_up.wait(), 10)
    await life.crash()


async def test_a_recovery_for_which_there_is_no_room_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "RETRY", 0.001)
    load, refusals = Journal.load, [Full("no room"), Full("no room")]

    def refusing(journal: Journal) -> Saved:
        if refusals:
            raise refusals.pop()
        return load(journal)

    monkeypatch.setattr(Journal, "load", refusing)
    life = world.live()
    await asyncio.wait_for(life.pipeline.taken_up.wait(), 10)
    assert refusals == []
    await life.crash()


async def test_stopping_ends_the_wait_and_leaves_the_journal_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()
    loop = asyncio.get_running_loop()

    def refusing(_journal: Journal) -> Saved:
        loop.call_soon_threadsafe(tried.set)
        raise Full("no room")

    monkeypatch.setattr(Journal, "load", refusing)
    monkeypatch.setattr(Journal, "prepare", pytest.fail)
    life = world.live()
    await tried.wait()
    await life.pipeline.drain(0.0)
    await asyncio.wait_for(life.running, 10)
    await life.pipeline.finish()
    assert not life.pipeline.taken_up.is_set()
    await life.crash()


async def test_a_journal_found_damaged_in_use_ends_it_so_that_the_next_start_recovers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = world.live()
    await life.pipeline.taken_up.wait()

    def broken(_journal: Journal, _record: Record) -> None:
        raise Broken("record 7 is damaged")

    monkeypatch.setattr(Journal, "write", broken)
    life.deliver("rows", 0, ROWS // 2)
    await until(life.running.done)
    with pytest.raises(Broken, match="record 7"):
        life.running.result()
    assert life.verdicts == {}, "nothing is acknowledged"
    await life.crash()


async def test_after_the_journal_was_lost_nobody_knows_what_came_before(world: World) -> None:
    told: list[str] = []
    world.path.with_name("results.db").write_bytes(b"some")
    life = Life(world.path, HeldEngine("slow"), ROUTES, tell=told.append, later=world.path.with_name("results.db"))
    windower = life.pipeline._windower
    windower._patience = Patience(gap=0.0, gap_receipts=0.0)
    life.deliver("rows", 10 * ROWS, ROWS)
    await until(lambda: any(one.series.next_row == 11 * ROWS for one in windower.entries))
    life.deliver("rows", 12 * ROWS, ROWS)
    await until(lambda: any(one.series.next_row == 13 * ROWS for one in windower.entries))
    (entry,) = windower.entries
    assert entry.series.given is not None
    given_up = [(one.first, one.end, one.why) for one in entry.series.given.ranges]
    assert given_up == [(0, 10 * ROWS, "forgotten"), (11 * ROWS, 12 * ROWS, "gap")]
    assert len(told) == 1
    await life.crash()
