"""Rows of a series that nobody waits for any more, and by which rule: waited for in vain, or given up by their sender.

Those below the rows known are history, so that rows which come after all are told as late. Those beyond are still
ahead: they end whatever reaches them.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from bridge.store.records import GivenUp

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_PASSED = 64  # ranges remembered below the rows known
MAX_RANGES = 1_024  # in all; further rows a sender gave up are waited for like any that are missing


class Given:
    """Disjoint ranges of rows, in order.

    Attributes:
        ranges: as remembered.
        rows: how many rows were given up ever.
    """

    __slots__ = ("ranges", "rows")

    def __init__(self, ranges: Iterable[GivenUp] = (), rows: int = 0) -> None:
        self.ranges = list(ranges)
        self.rows = max(rows, sum([one.end - one.first for one in self.ranges]))

    @property
    def full(self) -> bool:
        """No more ranges are remembered."""
        return len(self.ranges) >= MAX_RANGES

    def add(self, first: int, end: int, why: str) -> None:
        """Give up what of these rows is not given up yet; `end` is the row after the last."""
        for low, high in self.others(first, end):
            self.rows += high - low
            if not self.full:
                self._insert(GivenUp(low, high, why))

    def _insert(self, new: GivenUp) -> None:
        at = bisect_right(self.ranges, new.first, key=_first)
        if at and self.ranges[at - 1].end == new.first and self.ranges[at - 1].why == new.why:
            at -= 1
            new = GivenUp(self.ranges.pop(at).first, new.end, new.why)
        if at < len(self.ranges) and self.ranges[at].first == new.end and self.ranges[at].why == new.why:
            new = GivenUp(new.first, self.ranges.pop(at).end, new.why)
        self.ranges.insert(at, new)

    def rename_first(self, why: str) -> None:
        """What was given up before anything was known of the series was given up by that rule."""
        if self.ranges and self.ranges[0].first == 0:
            self.ranges[0] = GivenUp(0, self.ranges[0].end, why)

    def trim(self, passed: int) -> None:
        """Forget the oldest of too many ranges below that row."""
        if len(self.ranges) > MAX_PASSED:
            history = bisect_right(self.ranges, passed, key=_end)
            del self.ranges[: max(0, history - MAX_PASSED)]

    def others(self, first: int, end: int) -> list[tuple[int, int]]:
        """The parts of these rows that are not given up, each as its first row and the row after its last."""
        parts = []
        for one in self._from(first):
            if one.first >= end:
                break
            if first < one.first:
                parts.append((first, one.first))
            first = one.end
        if first < end:
            parts.append((first, end))
        return parts

    def within(self, first: int, end: int) -> tuple[int, int] | None:
        """The first range of these rows that was given up, inclusive; None if none."""
        for one in self._from(first):
            return (max(one.first, first), min(one.end, end) - 1) if one.first < end else None
        return None

    def past(self, row: int) -> int:
        """The row from which on this range goes on: itself, unless it was given up."""
        for one in self._from(row):
            if one.first > row:
                return row
            row = one.end
        return row

    def ahead(self, row: int) -> bool:
        """Whether rows from that one on were given up."""
        return bool(self.ranges) and self.ranges[-1].end > row

    def _from(self, row: int) -> list[GivenUp]:
        """Ranges that end beyond that row."""
        return self.ranges[bisect_right(self.ranges, row, key=_end) :]


def _first(one: GivenUp) -> int:
    return one.first


def _end(one: GivenUp) -> int:
    return one.end
