"""A part of a series beyond rows that come in the backlog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.pipeline.given import Given
from bridge.pipeline.series import Series

if TYPE_CHECKING:
    from bridge.pipeline.series import Chunk, Cut


class Later(Series):
    """A later part of a series: rows from `begin` on, while rows before it come in the backlog.

    Its windows are cut at once. The rows that windows across its begin need as well are kept until these are reached.

    Attributes:
        begin: its first row.
        keep: rows from `begin` to before this one are for windows that begin before it; fewer where a gap ends them.
        head: those of them that are known.
    """

    __slots__ = ("begin", "head", "keep")

    def __init__(self, rows: int, hop: int, begin: int, *, max_held: int = 8_192) -> None:
        """Begin one.

        Args:
            rows: rows of a window.
            hop: rows between starts of windows.
            begin: its first row.
            max_held: rows held beyond gaps, above which the first gaps are given up at once.
        """
        start = -(-begin // hop) * hop
        super().__init__(rows, hop, next_row=begin, next_window=start, max_held=max_held)
        self.begin = begin
        self.keep = max(begin, start - hop + rows)
        self.head: list[Chunk] = []

    @property
    def whole(self) -> bool:
        """Nothing more will come to its head."""
        return self.next_row >= self.keep

    def restore(self, chunk: Chunk, now: float) -> None:
        """Take up rows from the journal, in order."""
        self._collect([chunk], min(self.keep, self.next_row))
        if chunk.end > min(self.next_row, self.next_window):
            super().restore(chunk, now)

    def jump(self, row: int, now: float) -> list[Cut]:
        """Go on at the first window from that row on; windows across its begin that need rows before are ended too."""
        self.keep = min(self.keep, self.next_row)
        return super().jump(row, now)

    def absorb(self, later: Later, now: float) -> list[Cut]:
        """Go on with what is known of a later part, whose first row was reached."""
        self.keep = min(self.keep, later.keep)
        return super().absorb(later, now)

    def give_up_all(self, why: str) -> None:
        """Keep no rows, neither of its own windows nor of those across its begin."""
        head = min(self.keep, self.next_row)
        if self.begin < head and self.given is not None:
            self.given.add(self.begin, head, why)
            self.keep = self.begin
        self.head = []
        super().give_up_all(why)

    def _record(self, first: int, end: int, why: str) -> None:
        if self.given is None:
            self.given = Given()
        self.given.add(first, end, why)

    def _cut(self, now: float) -> list[Cut]:
        if not self.windows:  # the first of its own has rows beyond its head
            self._collect(self._tail, self.keep)
        return super()._cut(now)

    def _collect(self, chunks: list[Chunk], limit: int) -> None:
        """Add to the head what goes on where it ends."""
        end = self.head[-1].end if self.head else self.begin
        for chunk in chunks:
            if chunk.first <= end < min(chunk.end, limit):
                self.head.append(chunk.between(end, limit))
                end = self.head[-1].end
