"""What the journal is given of series after a turn: a tail where one message has all that is needed, else its parts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import numpy as np
import pytest

from bridge.catalog import load_manifest
from bridge.messages import Observation, SeriesKey, Skip
from bridge.pipeline import restore
from bridge.pipeline.entries import Entry, Patience
from bridge.pipeline.routes import Route, RouteTable
from bridge.pipeline.window import Windower
from bridge.store.records import Changes, GivenUp, Saved
from bridge.topics import DataTopic
from tests.support.feeds import feed

if TYPE_CHECKING:
    from bridge.pipeline.chunk import Chunk

ACTIVITY = load_manifest(Path(__file__).parents[2] / "models" / "activity")
SHAPE = msgspec.structs.replace(ACTIVITY.input, rows=8, hop=4, channels=("x", "y"), rate_hz=10.0)
ROUTE = Route(model="m", manifest=msgspec.structs.replace(ACTIVITY, input=SHAPE), stream="x")
WHO = DataTopic("s", "d", "x")
KEY = SeriesKey("s", "d", "x", "e")
Spans: TypeAlias = list[tuple[int, int]]  # first row, row after the last


class Turns:
    """One series in a windower, and turns of messages of it."""

    def __init__(self) -> None:
        self.windower = Windower(Patience(), str)

    def turn(self, *messages: tuple[int, int] | Skip | int) -> Changes:
        """Take messages: rows and the row after the last, rows given up, or the row from which the live lane goes."""
        kept: list[tuple[Entry, Chunk]] = []
        for one in messages:
            if isinstance(one, Skip):
                self.windower.skip(feed(self.windower, ROUTE, WHO), one, 0.0)
                continue
            first, end, live_from = (one, one + 8, one) if isinstance(one, int) else (*one, None)
            values = np.arange(2 * first, 2 * end, dtype=np.float32).reshape(-1, 2)
            seen = Observation(values, first, "e", float(first), 1.0, receipt=True, live_from=live_from)
            taken = self.windower.take(feed(self.windower, ROUTE, WHO), seen, 0.0, 0.0)
            assert taken.entry is not None
            if taken.chunk is not None:
                kept.append((taken.entry, taken.chunk))
        changes = Changes()
        restore.save([self.entry], kept, changes)
        return changes

    @property
    def entry(self) -> Entry:
        entry = self.windower.entry(KEY)
        assert entry is not None
        return entry


def spans(changes: Changes) -> tuple[Spans, Spans]:
    """Rows of its tails, and rows of their own."""
    tails = [(one.first, one.first + len(one.data) // 8) for one in changes.tails]
    return tails, [(one.first, one.first + len(one.values)) for one in changes.rows]


@pytest.mark.parametrize(
    ("before", "turn", "tails", "rows"),
    [
        ([], [(0, 3)], [(0, 3)], []),
        ([(0, 4)], [(4, 8)], [(4, 8)], []),
        ([(0, 4)], [(4, 9)], [(4, 9)], []),
        ([(0, 6)], [(6, 13)], [(8, 13)], []),
        ([(0, 4)], [(4, 8), (8, 12)], [(8, 12)], []),
        ([(0, 4)], [(4, 6), (6, 7)], [], [(4, 6), (6, 7)]),
        ([], [(0, 2), (2, 12)], [(8, 12)], []),
        ([(0, 4)], [(6, 8)], [], [(6, 8)]),  # behind a gap
        ([(0, 4), (8, 12)], [(4, 8)], [], [(4, 8)]),  # what was held is needed, and has come before
        ([(0, 4)], [(0, 4)], [], []),  # a copy
        ([(0, 4)], [(2, 8)], [(4, 8)], []),  # a part of it is one
    ],
)
def test_a_message_that_has_all_that_is_needed_is_kept_with_its_series(
    before: Spans, turn: Spans, tails: Spans, rows: Spans
) -> None:
    turns = Turns()
    for message in before:
        turns.turn(message)
    changes = turns.turn(*turn)
    assert spans(changes) == (tails, rows)
    assert len(changes.tails) + len(changes.series) == 1


def test_a_tail_has_all_that_is_known_of_its_series() -> None:
    turns = Turns()
    turns.turn((0, 4))
    turns.turn(Skip([(4, 8)], "age", "e", receipt=True), (9, 13))
    (one,) = turns.turn((13, 21)).tails
    series, rows = one.apart()
    assert series == restore.save_series(turns.entry)
    assert (series.skipped, series.given_up) == ((GivenUp(4, 9, "age"),), 5)
    assert (series.next_row, series.next_window, series.windows, series.via) == (21, 16, 1, "edge/v1/+/+/data/x")
    assert (rows.key, rows.first, rows.t, rows.dt, rows.t_source, rows.lane) == (KEY, 16, 16.0, 1.0, "device", "live")
    assert rows.values[:, 0].tolist() == list(range(32, 42, 2))


def test_a_series_in_parts_is_kept_in_parts() -> None:
    changes = (turns := Turns()).turn((0, 4), 100, (108, 110))
    assert spans(changes) == ([], [(0, 4), (100, 108), (108, 110)])
    assert changes.series == [restore.save_series(turns.entry)]
    assert changes.series[0].later


def test_what_was_kept_of_a_series_that_went_in_the_same_turn_is_void() -> None:
    turns = Turns()
    turns.turn((0, 4))
    gone, changes = turns.entry, Changes()
    taken = turns.windower.take(
        feed(turns.windower, ROUTE, WHO), Observation(np.zeros((2, 2), np.float32), 4, "e"), 0.0, 0.0
    )
    assert taken.chunk is not None
    restore.save([], [(gone, taken.chunk)], changes)
    assert not changes


def test_the_next_life_goes_on_from_a_tail() -> None:
    turns = Turns()
    turns.turn((0, 6))
    series, rows = turns.turn((6, 13)).tails[0].apart()
    after = Turns()
    restore.take_up_series(Saved([series], [rows], [], [], []), RouteTable([ROUTE]), after.windower, now=0.0)
    seen = Observation(np.arange(26, 32, dtype=np.float32).reshape(-1, 2), 13, "e")
    (window,) = after.windower.take(feed(after.windower, ROUTE, WHO), seen, 0.0, 0.0).windows
    assert (window.seq, window.values[:, 0].tolist()) == (8, list(range(16, 32, 2)))
