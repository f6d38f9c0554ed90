"""One series of rows, case by case."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.pipeline.given import MAX_PASSED, Given
from bridge.pipeline.series import Chunk, Cut, Series
from bridge.store.records import GivenUp


def chunk(first: int, end: int, *, at: float = 0.0, value: float | None = None) -> Chunk:
    values = np.arange(first, end, dtype=np.float32) if value is None else np.full(end - first, value, np.float32)
    return Chunk(first, values.reshape(-1, 1), 100.0 + first, 1.0, "device", at, "live")


def starts(cuts: list[Cut]) -> list[int]:
    return [cut.seq for cut in cuts]


def kept(chunks: list[Chunk]) -> int:
    """Bytes of the arrays that these are, or are parts of."""
    return sum(one.values.nbytes if one.values.base is None else one.values.base.nbytes for one in chunks)


def test_windows_start_at_multiples_of_hop() -> None:
    _, cuts = Series(4, 3).add(chunk(0, 11), 7.0)
    assert starts(cuts) == [0, 3, 6]
    assert [cut.values[0, 0] for cut in cuts] == [0.0, 3.0, 6.0]
    assert [(cut.t, cut.arrived) for cut in cuts] == [(100.0, 7.0), (103.0, 7.0), (106.0, 7.0)]


def test_a_window_takes_its_time_from_its_first_row_and_its_lane_from_its_last() -> None:
    series = Series(4, 4)
    series.add(Chunk(0, np.zeros((2, 1), np.float32), 10.0, 0.5, "bridge", 0.0, "live"), 1.0)
    _, cuts = series.add(Chunk(2, np.zeros((2, 1), np.float32), 99.0, 0.5, "device", 0.0, "backlog"), 2.0)
    assert [(cut.t, cut.t_source, cut.lane, cut.arrived) for cut in cuts] == [(10.0, "bridge", "backlog", 2.0)]


def test_a_window_s_rows_are_its_own() -> None:
    rows = chunk(0, 4)
    _, (cut,) = Series(4, 4).add(rows, 0.0)
    rows.values[0, 0] = 99.0
    assert cut.values[0, 0] == 0.0


def test_of_rows_known_twice_the_first_copy_counts() -> None:
    series = Series(4, 4)
    series.add(chunk(0, 3), 0.0)
    new, cuts = series.add(chunk(1, 5, value=9.0), 0.0)
    assert new is not None
    assert (new.first, new.end, new.t) == (3, 5, 103.0)
    assert cuts[0].values[:, 0].tolist() == [0.0, 1.0, 2.0, 9.0]


def test_one_new_row_keeps_no_more_than_itself_of_a_message_whose_others_were_known() -> None:
    series = Series(128, 64)
    for end in range(4_000, 4_100):
        series.add(chunk(end - 4_000, end), 0.0)
    assert series.next_row == 4_099
    assert kept(series.contents()[0]) <= 4 * 128


def test_what_was_held_keeps_no_more_of_itself_than_was_missing() -> None:
    series = Series(128, 64)
    series.add(chunk(100, 4_100), 0.0)
    series.add(chunk(0, 4_099), 0.0)
    assert series.next_row == 4_100
    assert kept(series.contents()[0]) <= 4 * 128


def test_of_two_held_chunks_with_the_same_first_row_the_longer_is_kept() -> None:
    series = Series(4, 4)
    assert series.add(chunk(4, 6), 0.0)[0] is not None
    assert series.add(chunk(4, 8), 0.0)[0] is not None
    assert series.add(chunk(4, 7), 0.0)[0] is None
    assert series.add(chunk(4, 8), 0.0)[0] is None
    assert starts(series.add(chunk(0, 4), 0.0)[1]) == [0, 4]
    assert series.next_row == 8


def test_after_a_gap_windows_start_at_the_next_multiple_of_hop() -> None:
    series = Series(4, 4)
    series.add(chunk(0, 5), 0.0)
    series.add(chunk(7, 12), 0.0)
    assert starts(series.give_up(0.0)) == [8]
    assert (series.next_row, series.next_window) == (12, 12)
    assert series.skipped(0, 12) == (5, 6)


def test_after_a_gap_rows_are_put_in_order_though_no_window_needs_them() -> None:
    series = Series(4, 64)
    series.add(chunk(0, 5), 0.0)
    series.add(chunk(70, 80), 0.0)
    assert series.give_up(0.0) == []
    assert (series.next_row, series.next_window) == (80, 128)
    assert series.add(chunk(90, 140), 0.0)[1] == []
    assert starts(series.add(chunk(80, 90), 0.0)[1]) == [128]


def test_nothing_is_given_up_where_nothing_is_missing() -> None:
    series = Series(4, 4)
    series.add(chunk(0, 3), 0.0)
    assert series.give_up(0.0) == []
    assert starts(series.add(chunk(3, 4), 0.0)[1]) == [0]


def test_a_gap_has_been_waited_for_since_the_rows_after_it_came() -> None:
    series = Series(4, 4)
    series.add(chunk(2, 3, at=10.0), 10.0)
    series.add(chunk(5, 6, at=11.0), 11.0)
    assert series.gap_since == 10.0
    series.give_up(12.0)
    assert series.gap_since == 11.0


def test_a_gap_that_is_being_filled_is_waited_for_anew() -> None:
    series = Series(4, 4)
    series.add(chunk(3, 4, at=10.0), 10.0)
    series.add(chunk(0, 1, at=15.0), 15.0)
    assert series.gap_since == 15.0
    series.add(chunk(1, 3, at=16.0), 16.0)
    assert series.gap_since is None


def test_what_is_held_is_bounded_however_small_the_first_pieces_are() -> None:
    series = Series(4, 4, max_held=10)
    for first in range(1, 17, 2):
        series.add(chunk(first, first + 1), 0.0)
    for first in range(100, 200, 20):
        series.add(chunk(first, first + 9), 0.0)
        assert sum(len(held.values) for held in series._held.values()) <= 10


def test_one_message_larger_than_the_bound_is_cut_at_once() -> None:
    series = Series(4, 4, max_held=10)
    new, cuts = series.add(chunk(8, 20), 0.0)
    assert new is not None
    assert starts(cuts) == [8, 12, 16]
    assert series.gap_since is None


def test_thousands_of_gaps_are_given_up_in_no_time() -> None:
    series = Series(4, 4, max_held=8_000)
    for first in range(16_000, 0, -2):
        series.add(chunk(first, first + 1), 0.0)
    _, cuts = series.add(chunk(20_000, 30_000), 0.0)
    assert len(cuts) == 2_500
    assert series.gap_since is None


def test_the_ranges_remembered_as_given_up_are_bounded() -> None:
    series = Series(1, 1)
    for first in range(1, 2 * MAX_PASSED + 8, 2):
        series.add(chunk(first, first + 1), 0.0)
        series.give_up(0.0)
    assert series.given is not None
    assert len(series.given.ranges) == MAX_PASSED
    assert series.given.rows == MAX_PASSED + 4
    assert series.skipped(0, 1) is None
    assert series.skipped(2 * MAX_PASSED, 2 * MAX_PASSED + 1) == (2 * MAX_PASSED, 2 * MAX_PASSED)


def test_restored_rows_that_overlap_are_taken_once() -> None:
    series = Series(8, 4, next_row=7, next_window=0)
    for kept in (chunk(0, 5), chunk(2, 4), chunk(3, 7)):
        series.restore(kept, 0.0)
    _, cuts = series.add(chunk(7, 8), 0.0)
    assert [cut.values[:, 0].tolist() for cut in cuts] == [[float(row) for row in range(8)]]


def test_a_restored_series_waits_until_the_way_to_its_sender_is_back() -> None:
    series = Series(4, 4, next_row=2)
    series.restore(chunk(0, 2), 50.0)
    assert series.gap_since is None
    series.restore(chunk(5, 6, at=50.0), 50.0)
    assert series.patient
    assert [series.gap_since] == [50.0]


@pytest.mark.parametrize("hop", [1, 3, 4, 9])
def test_part_of_a_chunk_has_its_own_time(hop: int) -> None:
    part = chunk(10, 20).since(10 + hop)
    assert (part.first, part.end, part.t, part.values[0, 0]) == (10 + hop, 20, 110.0 + hop, 10.0 + hop)


def test_what_was_given_up_is_known_after_a_restart() -> None:
    series = Series(1, 1)
    for first in (2, 5):
        series.add(chunk(first, first + 1), 0.0)
        series.give_up(0.0, "gap" if first == 2 else "held_rows")
    assert series.given is not None
    assert series.given.ranges == [GivenUp(0, 2, "gap"), GivenUp(3, 5, "held_rows")]
    again = Series(1, 1, next_row=series.next_row, next_window=series.next_window)
    again.given = Given(series.given.ranges, series.given.rows)
    assert [again.skipped(row, row + 1) for row in range(7)] == [(0, 0), (1, 1), None, (3, 3), (4, 4), None, None]


def test_windows_are_counted() -> None:
    series = Series(4, 2)
    assert series.windows == 0
    series.add(chunk(0, 9), 0.0)
    series.add(chunk(9, 10), 0.0)
    assert series.windows == 4


def test_rows_restored_twice_from_beyond_a_gap_are_held_once_as_far_as_they_go() -> None:
    series = Series(4, 4)
    series.restore(chunk(5, 9), 0.0)
    series.restore(chunk(5, 7), 0.0)
    assert series.held_rows == 4
    assert series.unknown(2, 12) == [(2, 5), (9, 12)]
    assert series.unknown(6, 8) == []
