"""What becomes of the windows of one series, counted and by number: bounded, one range where all is well. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.ranges import Range, union

if TYPE_CHECKING:
    from collections.abc import Iterable

RANGES = 256  # ranges of ended windows remembered, a series, besides the highest
NOTHING = -1 << 62  # as a first row: no window follows it
_NONE: list[Range] = []  # of all series that began in this life: never written to


class Tally:
    """The windows of one series of rows; or of one stream of whole windows that nobody numbers.

    Attributes:
        hop: rows from one window to the next; 0: windows whose rows mean nothing.
        answered: windows whose Result the broker took.
        provisional: provisional Results it took.
        refused: windows that get no Result, by reason; None: none yet.
        before: windows that had been cut when the bridge started, as ranges of numbers.
        opened: first rows of those that waited then.
        ended_all: `ended` knows of each window.
        seen: seconds since 1970 of the latest rows; None: none since the start.
        first: first row of the first window of the highest range that ended.
        last: first row of the last one.
    """

    __slots__ = (
        "_others", "answered", "before", "ended_all", "first", "hop", "last", "opened", "provisional", "refused",
        "seen",
    )  # fmt: skip

    def __init__(self, hop: int) -> None:
        self.hop = hop
        self.answered = 0
        self.provisional = 0
        self.refused: dict[str, int] | None = None
        self.before = _NONE
        self.opened: list[int] | None = None
        self.ended_all = True
        self.seen: float | None = None
        self.first = self.last = NOTHING
        self._others: list[Range] | None = None

    @property
    def ended(self) -> list[Range]:
        """Windows answered or refused since the start, as ranges of numbers."""
        hop = self.hop
        return union((first // hop, last // hop) for first, last in self._ranges()) if hop else []

    def add(self, other: Tally) -> None:
        """Count with it what another one counted; not its rows."""
        self.answered += other.answered
        self.provisional += other.provisional
        for reason, number in (other.refused or {}).items():
            self.refused = self.refused or {}
            self.refused[reason] = self.refused.get(reason, 0) + number
        self.seen = max(self.seen or 0.0, other.seen or 0.0) or None

    def _ranges(self) -> list[Range]:
        return [*(self._others or ()), (self.first, self.last)] if self.first >= 0 else []

    def end(self, seq: int) -> None:
        """The window with that first row, which does not follow `last`, is answered or refused.

        The cloud's answers come later than the bridge's.
        """
        hop = self.hop
        if not hop:
            return
        numbers = [(first // hop, last // hop) for first, last in [*self._ranges(), (seq, seq)]]
        *others, last = union(numbers)
        if len(others) > RANGES:
            others, self.ended_all = others[-RANGES:], False
        self._others = [(low * hop, high * hop) for low, high in others] or None
        self.first, self.last = last[0] * hop, last[1] * hop


class WholeTally(Tally):
    """The whole windows of one numbering of a stream; `ended` and `before` are ranges of rows, not of windows.

    Attributes:
        hop: rows of a window; a window that follows another is `hop` rows on.
    """

    __slots__ = ()

    @property
    def ended(self) -> list[Range]:
        """Rows of the windows answered or refused since the start."""
        last = self.hop - 1
        return union((low, high + last) for low, high in self._ranges())

    def end(self, seq: int) -> None:
        """The window with that first row, which does not follow `last`, is answered or refused."""
        last = self.hop - 1
        ranges, all_known = newest(union([*self.ended, (seq, seq + last)]))
        self.ended_all = self.ended_all and all_known
        *others, (self.first, self.last) = [(low, high - last) for low, high in ranges]
        self._others = others or None

    def ended_before(self, rows: Iterable[Range]) -> None:
        """Windows of these rows were answered by an earlier process."""
        self.before, all_known = newest(union([*self.before, *rows]))
        self.ended_all = self.ended_all and all_known


def newest(ranges: list[Range]) -> tuple[list[Range], bool]:
    """As many ranges as are remembered, the highest, and whether those are all."""
    return ranges[-1 - RANGES :], len(ranges) <= 1 + RANGES
