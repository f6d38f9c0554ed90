"""What the bridge counts adds up: with the real pipeline on a real journal, over its ends too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.ledger.account import Account, Windows
from bridge.ledger.proof import check_series
from bridge.ledger.source import running_account
from bridge.messages import SeriesKey
from tests.support.engines import ROWS, until
from tests.support.ledger_desk import ledger
from tests.support.lives import Life, World

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "journal.db")


def account(life: Life, key: SeriesKey) -> Account:
    pipeline = life.pipeline
    entry = pipeline._windower.entry(key)
    assert entry is not None
    book = pipeline._out.book
    return running_account(entry, book, book.waiting(), working=pipeline.works_at, kept=None)


ROWS_KEY = SeriesKey("s", "d", "rows", "e")


async def test_what_waits_is_somebody_s_work_until_it_ends(world: World) -> None:
    life = world.live()
    life.deliver("rows", 0, 3 * ROWS)
    life.deliver("whole", 0)
    await life.turn()
    found = ledger(life)
    assert found.adds_up is True, found.problems
    (line,) = found.series
    assert (line.safe, line.bridges["gw-1"].windows, line.bridges["gw-1"].waiting) == (3 * ROWS, 3, 3)
    life.slow.let_all_go()
    await until(lambda: life.has_answered(4))
    assert ledger(life).series[0].bridges["gw-1"].answered == 0, "the broker has not taken them"
    life.take_all()
    after = ledger(life)
    assert after.adds_up is True, after.problems
    assert (after.series[0].bridges["gw-1"].answered, after.series[0].bridges["gw-1"].waiting) == (3, 0)
    (whole,) = [one for one in after.streams if one.account.stream == "whole"]
    assert whole.account.whole == Windows(1, astray=[])


async def test_a_window_that_everybody_forgot_is_found(world: World) -> None:
    life = world.live()
    life.deliver("rows", 0, 3 * ROWS)
    await life.turn()
    lost = next(iter(life.pipeline._decider.open))
    del life.pipeline._decider.open[lost]
    life.pipeline._out.waiters.forget(lost)
    assert [one.rows for one in check_series(account(life, ROWS_KEY), bridge="") if one.holds is False] == [[(0, 3)]]
    del life.pipeline._out.book._waiting[lost]
    assert ledger(life).problems == [
        "s/d/rows e: answers (gw-1): rows 0–3: 1 window cut, and neither answered, nor refused, nor on the way"
    ]


@pytest.mark.parametrize("answered", [False, True])
async def test_it_adds_up_after_kill_9(world: World, answered: bool) -> None:
    life = world.live()
    life.deliver("rows", 0, 3 * ROWS)
    await life.turn()
    if answered:
        life.slow.let_go(0, 1)
        await until(lambda: life.has_answered(2))
    await life.crash()
    again = world.live()
    again.deliver("rows", 3 * ROWS, ROWS)
    again.deliver("rows", 0, 2 * ROWS)
    await again.turn()
    before = ledger(again)
    assert before.adds_up is True, before.problems
    assert (before.series[0].bridges["gw-1"].windows, before.series[0].bridges["gw-1"].waiting) == (4, 4)
    again.slow.let_all_go()
    await until(lambda: {0, 4, 8, 12} <= set(again.seqs))
    again.take_all()
    after = ledger(again)
    assert after.adds_up is True, after.problems
    assert after.series[0].bridges["gw-1"].answered == 4
    assert [one.account.duplicates for one in after.streams if one.account.stream == "rows"] == [1]


async def test_gaps_are_named_with_their_rule_also_after_kill_9(world: World) -> None:
    life = world.live()
    life.slow.let_all_go()
    life.deliver("rows", 0, ROWS + 1)
    life.deliver("rows", 2 * ROWS, 2 * ROWS)
    await life.turn()
    assert ledger(life).series[0].held == 2 * ROWS
    (entry,) = [one for one in life.pipeline._windower.entries if one.key == ROWS_KEY]
    entry.series.gap_since = -1e9  # it was waited for long enough
    await until(lambda: {0, 8, 12} <= set(life.seqs))
    await life.crash()
    again = world.live()
    await again.turn()
    (line,) = ledger(again).series
    assert [(one.first, one.last, one.rule) for one in line.dropped] == [(5, 7, "gap")]
    assert (line.safe, line.dropped_rows, line.bridges["gw-1"].windows, line.adds_up) == (13, 3, 3, True)


async def test_a_result_that_the_broker_refuses_is_refused_until_the_next_life(world: World) -> None:
    life = world.live()
    life.slow.let_all_go()
    life.deliver("rows", 0, ROWS)
    await until(lambda: life.has_answered(1))
    for message in life.sent:
        if message.done is not None:
            message.done(0x87)
    await life.turn()
    (line,) = ledger(life).series
    assert (line.bridges["gw-1"].refused, line.adds_up) == ({"broker": 1}, True)
    await life.crash()
    again = world.live()
    await again.turn()
    (line,) = ledger(again).series
    assert (line.bridges["gw-1"].waiting, line.adds_up) == (1, True)


async def test_a_window_that_no_route_takes_any_more_is_refused(world: World) -> None:
    life = world.live()
    life.deliver("whole", 0)
    life.deliver("rows", 0, ROWS, receipt=True)
    await life.turn()
    await life.crash()
    again = world.live(routes=[one for one in life.pipeline._table.routes if one.model == "fast"])
    await again.turn()
    assert again.pipeline._out.book.totals()["refused"] == {"no_route": 1}
    assert ledger(again).adds_up is not False


async def test_refused_messages_are_counted_by_stream(world: World) -> None:
    life = world.live()
    life.deliver("rows", 0, ROWS)
    life.deliver("whole", 0, ROWS + 1)
    await life.turn()
    found = {one.account.stream: one.account.refused for one in ledger(life).streams}
    assert found["whole"] == {"shape": 1}
