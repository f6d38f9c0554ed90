"""How old an agent takes its rows to be, when the wall clock is set or wrong and when it is killed."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bridge.store.database import Full
from bridge.store.outbox import Append, Limits, Outbox
from edge_agent.keeper import Keeper

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bridge.store.age import Moment
    from bridge.store.pieces import Change

MAX_AGE = 100.0


class Lives:
    """Lives of an agent's keeper on one computer, whose clocks the test sets.

    Attributes:
        wall: seconds since 1970.
        mono: seconds since it was switched on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wall = 1e9
        self.mono = 0.0

    async def start(self) -> Keeper:
        """Begins a life after the computer was switched on."""
        self.mono = 0.0
        self.path.mkdir(exist_ok=True)
        path = self.path / "a.db"
        keeper = Keeper(
            lambda: Outbox(path, Limits(max_age=MAX_AGE), tell=pytest.fail),
            clock=lambda: self.wall,
            mono=lambda: self.mono,
            commit_wait=0.0,
            longest_pause=MAX_AGE / 2,
        )
        await keeper.open()
        return keeper

    async def kill(self, keeper: Keeper) -> None:
        """What a killed process leaves is its files as they are: the next life has them."""
        left = self.path.with_name(self.path.name + "+")
        shutil.copytree(self.path, left)
        self.path = left
        await keeper.close()

    def runs(self, seconds: float) -> None:
        """So long."""
        self.wall += seconds
        self.mono += seconds


async def accept(keeper: Keeper) -> None:
    """Ten rows, as a source hands them over."""
    run = asyncio.create_task(keeper.run())
    await (await keeper.append(Append(keeper.box.begin("wrist", "e").id, np.zeros((10, 1), np.float32))))
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


async def expired(keeper: Keeper) -> int:
    return await keeper.call(lambda: keeper.box.expire(*keeper._now()))


async def test_a_clock_that_jumps_drops_nothing_and_keeps_nothing_for_longer(tmp_path: Path) -> None:
    computer = Lives(tmp_path / "a")
    keeper = await computer.start()
    await accept(keeper)
    computer.wall += 1e7
    assert await expired(keeper) == 0, "set forward by months"
    computer.wall -= 2e7
    computer.runs(40.0)
    assert await expired(keeper) == 0
    await keeper.close()
    computer.wall += 5e7
    keeper = await computer.start()
    assert await expired(keeper) == 0, "it came up with another clock: half of max_age counts"
    computer.runs(11.0)
    assert await expired(keeper) == 10
    await keeper.close()


async def test_rows_of_seconds_are_not_too_old_after_kills_with_a_wrong_clock(tmp_path: Path) -> None:
    computer = Lives(tmp_path / "a")
    for _ in range(4):
        keeper = await computer.start()
        assert await expired(keeper) == 0, "however often it comes up a day later"
        await accept(keeper)
        computer.runs(3.0)
        await computer.kill(keeper)
        computer.wall += 86_400.0
    keeper = await computer.start()
    assert await expired(keeper) == 0
    assert keeper.box.rows() == 40
    computer.runs(MAX_AGE + 1.0)
    assert await expired(keeper) == 40, "it has run for max_age with them"
    await keeper.close()


async def test_orderly_ends_with_a_wrong_clock_add_no_more(tmp_path: Path) -> None:
    computer = Lives(tmp_path / "a")
    for _ in range(5):
        keeper = await computer.start()
        await accept(keeper)
        computer.runs(3.0)
        assert await expired(keeper) == 0
        await keeper.close()
        computer.wall += 86_400.0


async def test_a_store_without_a_note_of_the_time_is_as_old_as_its_rows(tmp_path: Path) -> None:
    """Of an earlier version that was killed in its first minute, or recovered."""
    computer = Lives(tmp_path / "a")
    keeper = await computer.start()
    await accept(keeper)
    await keeper.call(lambda: keeper.box._db.execute("DELETE FROM meta WHERE key = 'clock'"))
    await computer.kill(keeper)
    computer.wall += 86_400.0
    keeper = await computer.start()
    assert await expired(keeper) == 0, "the pause is not known, and counts as nothing"
    computer.runs(MAX_AGE + 1.0)
    assert await expired(keeper) == 10
    await keeper.close()


async def test_no_row_is_accepted_where_the_time_cannot_be_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = Lives(tmp_path / "a")
    keeper = await computer.start()
    box, refusals, order = keeper.box, [Full("no space")], []
    note, apply = box.note, box.apply

    def noting(moment: Moment) -> None:
        if refusals:
            order.append("refused")
            raise refusals.pop()
        order.append("noted")
        note(moment)

    def applying(changes: Sequence[Change], now: float, wall: float | None = None) -> list[int | None]:
        order.append("rows")
        return apply(changes, now, wall)

    monkeypatch.setattr(box, "note", noting)
    monkeypatch.setattr(box, "apply", applying)
    await accept(keeper)
    await accept(keeper)
    assert order == ["refused", "noted", "rows", "rows"], "tried again, and once a life"
    await keeper.close()
