"""Arithmetic on ranges of row numbers; its properties are in `tests/property/test_ledger.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.ranges import both, count, minus, numbers, text, union

if TYPE_CHECKING:
    from bridge.ranges import Range


def test_ranges() -> None:
    assert union([(5, 6), (0, 2), (3, 4), (9, 8)]) == [(0, 6)]
    assert minus([(0, 9)], [(3, 4), (8, 20)]) == [(0, 2), (5, 7)]
    assert text([(0, 4), (7, 7)]) == "0–4, 7"
    assert text([(i * 3, i * 3) for i in range(10)]).endswith("… (2 more)")


@pytest.mark.parametrize(
    ("ranges", "merged"),
    [
        ([], []),
        ([(3, 4)], [(3, 4)]),
        ([(5, 6), (0, 4)], [(0, 6)]),
        ([(0, 9), (2, 3)], [(0, 9)]),
        ([(0, 3), (5, 6)], [(0, 3), (5, 6)]),
        ([(1, 1), (1, 1), (2, 2)], [(1, 2)]),
    ],
)
def test_ranges_that_touch_are_joined(ranges: list[Range], merged: list[Range]) -> None:
    assert union(ranges) == merged


def test_ranges_are_joined_taken_away_and_shared() -> None:
    assert union([(5, 6), (0, 2), (3, 4), (9, 8), (1, 1)]) == [(0, 6)]
    assert minus([(0, 9), (20, 29)], [(3, 4), (8, 21), (29, 40)]) == [(0, 2), (5, 7), (22, 28)]
    assert both([(0, 9), (20, 29)], [(5, 24)]) == [(5, 9), (20, 24)]
    assert count([(0, 0), (5, 9)]) == 6
    assert text([(0, 1), (3, 3), (5, 6)], most=2) == "0–1, 3, … (1 more)"


@pytest.mark.parametrize(
    ("runs", "rows", "hop", "found"),
    [
        ([(0, 127)], 128, 64, [(0, 0)]),
        ([(0, 126)], 128, 64, []),
        ([(1, 255)], 128, 64, [(1, 2)]),
        ([(0, 299), (300, 400)], 128, 64, [(0, 4)]),
        ([(0, 20)], 5, 10, [(0, 1)]),
        ([], 128, 64, []),
    ],
)
def test_windows_that_fit(runs: list[tuple[int, int]], rows: int, hop: int, found: list[tuple[int, int]]) -> None:
    assert numbers(runs, rows, hop) == found
