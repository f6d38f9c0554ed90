"""A journal that lost records: series are brought up to date with what is left of their rows."""

from __future__ import annotations

import numpy as np

from bridge.messages import SeriesKey
from bridge.store.mending import mended
from bridge.store.records import GivenUp, Saved, SavedRows, SavedSegment, SavedSeries

KEY = SeriesKey("s", "d", "x", "e")


def saved(series: SavedSeries, *spans: tuple[int, int]) -> Saved:
    rows = [
        SavedRows(KEY, first, np.zeros((end - first, 1), np.float32), 0.0, 1.0, "device", "live")
        for first, end in spans
    ]
    return Saved([series], rows, [], [], [])


def test_a_series_with_all_its_rows_is_left_as_it_is() -> None:
    assert mended(saved(SavedSeries(KEY, "m", True, 100, 64), (60, 80), (80, 100))) == []
    assert mended(saved(SavedSeries(KEY, "m", True, 100, 128))) == []
    assert mended(saved(SavedSeries(KEY, "m", True, 100, 64, (GivenUp(70, 75),)), (60, 70), (75, 100))) == []


def test_rows_that_are_missing_are_given_up_and_the_windows_that_need_them_passed_over() -> None:
    before = SavedSeries(KEY, "m", True, 200, 64, (GivenUp(10, 20, "age"),), 3, 10)
    ((after, lost),) = mended(saved(before, (64, 70), (80, 90), (95, 200), (210, 220)))
    assert lost == [(70, 80), (90, 95)]
    given = (GivenUp(10, 20, "age"), GivenUp(70, 80, "damaged"), GivenUp(90, 95, "damaged"))
    assert after == SavedSeries(KEY, "m", True, 200, 95, given, 3, 25)
    assert mended(saved(after, (95, 200))) == [], "once is enough"


def test_rows_missing_at_the_end_end_all_windows_begun() -> None:
    ((after, lost),) = mended(saved(SavedSeries(KEY, "m", True, 100, 64), (64, 90)))
    assert (lost, after.next_window, after.next_row) == ([(90, 100)], 100, 100)


def test_of_later_parts_too() -> None:
    part = SavedSegment(begin=1_000, keep=1_064, next_row=1_300, next_window=1_216)
    before = SavedSeries(KEY, "m", True, 64, 64, later=(part,))
    ((after, lost),) = mended(saved(before, (1_000, 1_010), (1_020, 1_064), (1_216, 1_250), (1_260, 1_300)))
    assert lost == [(1_010, 1_020), (1_250, 1_260)]
    assert after.later == (SavedSegment(1_000, 1_010, 1_300, 1_260),)
    assert (after.next_window, after.given_up) == (64, 20)
