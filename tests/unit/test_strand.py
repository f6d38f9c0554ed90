"""A series in parts, case by case: what its sender sends later, and what it never sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bridge.errors import Refused
from bridge.pipeline.given import MAX_RANGES
from bridge.pipeline.series import MAX_JUMP, Chunk, Series
from bridge.pipeline.strand import Strand, Waits
from bridge.store.records import GivenUp

if TYPE_CHECKING:
    from bridge.messages import Lane
    from bridge.pipeline.series import Cut

WAITS = Waits(begin=2.0, gap=60.0, backlog=1_000.0)


def made(rows: int = 4, hop: int = 2, *, next_row: int = 0, **bounds: Any) -> Strand:
    first = Series(rows, hop, next_row=next_row, next_window=-(-next_row // hop) * hop)
    return Strand(first, rows, hop, 0.0, **bounds)


def chunk(first: int, end: int, lane: Lane = "live", *, at: float = 0.0) -> Chunk:
    values = np.arange(first, end, dtype=np.float32).reshape(-1, 1)
    return Chunk(first, values, 100.0 + first, 1.0, "device", at, lane)


def add(strand: Strand, first: int, end: int, lane: Lane = "live", *, now: float = 0.0) -> list[tuple[int, str]]:
    return told(strand.add(chunk(first, end, lane, at=now), now)[1])


def told(cuts: list[Cut]) -> list[tuple[int, str]]:
    for cut in cuts:
        assert cut.values[:, 0].tolist() == list(range(cut.seq, cut.seq + len(cut.values)))
    return [(cut.seq, cut.lane) for cut in cuts]


def test_live_rows_do_not_wait_for_the_backlog_and_windows_across_the_seam_follow_it() -> None:
    strand = made()
    assert add(strand, 0, 3) == []
    assert strand.begin(9, 0.0) == []
    assert add(strand, 9, 14) == [(10, "live")]
    assert add(strand, 3, 7, "backlog") == [(0, "backlog"), (2, "backlog")]
    assert add(strand, 7, 9, "backlog") == [(4, "backlog"), (6, "backlog"), (8, "backlog")]
    assert strand.single
    assert add(strand, 14, 16) == [(12, "live")]
    assert (strand.first.next_row, strand.windows) == (16, 7)


def test_a_window_that_live_rows_complete_across_a_seam_already_joined_is_live() -> None:
    strand = made()
    strand.begin(5, 0.0)
    add(strand, 5, 6)
    assert add(strand, 0, 5, "backlog") == [(0, "backlog"), (2, "backlog")]
    assert add(strand, 6, 8) == [(4, "live")]


def test_no_part_begins_where_rows_are_known_or_one_begins_already() -> None:
    strand = made()
    add(strand, 0, 5)
    for row in (0, 3, 5):
        strand.begin(row, 0.0)
    assert strand.later == []
    for row in (9, 9, 12):
        strand.begin(row, 0.0)
    assert [part.begin for part in strand.later] == [9, 12]


def test_a_part_takes_what_was_held_from_its_begin_on() -> None:
    strand = made()
    add(strand, 2, 14)
    assert told(strand.begin(7, 0.0)) == [(8, "live"), (10, "live")]
    assert (strand.held_rows, strand.first.held_rows) == (5, 5)
    assert add(strand, 0, 2, "backlog") == [(seq, "backlog") for seq in (0, 2, 4, 6)]
    assert (strand.single, strand.first.next_row, strand.held_rows) == (True, 14, 0)


def test_one_message_may_close_two_holes() -> None:
    strand = made()
    for begin in (4, 8):
        strand.begin(begin, 0.0)
        add(strand, begin, begin + 2)
    assert add(strand, 0, 12, "backlog") == [(seq, "backlog") for seq in (0, 2, 4, 6)] + [(8, "backlog")]
    assert strand.single


def test_what_is_left_of_a_message_between_rows_given_up_keeps_no_more_than_itself() -> None:
    strand = made(128, 64)
    strand.skip(1, 4_032, "age", 0.0)
    strand.add(chunk(0, 4_033), 0.0)
    (left,) = strand.first.contents()[0]
    assert (left.first, left.end) == (4_032, 4_033)
    assert left.values.base is None


def test_a_gap_at_the_begin_of_a_part_ends_the_windows_across_it() -> None:
    strand = made(4, 1)
    strand.begin(10, 0.0)
    add(strand, 10, 11)
    assert strand.skip(11, 12, "age", 0.0) == (1, [])
    add(strand, 12, 13)  # the head of the part ends before, though it has room
    assert add(strand, 0, 10, "backlog") == [(seq, "backlog") for seq in range(8)]
    assert strand.first.next_row == 13
    assert add(strand, 13, 16) == [(12, "live")]


def test_a_gap_at_the_begin_of_a_part_ends_the_windows_that_reach_it_from_the_part_before() -> None:
    strand = made(9, 1)
    for begin in (10, 12):
        strand.begin(begin, 0.0)
        add(strand, begin, begin + 1)
    strand.skip(13, 14, "age", 0.0)
    add(strand, 14, 15)
    add(strand, 11, 12, "backlog")  # both parts are one now, with rows 10 to 12, then 14
    assert [(part.begin, part.next_row) for part in strand.later] == [(10, 15)]
    assert add(strand, 0, 10, "backlog") == [(seq, "backlog") for seq in range(5)]
    assert add(strand, 15, 23) == [(14, "live")]


def test_rows_given_up_are_passed_over_as_soon_as_they_are_reached() -> None:
    strand = made()
    assert strand.skip(6, 9, "size", 0.0) == (3, [])
    assert add(strand, 9, 16) == []
    assert add(strand, 0, 6) == [(0, "live"), (2, "live"), (10, "live"), (12, "live")]
    assert strand.single
    assert strand.given.ranges == [GivenUp(6, 9, "size")]


def test_rows_known_are_not_given_up() -> None:
    strand = made()
    add(strand, 0, 5)
    add(strand, 7, 9)
    strand.begin(20, 0.0)
    add(strand, 20, 22)
    rows, cuts = strand.skip(3, 25, "age", 0.0)
    assert strand.given.ranges == [GivenUp(5, 7, "age"), GivenUp(9, 20, "age"), GivenUp(22, 25, "age")]
    assert (rows, told(cuts), strand.first.next_row) == (16, [], 25)
    assert strand.skip(0, 25, "age", 0.0) == (0, [])


def test_rows_given_up_that_come_after_all_are_not_taken() -> None:
    strand = made()
    strand.skip(4, 6, "age", 0.0)
    new, _ = strand.add(chunk(2, 9), 0.0)
    assert new is not None
    assert (new.first, new.end, strand.first.held_rows) == (2, 9, 5)
    assert strand.unknown(0, 9) == [(0, 2)]
    assert strand.add(chunk(4, 6), 0.0) == (None, [])


def test_rows_given_up_beyond_what_is_remembered_are_waited_for() -> None:
    strand = made()
    for row in range(1, 2 * MAX_RANGES + 1, 2):
        strand.skip(row, row + 1, "age", 0.0)
    assert strand.skip(9_001, 9_003, "age", 0.0) == (0, [])
    assert strand.unknown(9_000, 9_004) == [(9_000, 9_004)]


def test_of_too_many_parts_the_two_with_the_smallest_hole_between_them_become_one() -> None:
    strand = made(most=2)
    for begin in (20, 40):
        strand.begin(begin, 0.0)
        add(strand, begin, begin + 5)
    strand.begin(30, 0.0)
    assert [part.begin for part in strand.later] == [20, 40]
    assert strand.given.ranges == [GivenUp(25, 30, "segments")]
    assert add(strand, 22, 30, "backlog") == []


def test_what_a_hole_holds_is_cut_when_it_is_given_up() -> None:
    strand = made(most=1)
    add(strand, 2, 7)
    strand.begin(9, 0.0)
    add(strand, 9, 11)
    assert told(strand.begin(90, 0.0)) == [(2, "backlog")]
    assert strand.given.ranges == [GivenUp(0, 2, "segments"), GivenUp(7, 9, "segments")]


@pytest.mark.parametrize(("silent", "promised"), [(999.0, True), (59.0, False)])
def test_a_hole_is_waited_for_while_its_sender_means_to_fill_it(silent: float, promised: bool) -> None:
    strand = made(next_row=3)
    strand.begin(9, 0.0)
    add(strand, 9, 14)
    strand.heard(500.0, promised=True)
    strand.heard(500.0 + silent, promised=promised)
    assert strand.expire(500.0 + silent, WAITS, forced=False) is None


def test_a_hole_that_nobody_speaks_of_any_more_is_given_up() -> None:
    strand = made(next_row=3)
    strand.begin(9, 0.0)
    add(strand, 9, 14)
    strand.heard(500.0, promised=True)
    strand.heard(560.0, promised=False)  # it sends live rows, and says nothing of a backlog
    assert strand.expire(560.0, WAITS, forced=False) == []
    assert (strand.single, strand.given.ranges) == (True, [GivenUp(3, 9, "gap")])


def test_a_hole_whose_sender_is_silent_is_given_up_in_the_end() -> None:
    strand = made(next_row=3)
    strand.begin(9, 0.0)
    assert strand.expire(999.0, WAITS, forced=False) is None
    assert strand.expire(1_000.0, WAITS, forced=False) == []
    assert strand.single


def test_rows_into_a_hole_show_that_it_is_being_filled() -> None:
    strand = made(next_row=3)
    strand.begin(9, 0.0)
    add(strand, 3, 4, "backlog", now=100.0)
    strand.heard(159.0, promised=False)
    assert strand.expire(1_099.0, WAITS, forced=False) is None
    assert strand.expire(1_100.0, WAITS, forced=False) == []


def test_gaps_before_live_rows_wait_with_their_hole_and_those_among_live_rows_as_ever() -> None:
    strand = made(next_row=3)
    add(strand, 5, 7)
    strand.begin(20, 0.0)
    add(strand, 20, 22)
    add(strand, 23, 30, now=10.0)
    assert strand.expire(69.0, WAITS, forced=False) is None
    assert told(strand.expire(70.0, WAITS, forced=False) or []) == [(24, "live"), (26, "live")]
    assert strand.first.next_row == 3
    assert strand.given.ranges == [GivenUp(22, 23, "gap")]


def test_what_a_series_begins_with_is_waited_for_but_shortly() -> None:
    strand = made()
    strand.begin(20, 0.0)
    add(strand, 6, 10, "backlog")
    assert strand.expire(1.9, WAITS, forced=False) is None
    assert told(strand.expire(2.0, WAITS, forced=False) or []) == [(6, "backlog")]
    assert not strand.single


def test_where_too_much_is_held_gaps_are_given_up_but_not_the_holes_between_parts() -> None:
    strand = made(next_row=3)
    add(strand, 5, 10)
    strand.begin(20, 0.0)
    assert told(strand.expire(0.0, WAITS, forced=True) or []) == [(6, "backlog")]
    assert (strand.held_rows, [part.begin for part in strand.later]) == (0, [20])
    assert strand.given.ranges == [GivenUp(3, 5, "held_rows")]


def test_a_part_that_begins_far_ahead_is_believed_and_a_row_far_beyond_it_is_not() -> None:
    strand = made()
    far = 5 * MAX_JUMP
    strand.begin(far, 0.0)
    add(strand, far, far + 4)
    strand.check(4, 8)
    with pytest.raises(Refused, match=f"row {2 * far} is far beyond row {far + 4}"):
        strand.check(2 * far, 2 * far + 4)


def test_windows_that_only_had_to_be_cut_are_told_by_the_end_of_a_wait() -> None:
    strand = made(next_row=20)
    strand.given.add(20, 25, "age")
    strand.restore(chunk(25, 31), 0.0)
    cuts = strand.expire(0.0, WAITS, forced=False)
    assert cuts is not None
    assert told(cuts) == [(26, "live")]
    assert strand.expire(0.0, WAITS, forced=False) is None
