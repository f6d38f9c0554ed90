"""Telling the bridge which rows of one series will never come, until it has said that it knows. Pure: `now` is given.

The outbox remembers what is untold, so here is only one message at a time: its ranges, and when to repeat it.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from bridge.messages import Skip
from bridge.ranges import Range, minus, union
from bridge.wire.data import MAX_RANGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LONGEST = 30.0  # seconds between two repetitions


class Skips:
    """See the module.

    Args:
        receipt_timeout: seconds to wait for a first receipt.
    """

    def __init__(self, *, receipt_timeout: float = 10.0) -> None:
        self._timeout = receipt_timeout
        self._missing: list[Range] = []  # of the message last sent
        self._attempts = 0
        self._due = float("-inf")
        self.under_way = False

    def due(self) -> float:
        """Monotonic seconds at which the next message may go; infinite while one is under way."""
        return float("inf") if self.under_way else self._due

    def make(self, untold: Sequence[tuple[int, int, str]], epoch: str) -> Skip | None:
        """The message for what is untold (first, last, rule; lowest first); None if nothing is.

        A message has one reason, so it holds the ranges up to the first under another rule.
        """
        if not untold:
            self._missing, self._attempts = [], 0
            return None
        why = untold[0][2]
        ranges = union((first, last) for first, last, _ in takewhile(lambda one: one[2] == why, untold))[:MAX_RANGES]
        if ranges != self._missing:
            self._missing, self._attempts = ranges, 0
        self._attempts += 1
        self.under_way = True
        return Skip(ranges, why, epoch, receipt=True)

    def taken(self, now: float) -> None:
        """The broker has it; a receipt is due."""
        self.under_way = False
        self._due = now + min(max(LONGEST, self._timeout), self._timeout * 2.0 ** min(self._attempts - 1, 16))

    def again(self, at: float) -> None:
        """What became of it is not known, or it must wait: to be sent again at `at`."""
        self.under_way, self._due = False, at

    def receipt(self, safe: Iterable[Range]) -> None:
        """The bridge knows of these rows; if those of the last message are among them, `more` calls for the next."""
        if self._missing:
            self._missing = minus(self._missing, safe)
            if not self._missing:
                self._attempts, self._due = 0, float("inf")

    def refused(self, first: int) -> list[Range]:
        """The bridge refused the message that begins with this row: its ranges, which need not be told any more."""
        if not self._missing or self._missing[0][0] != first:
            return []
        gone, self._missing = self._missing, []
        self._attempts, self._due = 0, float("inf")
        return gone

    def more(self) -> None:
        """What is untold has changed: once nothing is awaited, the next message may go."""
        if not self._missing:
            self._due = float("-inf")
