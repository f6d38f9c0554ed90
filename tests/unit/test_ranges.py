"""Arithmetic on ranges of row numbers; its properties are in `tests/property/test_ledger.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.ranges import minus, text, union

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
