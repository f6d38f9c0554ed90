"""Rows given up: which, by which rule, how many."""

from __future__ import annotations

import pytest

from bridge.pipeline.given import MAX_PASSED, MAX_RANGES, Given
from bridge.store.records import GivenUp


def made(*ranges: tuple[int, int], why: str = "gap") -> Given:
    given = Given()
    for first, end in ranges:
        given.add(first, end, why)
    return given


def test_ranges_are_in_order_and_rows_are_given_up_once_by_the_first_rule() -> None:
    given = made((10, 20), (2, 4))
    given.add(0, 25, "age")
    assert given.ranges == [
        GivenUp(0, 2, "age"), GivenUp(2, 4, "gap"), GivenUp(4, 10, "age"), GivenUp(10, 20, "gap"),
        GivenUp(20, 25, "age"),
    ]  # fmt: skip
    assert given.rows == 25


@pytest.mark.parametrize("order", [[(0, 2), (2, 4), (4, 6)], [(4, 6), (0, 2), (2, 4)], [(0, 2), (4, 6), (2, 4)]])
def test_ranges_that_touch_are_one_where_the_rule_is_one(order: list[tuple[int, int]]) -> None:
    assert made(*order).ranges == [GivenUp(0, 6, "gap")]


def test_what_of_some_rows_was_given_up_and_what_was_not() -> None:
    given = made((2, 4), (8, 9))
    assert given.others(0, 12) == [(0, 2), (4, 8), (9, 12)]
    assert given.others(2, 4) == given.others(3, 4) == []
    assert given.others(4, 8) == [(4, 8)]
    assert (given.within(0, 12), given.within(3, 9), given.within(4, 8)) == ((2, 3), (3, 3), None)
    assert given.within(9, 12) is None


def test_what_was_given_up_is_passed_over_at_once_whatever_the_rules() -> None:
    given = made((2, 4))
    given.add(4, 7, "age")
    assert [given.past(row) for row in (1, 2, 5, 7)] == [1, 7, 7, 7]
    assert (given.ahead(6), given.ahead(7), Given().ahead(0)) == (True, False, False)


def test_history_is_bounded_and_what_is_ahead_is_kept() -> None:
    given = made(*[(3 * n, 3 * n + 1) for n in range(MAX_PASSED + 10)])
    given.trim(0)
    assert len(given.ranges) == MAX_PASSED + 10
    given.trim(3 * (MAX_PASSED + 4))
    assert given.ranges[0].first == 3 * 4
    assert (len(given.ranges), given.rows) == (MAX_PASSED + 6, MAX_PASSED + 10)


def test_more_ranges_than_are_remembered_are_counted() -> None:
    given = made(*[(3 * n, 3 * n + 1) for n in range(MAX_RANGES + 5)])
    assert given.full
    assert (len(given.ranges), given.rows) == (MAX_RANGES, MAX_RANGES + 5)


def test_rows_given_up_by_an_earlier_version_are_counted() -> None:
    assert Given([GivenUp(2, 5), GivenUp(7, 8)]).rows == 4
    assert Given([GivenUp(2, 5)], 90).rows == 90
