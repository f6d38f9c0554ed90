"""Windows that waited for a slow model when the bridge ended: computed, or refused, by the next life.

The whole bridge but its sockets, on a real journal. The tests hold up the slow model's runs and the broker's PUBACKs.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from bridge.messages import SeriesKey
from bridge.store.journal import Journal
from bridge.store.records import Changes, SavedRows, SavedSeries
from tests.support.engines import CHANNELS, ROWS, HeldEngine, until
from tests.support.lives import ROUTES, World, manifest_of, route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    found = World(tmp_path / "journal.db")
    yield found
    await found.end()


async def test_rows_of_a_slow_model_survive_a_crash_and_are_computed_once_and_in_order(world: World) -> None:
    first = world.live()
    number = first.deliver("rows", 0, 5 * ROWS + 2)
    await until(lambda: number in first.verdicts)
    first.slow.let_go(0)
    await until(lambda: first.seqs == [0])
    await first.turn()
    await first.crash()
    assert world.pending() == [(n * ROWS, False) for n in range(1, 5)]
    second = world.live()
    again = second.deliver("rows", ROWS, 5 * ROWS)  # most of it comes again
    await until(lambda: again in second.verdicts)
    second.slow.let_all_go()
    await until(lambda: len(second.seqs) == 6)
    assert second.seqs == [n * ROWS for n in range(6)]  # the first's PUBACK had not come
    assert second.slow.began == [[n] for n in range(1, 6)]
    second.take_all()
    await second.turn()
    await second.turn()
    await second.crash()
    third = world.live()
    await third.turn()
    assert (third.seqs, third.slow.began) == ([], [])


async def test_a_window_of_a_model_that_has_no_route_any_more_is_refused_once(world: World) -> None:
    first = world.live()
    number = first.deliver("rows", 0)
    await until(lambda: number in first.verdicts)
    await first.crash()
    second = world.live(routes=[route("quick", "whole", model="fast")])
    await until(lambda: second.errors)
    assert second.errors == [("no_route", 0)]
    await second.crash()
    assert world.pending() == []


async def test_a_window_cut_for_another_window_length_is_refused_at_the_next_start(world: World) -> None:
    """A model with other windows takes a restart; what waits for its lanes then is of no use any more."""
    first = world.live()
    number = first.deliver("rows", 0)
    await until(lambda: number in first.verdicts)
    await first.crash()
    longer = [msgspec.structs.replace(one, manifest=manifest_of(2 * ROWS)) for one in ROUTES]
    slow = HeldEngine("slow")
    slow.rows = 2 * ROWS
    slow.answers = functools.partial(HeldEngine.__mro__[1].answers, slow)  # type: ignore[attr-defined, method-assign]
    second = world.live(slow, longer)
    await until(lambda: second.errors or second.running.done())
    assert not second.running.done(), second.running.exception()
    assert second.errors == [("shape", 0)]
    await second.crash()
    assert world.pending() == []


def keep_rows_of_an_earlier_model(path: Path) -> SeriesKey:
    """What a bridge whose model takes two channels more left: rows 4 and 5 of 0 to 5, and 9, which wait for 6 to 8."""
    key, wide = SeriesKey("s", "d", "rows", "e"), CHANNELS + 2
    rows = [
        SavedRows(key, first, np.zeros((count, wide), np.float32), 0.0, 0.02, "device", "live")
        for first, count in ((4, 2), (9, 1))
    ]
    journal = Journal(path, pytest.fail)
    journal.commit(Changes(rows=rows, series=[SavedSeries(key, "slow", True, 6, 4, windows=1, via=ROUTES[0].via)]))
    journal.close()
    return key


async def test_rows_of_other_channels_than_the_model_takes_since_the_restart_are_given_up(world: World) -> None:
    key = keep_rows_of_an_earlier_model(world.path)
    first = world.live()
    await first.pipeline.taken_up.wait()
    await first.crash()
    journal = Journal(world.path, pytest.fail)
    assert journal.load().rows == []
    journal.close()
    second = world.live()
    second.slow.let_all_go()
    second.deliver("rows", 6, 2 * ROWS + 2)
    await second.turn()
    await until(lambda: second.seqs)
    assert second.seqs == [12], "those of 4 and 8 have rows that are gone"
    entry = second.pipeline._windower.entry(key)
    assert entry is not None
    assert entry.series.given is not None
    given = [(one.first, one.end, one.why) for one in entry.series.given.ranges]
    assert given == [(4, 6, "model"), (9, 10, "model")]


async def test_a_whole_window_that_waited_in_vain_comes_again_and_is_new(world: World) -> None:
    first = world.live()
    first.deliver("whole", 0)
    await until(lambda: first.slow.running)
    await first.crash()
    assert (first.verdicts, world.pending()) == ({}, [])
    second = world.live()
    number = second.deliver("whole", 0)
    second.slow.let_all_go()
    await until(lambda: second.seqs == [0])
    second.take_all()
    assert number in second.verdicts
