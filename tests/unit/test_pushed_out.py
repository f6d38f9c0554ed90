"""A series beyond `[limits] series`: which goes, what is remembered of it, and what is told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bridge.ledger.account import GivenUp, Part
from bridge.ledger.proof import check_agent, check_series
from bridge.ledger.source import running_account
from bridge.messages import Observation, SeriesKey
from bridge.pipeline import pushed_out
from bridge.pipeline.entries import Patience
from bridge.store.journal import Journal
from bridge.topics import DataTopic
from tests.support.engines import ROWS, until
from tests.support.feeds import feed
from tests.support.lives import Life, World
from tests.unit.test_window_bounds import ROUTE, made, take

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.pipeline.window import Windower


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "journal.db")


def key(device: str) -> SeriesKey:
    return SeriesKey("s", device, "x", "")


def test_of_the_longest_idle_one_without_rows_of_unfinished_windows_goes_first() -> None:
    windower = made(series=32)
    for n in range(32):
        take(windower, 0, device=f"d{n}")
    entry = windower.entry(key("d1"))
    assert entry is not None
    entry.series.next_window = entry.series.next_row  # as where windows do not overlap
    take(windower, 0, device="new")
    assert windower.evicted == [key("d1")]
    assert windower.pushed_out.lost == []
    take(windower, 0, device="newer")
    assert windower.evicted == [key("d1"), key("d0")]
    assert [(one.key, rows) for one, rows in windower.pushed_out.lost] == [(key("d0"), 2)]


def test_a_series_goes_on_where_it_stopped_and_its_rows_are_given_up_by_rule() -> None:
    windower = made(series=1)
    take(windower, 0)
    take(windower, 10)  # held: rows before it are missing
    take(windower, 0, device="other")
    assert windower.entry(key("d")) is None
    assert [window.seq for window in take(windower, 4).windows] == [4]
    entry = windower.entry(key("d"))
    assert entry is not None
    assert entry.series.given is not None
    assert [(one.first, one.end, one.why) for one in entry.series.given.ranges] == [
        (2, 4, "series"),
        (10, 14, "series"),
    ]
    assert [window.seq for window in take(windower, 8).windows] == [6]
    assert [window.seq for window in take(windower, 14).windows] == [14]


def test_of_a_series_with_a_backlog_all_parts_are_given_up() -> None:
    windower = made(series=1)
    take(windower, 0)
    entry = windower.entry(key("d"))
    assert entry is not None
    windower.strand(entry, 1.0).begin(20, 1.0)
    take(windower, 20)
    take(windower, 0, device="other")
    given = entry.series.given
    assert given is not None
    assert [(one.first, one.end) for one in given.ranges] == [(2, 4), (20, 24)]
    assert [window.seq for window in take(windower, 24).windows] == [24]
    assert windower.entry(key("d")) is entry


def test_what_is_remembered_of_them_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushed_out, "REMEMBERED", 2)
    windower = made(series=1)
    entries = [take(windower, 0, device=f"d{n}").entry for n in range(5)]
    assert [one is not None and one.series.given is not None for one in entries] == [False, False, True, True, False]
    assert windower.pushed_out.keys == [key("d2"), key("d3")]
    assert windower.pushed_out.gone == [key("d0"), key("d1")]
    assert [window.seq for window in take(windower, 0, device="d0").windows] == [0]  # as a new one
    assert len(windower.pushed_out) == 2


def test_the_owner_is_told_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    windower = made(series=1)
    with caplog.at_level(logging.WARNING):
        for n in range(4):
            take(windower, 0, device=f"d{n}")
            windower.pushed_out.warn(30.0 * n)
            windower.pushed_out.lost.clear()
    first, second = (record.getMessage() for record in caplog.records)
    assert "[limits] series: the longest idle are pushed out, 2 rows given up" in first
    assert "6 rows given up since the start whose windows were not complete, the latest of s/d2/x" in second


def bounded(world: World) -> Life:
    """A bridge that keeps one series."""
    life = world.live()
    life.pipeline._windower._patience = Patience(series=1)
    life.pipeline._windower._idle = pushed_out.Idle(1)
    return life


def test_nothing_is_kept_of_one_that_begins_for_another_model() -> None:
    windower = made(series=1)
    entry = take(windower, 0).entry
    assert entry is not None
    take(windower, 0, device="other")
    assert entry.series.given is not None
    assert windower.pushed_out.take(key("d"), "another") is None
    assert windower.pushed_out.get(key("d")) is None
    assert entry.series.given is None


async def test_one_that_is_back_in_the_same_turn_is_known_to_the_next_life(world: World) -> None:
    life, half = bounded(world), ROWS // 2
    life.deliver("rows", 0, half, receipt=True)
    await until(lambda: len(life.verdicts) == 1)
    life.deliver("rows", 0, half, device="other", receipt=True)
    life.deliver("rows", 0, half, receipt=True)  # refused: they were given up
    await until(lambda: len(life.verdicts) == 2)
    known = {name.device for name in life.pipeline._windower.keys}
    await life.crash()
    journal = Journal(world.path, pytest.fail)
    kept = {one.key.device: one for one in journal.load().series}
    journal.close()
    assert known == {"d"}
    assert (kept["d"].next_row, [(one.first, one.end, one.why) for one in kept["d"].skipped]) == (
        half,
        [(0, half, "series")],
    )


async def test_the_ledger_says_so_also_after_a_restart(world: World) -> None:
    life = bounded(world)
    half = ROWS // 2
    life.deliver("rows", 0, half, receipt=True)
    await until(lambda: len(life.verdicts) == 1)
    life.deliver("rows", 0, half, device="other", receipt=True)
    await until(lambda: len(life.verdicts) == 2)
    windower, book = life.pipeline._windower, life.pipeline._out.book
    (entry,) = [one for name in windower.pushed_out.keys if (one := windower.pushed_out.get(name)) is not None]
    account = running_account(entry, book, book.waiting(), working=None, kept=None)
    assert account.given_up == [GivenUp(0, half - 1, "series")]
    assert account.pushed_out is not None
    assert check_agent(Part("e", half), [account]).holds
    assert False not in [one.holds for one in check_series(account, bridge="")]
    totals = book.totals()
    assert (totals["pushed_out"], totals["pushed_out_rows"]) == (1, half)
    await life.crash()
    journal = Journal(world.path, pytest.fail)
    saved = journal.load()
    journal.close()
    kept = {one.key.device: one for one in saved.series}
    assert [(one.first, one.end, one.why) for one in kept["d"].skipped] == [(0, half, "series")]
    assert {one.key.device for one in saved.rows} == {"other"}


def test_a_series_without_numbers_goes_on_where_it_is_now_and_not_in_one_that_was_pushed_out() -> None:
    """Both come back from the journal; the pushed-out one last."""
    before = made(series=1)
    rows = np.zeros((4, 1), np.float32)

    def unnumbered(windower: Windower) -> SeriesKey:
        return windower.take(feed(windower, ROUTE, DataTopic("s", "d", "x")), Observation(rows), 1.0, 1e9).key

    old = unnumbered(before)
    take(before, 0, device="other")
    new = unnumbered(before)
    assert new != old
    remembered, present = before.pushed_out.get(old), before.entry(new)
    assert remembered is not None
    assert present is not None
    after = made()
    after.restore(present)
    after.restore(remembered)
    assert unnumbered(after) == new
