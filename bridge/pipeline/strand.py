"""A series of which more is known than one run of rows: live rows beyond a backlog, rows that their sender gave up.

::

    first          later[0]        later[1]
    ├───────┤      ├──────┤        ├────────▶ live
            backlog       backlog

The first part grows by the backlog. When a part reaches the begin of the next one, they join, and the windows across
the seam are cut. Only what the last part cuts may be called live: within a lane, windows come in the order of rows.
"""

from __future__ import annotations

from bisect import bisect_right
from math import inf
from typing import TYPE_CHECKING

import msgspec

from bridge.pipeline.given import Given
from bridge.pipeline.later import Later
from bridge.pipeline.naming import too_far

if TYPE_CHECKING:
    from bridge.pipeline.series import Chunk, Cut, Series
    from bridge.store.records import SavedSegment


class Waits(msgspec.Struct, frozen=True):
    """How long missing rows are waited for, in seconds.

    Attributes:
        begin: at the begin of a series.
        gap: where the sender may have lost them.
        backlog: where the sender said that it sends them later, and fell silent.
    """

    begin: float
    gap: float
    backlog: float


class Strand:
    """The parts of a series, and what was given up ahead of them.

    Attributes:
        first: the oldest part.
        later: the others, by rows.
        given: rows given up in any of them.
    """

    __slots__ = ("_heard", "_max_held", "_most", "_promised", "_shape", "first", "given", "later")

    def __init__(
        self, first: Series, rows: int, hop: int, now: float, *, max_held: int = 8_192, most: int = 16
    ) -> None:
        """Begin with what is known.

        Args:
            first: its rows.
            rows: rows of a window.
            hop: rows between starts of windows.
            now: monotonic seconds.
            max_held: rows held beyond gaps, a part.
            most: parts beyond the first; when there are more, the smallest hole is given up.
        """
        self.first = first
        self.later: list[Later] = []
        self.given = first.given = first.given or Given()
        self._shape = rows, hop
        self._max_held = max_held
        self._most = most
        self._heard = self._promised = now

    @property
    def single(self) -> bool:
        """The first part is all there is, so that it does without a strand."""
        return not self.later and not self.given.ahead(self.first.next_row)

    @property
    def held_rows(self) -> int:
        """Rows held beyond gaps."""
        return self.first.held_rows + sum([part.held_rows for part in self.later])

    @property
    def windows(self) -> int:
        """How many windows were cut."""
        return self.first.windows + sum([part.windows for part in self.later])

    def restore_later(self, saved: SavedSegment) -> None:
        """Take up from the journal how far a part was cut; another hop moves its next window, never back."""
        part = self._make(saved.begin)
        part.keep = min(part.keep, saved.keep)
        part.next_row = saved.next_row
        hop = self._shape[1]
        part.next_window = max(part.next_window, -(-saved.next_window // hop) * hop)
        self.later.append(part)
        self.first.saw(saved.next_row)

    def restore(self, chunk: Chunk, now: float) -> None:
        """Take up rows from the journal, in order; they give no window that was cut before."""
        self.first.saw(chunk.end)
        for piece in self._pieces(chunk):
            part = self._part(self._at(piece.first))
            if isinstance(part, Later) or piece.end > min(part.next_row, part.next_window):
                part.restore(piece, now)

    def heard(self, now: float, *, promised: bool) -> None:
        """The sender is there.

        Args:
            now: monotonic seconds.
            promised: it said, or showed, that it has rows of the backlog still to send.
        """
        self._heard = now
        if promised:
            self._promised = now

    def check(self, first: int, end: int) -> None:
        """Take note of the row numbers of a message that does not say where its lane begins.

        Raises:
            Refused: `malformed`: rows far beyond the known ones.
        """
        if self.first.too_far(first, end):
            raise too_far(first, self._part(len(self.later)).next_row)

    def unknown(self, first: int, end: int) -> list[tuple[int, int]]:
        """The parts of these rows that are neither known nor given up."""
        return [
            left
            for low, high in self._spans(first, end)
            for missing in self._part(self._at(low)).unknown(low, high)
            for left in self.given.others(*missing)
        ]

    def begin(self, row: int, now: float) -> list[Cut]:
        """Let a part begin at that row, unless it is known or what goes before it is.

        Returns:
            Windows of what was held beyond a gap before it, and those of a hole that was given up to make room.
        """
        at = self._at(row)
        part = self._part(at)
        if row <= part.next_row or (at and row == self.later[at - 1].begin):
            return []
        new = self._make(row)
        self.later.insert(at, new)
        cuts: list[Cut] = []
        for chunk in part.split(row):
            cuts += self._in_lane(new, new.add(chunk, now)[1])
        cuts += self._settle(now)
        while len(self.later) > self._most:
            holes = [part.begin - self._part(i).next_row for i, part in enumerate(self.later)]
            cuts += self._close(holes.index(min(holes)), now, "segments")
        return cuts

    def add(self, chunk: Chunk, now: float) -> tuple[Chunk | None, list[Cut]]:
        """Take rows.

        Returns:
            The part from the first new row on, None if all were known or given up; the windows that became complete.
        """
        self.first.saw(chunk.end)
        begin = self.later[-1].begin if self.later else 0
        for later in self.later:
            later.patient = self.first.patient
        if chunk.first >= begin and not self.given.ahead(chunk.first):  # live rows: no other part moves
            part = self._part(len(self.later))
            added, cut = part.add(chunk, now)
            return added, cut + self._settle(now) if self.given.ahead(part.next_row) else cut
        new: Chunk | None = None
        cuts: list[Cut] = []
        for piece in self._pieces(chunk):
            at = self._at(piece.first)
            part = self._part(at)
            added, cut = part.add(piece, now)
            cuts += self._in_lane(part, cut)
            if added is not None:
                new = new or chunk.since(added.first)
                if at < len(self.later):
                    self._promised = now
                cuts += self._settle(now)
        return new, cuts

    def holds(self, first: int) -> bool:
        """Whether rows from there on would be held beyond a gap."""
        return first > self._part(self._at(first)).next_row

    def skip(self, first: int, end: int, why: str, now: float) -> tuple[int, list[Cut]]:
        """Wait no longer for what is missing of these rows; `end` is the row after the last.

        Returns:
            How many of them are given up by that; the windows that are complete without them.
        """
        before = self.given.rows
        self.first.saw(end)
        for low, high in self.unknown(first, end):
            if not self.given.full:  # beyond that they are waited for like any that are missing
                self.given.add(low, high, why)
        return self.given.rows - before, self._settle(now)

    def expire(self, now: float, waits: Waits, *, forced: bool) -> list[Cut] | None:
        """Give up what was waited for long enough.

        Args:
            now: monotonic seconds.
            waits: how long that is.
            forced: too much is held: wait for no gap before which rows are held.

        Returns:
            The windows that are complete without it; None if nothing changed.
        """
        before = self._state()
        cuts: list[Cut] = []
        quiet = self._heard - self._promised >= waits.gap or now - self._promised >= waits.backlog
        while quiet and self.later:
            cuts += self._close(0, now, "gap")
        for part in [self.first, *self.later]:
            last = part is self._part(len(self.later))
            wait = waits.begin if part.next_row == 0 else waits.gap if last else inf
            while part.gap_since is not None and (forced or now - part.gap_since >= wait):
                cuts += self._in_lane(part, part.give_up(now, "held_rows" if forced else "gap"))
        cuts += self._settle(now)
        return None if self._state() == before else cuts

    def _state(self) -> tuple[int, list[tuple[int, int]]]:
        """What is given up and, of each part, known and cut."""
        return self.given.rows, [(part.next_row, part.next_window) for part in (self.first, *self.later)]

    def _close(self, at: int, now: float, why: str) -> list[Cut]:
        """Give up the hole before that later part, and the gaps in the part before it."""
        part, begin = self._part(at), self.later[at].begin
        cuts: list[Cut] = []
        while part.gap_since is not None:
            cuts += part.give_up(now, why)
        if part.next_row < begin:
            self.given.add(part.next_row, begin, why)
            cuts += part.jump(begin, now)
        return _backlog(cuts) + self._settle(now)

    def _settle(self, now: float) -> list[Cut]:
        """Pass over rows given up, and join parts that meet, until nothing more moves."""
        cuts: list[Cut] = []
        at = 0
        while at <= len(self.later):
            part = self._part(at)
            limit = self.later[at].begin if at < len(self.later) else inf
            row = self.given.past(part.next_row)
            if part.next_row >= limit:
                cuts += _backlog(part.absorb(self.later.pop(at), now))
            elif row > part.next_row:
                cuts += self._in_lane(part, part.jump(int(min(row, limit)), now))
            else:
                at += 1
        self.given.trim(self.first.next_row)
        return cuts

    def _in_lane(self, part: Series, cuts: list[Cut]) -> list[Cut]:
        """Only what the last part cuts may be live: what comes of others comes after rows that follow it."""
        return cuts if part is self._part(len(self.later)) else _backlog(cuts)

    def _make(self, begin: int) -> Later:
        part = Later(*self._shape, begin, max_held=self._max_held)
        part.given = self.given
        return part

    def _at(self, row: int) -> int:
        """Number of the part to which that row belongs."""
        return bisect_right(self.later, row, key=_begin)

    def _part(self, at: int) -> Series:
        return self.later[at - 1] if at else self.first

    def _spans(self, first: int, end: int) -> list[tuple[int, int]]:
        """These rows, part by part."""
        seams = [part.begin for part in self.later if first < part.begin < end]
        return list(zip([first, *seams], [*seams, end], strict=True))

    def _pieces(self, chunk: Chunk) -> list[Chunk]:
        """The rows of a message that were not given up, part by part."""
        return [
            chunk.between(*left) for span in self._spans(chunk.first, chunk.end) for left in self.given.others(*span)
        ]


def _begin(part: Later) -> int:
    return part.begin


def _backlog(cuts: list[Cut]) -> list[Cut]:
    return [msgspec.structs.replace(cut, lane="backlog") for cut in cuts]
