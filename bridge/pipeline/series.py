"""One numbering of rows, cut into windows however the rows were packed.

Windows start where row number mod hop = 0. Rows that came too early are held until the gap before them closes or is
given up; a gap that is given up ends the windows that would span it. No clock: `now` is an argument.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from bridge.pipeline.chunk import Chunk, Cut, assembled
from bridge.pipeline.given import Given

if TYPE_CHECKING:
    from bridge.pipeline.later import Later

__all__ = ["MAX_BACKLOG", "MAX_JUMP", "Chunk", "Cut", "Series"]

MAX_BACKLOG = 1 << 28  # rows that a backlog may have: 62 days at 50 Hz
MAX_JUMP = 1 << 20  # rows beyond the known ones that a single message may claim: 5.8 hours at 50 Hz

_NONE_HELD: dict[int, Chunk] = {}  # of all series that hold no rows beyond a gap, as nearly all: never written to
_NO_FIRSTS: list[int] = []


class Series:
    """The rows of one series that unfinished windows still need.

    Attributes:
        next_row: rows below are known.
        next_window: first row of the next window to cut.
        patient: the sender keeps rows until receipted, so that a gap is worth a longer wait.
        held_rows: rows held beyond gaps.
        gap_since: monotonic seconds since when rows are waited for; None without a gap.
        given: rows that were given up; None as long as there were none.
        windows: how many windows were cut.
    """

    __slots__ = (
        "_firsts", "_held", "_highest", "_hop", "_jump", "_max_held", "_rows", "_tail",
        "gap_since", "given", "held_rows", "next_row", "next_window", "patient", "windows",
    )  # fmt: skip

    def __init__(self, rows: int, hop: int, *, next_row: int = 0, next_window: int = 0, max_held: int = 8_192) -> None:
        """Begin or take up a series.

        Args:
            rows: rows of a window.
            hop: rows between starts of windows.
            next_row: first row not known yet.
            next_window: first row of the next window; a multiple of hop.
            max_held: rows held beyond gaps, above which the first gaps are given up at once; not where the sender is
                patient: what it sends beyond is refused instead (`Windower`), and comes again.
        """
        self._rows = rows
        self._hop = hop
        self._max_held = max_held
        self.next_row = next_row
        self.next_window = next_window
        self.patient = False
        self._tail: list[Chunk] = []
        self._held = _NONE_HELD
        self._firsts = _NO_FIRSTS  # heap of the keys of _held
        self.held_rows = 0
        self.gap_since: float | None = None
        self.given: Given | None = None
        self.windows = 0
        self._jump: int | None = None
        self._highest: int | None = next_row or None  # row after the last one seen

    @property
    def highest(self) -> int:
        """Row after the last one seen, here or in a later part."""
        return self._highest or 0

    def too_far(self, first: int, end: int) -> bool:
        """Whether these rows are so far ahead that they are believed only when the next message goes on from there.

        One wrong row number would otherwise make everything after it too late, for as long as the epoch lives.
        """
        far = self._highest is not None and first - self._highest > MAX_JUMP and first != self._jump
        self._jump = end if far else None
        return far

    def beyond_backlog(self, row: int) -> bool:
        """Whether a live lane that begins there would leave a backlog longer than anyone has."""
        return row - (self._highest or 0) > MAX_BACKLOG

    def saw(self, end: int) -> None:
        """Rows up to that one were seen, here or in a later part."""
        self._highest = max(end, self._highest or 0)

    def restore(self, chunk: Chunk, now: float) -> None:
        """Take up rows from the journal, in order; they give no window that was cut before."""
        self.saw(chunk.end)
        self.patient = True  # until its sender tells: the way to it has to come back first
        if chunk.first >= self.next_row:
            if (known := self._held.get(chunk.first)) is None or known.end < chunk.end:
                self._hold(chunk)
            self.gap_since = now
            return
        end = self._tail[-1].end if self._tail else chunk.first  # rows held beyond a gap are kept as they came
        if chunk.end > end:
            self._tail.append(chunk.since(max(end, chunk.first)))

    def skipped(self, first: int, end: int) -> tuple[int, int] | None:
        """The given-up range that these rows fall into, inclusive; None if none."""
        return None if self.given is None else self.given.within(first, end)

    def unknown(self, first: int, end: int) -> list[tuple[int, int]]:
        """The parts of these rows that did not come yet, each as its first row and the row after its last."""
        parts, first = [], max(first, self.next_row)
        for held in sorted(self._held):
            if held >= end:
                break
            if held > first:
                parts.append((first, held))
            first = max(first, self._held[held].end)
        if first < end:
            parts.append((first, end))
        return parts

    def add(self, chunk: Chunk, now: float) -> tuple[Chunk | None, list[Cut]]:
        """Take rows.

        Returns:
            The part that was new, None if all were known; the windows that became complete.
        """
        first, end = chunk.first, chunk.end
        self._jump = None
        if self._highest is None or end > self._highest:
            self._highest = end
        if first == self.next_row and end > first and self.gap_since is None:
            self._tail.append(chunk)
            self.next_row = end
            return chunk, self._cut(now)
        if end <= self.next_row:
            return None, []
        if first < self.next_row:
            chunk = chunk.since(self.next_row)
        if first > self.next_row:
            if (known := self._held.get(first)) is not None and known.end >= end:
                return None, []
            self._hold(chunk)
            if self.gap_since is None:
                self.gap_since = now
            cuts: list[Cut] = []
            while self.held_rows > self._max_held and not self.patient:
                cuts += self.give_up(now, "held_rows")
            return chunk, cuts
        self._append(chunk)
        self._drain()
        if self._held:
            self.gap_since = now  # a gap that is being filled is worth waiting for
        return chunk, self._cut(now)

    def give_up(self, now: float, why: str = "gap") -> list[Cut]:
        """Stop waiting for the first gap.

        Args:
            now: monotonic seconds.
            why: the rule by which it is given up.

        Returns:
            The windows that are complete without it.
        """
        if not self._held:
            return []
        first = self._firsts[0]
        if first > self.next_row:
            self._record(self.next_row, first, why)
        return self.jump(first, now)

    def jump(self, row: int, now: float) -> list[Cut]:
        """Go on at that row: no window spans the rows before.

        Returns:
            The windows that are complete from there on.
        """
        self._tail.clear()
        self.next_row, self.next_window = row, -(-row // self._hop) * self._hop
        self._drain()
        if self._held:  # since it was seen: one wait after the other would fall ever behind a lossy sender
            self.gap_since = self._held[self._firsts[0]].arrived
        return self._cut(now)

    def _record(self, first: int, end: int, why: str) -> None:
        if self.given is None:
            self.given = Given()
        self.given.add(first, end, why)
        self.given.trim(end)

    def give_up_all(self, why: str) -> None:
        """Keep no rows: those that windows not complete yet need, and those held beyond gaps, are given up.

        Args:
            why: the rule.
        """
        spans = [(self.next_window, self.next_row), *((held.first, held.end) for held in self._held.values())]
        for first, end in spans:
            if first < end:
                self.given = self.given or Given()
                self.given.add(first, end, why)
        self._tail, self._held, self._firsts = [], _NONE_HELD, _NO_FIRSTS
        self.held_rows, self.gap_since = 0, None
        self.next_window = max(self.next_window, -(-self.next_row // self._hop) * self._hop)

    def split(self, row: int) -> list[Chunk]:
        """Hand over what is held from that row on."""
        moved = []
        for chunk in [one for one in self._held.values() if one.end > row]:
            del self._held[chunk.first]
            self.held_rows -= len(chunk.values)
            moved.append(chunk.between(row, chunk.end))
            if chunk.first < row:
                self._held[chunk.first] = chunk.between(chunk.first, row)
                self.held_rows += row - chunk.first
        self._firsts = sorted(self._held)
        if not self._held:
            self.gap_since = None
        return sorted(moved, key=lambda chunk: chunk.first)

    def contents(self) -> tuple[list[Chunk], dict[int, Chunk], list[int]]:
        """Rows that unfinished windows need, rows held beyond gaps by their first, the heap of these."""
        return self._tail, self._held, self._firsts

    def all_of(self, chunk: Chunk) -> Chunk | None:
        """All rows that are needed, if they are one chunk and none are held; None also if that came before this one.

        Args:
            chunk: the newest rows.
        """
        tail = self._tail
        if len(tail) != 1 or self.held_rows:
            return None
        kept = tail[0]
        return kept if kept is chunk or chunk.first <= kept.first < chunk.end else None

    def absorb(self, later: Later, now: float) -> list[Cut]:
        """Go on with what is known of a later part, whose first row was reached.

        Returns:
            The windows across the seam.
        """
        for chunk in later.head:
            self._append(chunk)
        cuts = self._cut(now)
        tail, self._held, self._firsts = later.contents()
        if later.whole:  # it cut windows of its own, or may; else all it has is in its head
            self._tail, self.next_row, self.next_window = tail, later.next_row, later.next_window
        self.held_rows, self.gap_since = later.held_rows, later.gap_since
        self.windows += later.windows
        return cuts

    def _hold(self, chunk: Chunk) -> None:
        """Keep rows beyond a gap; of two chunks with the same first row the longer."""
        if self._held is _NONE_HELD:
            self._held, self._firsts = {}, []
        shorter = self._held.get(chunk.first)
        if shorter is None:
            heappush(self._firsts, chunk.first)
        else:
            self.held_rows -= len(shorter.values)
        self._held[chunk.first] = chunk
        self.held_rows += len(chunk.values)

    def _append(self, chunk: Chunk) -> None:
        self._tail.append(chunk)
        self.next_row = chunk.end

    def _drain(self) -> None:
        """Append what was held and follows now."""
        while self._firsts and self._firsts[0] <= self.next_row:
            first = heappop(self._firsts)
            chunk = self._held.pop(first)
            self.held_rows -= len(chunk.values)
            if chunk.end > self.next_row:
                self._append(chunk.since(self.next_row) if first < self.next_row else chunk)
        if not self._held:
            self._held, self._firsts = _NONE_HELD, _NO_FIRSTS
            self.gap_since = None

    def _cut(self, now: float) -> list[Cut]:
        cuts: list[Cut] = []
        start, tail = self.next_window, self._tail
        while start + self._rows <= self.next_row:
            cuts.append(assembled(tail, start, start + self._rows, self.next_row, now))
            start += self._hop
        if cuts:
            self.windows += len(cuts)
        if tail and tail[0].first < start:
            void = 0  # chunks before `start`; what follows one begins where that ends
            while void + 1 < len(tail) and tail[void + 1].first <= start:
                void += 1
            del tail[: len(tail) if start >= self.next_row else void]
            if tail and tail[0].first < start:
                tail[0] = tail[0].since(start)
        self.next_window = start
        return cuts
