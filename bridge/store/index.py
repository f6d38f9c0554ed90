"""Which records of the journal still hold something needed, and when moving that makes room. Pure.

The journal is a log: each commit appends one record, a record counts until later ones have made all of it void, and
the oldest goes first. So what makes something void is always younger than what it makes void, and stays as long. What
the oldest record still holds is written anew before it goes, once four fifths of the log are void: LFS's cleaning
(Rosenblum, Ousterhout: The Design and Implementation of a Log-Structured File System, 1992), oldest segment first.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING

import msgspec

from bridge.store.records import Changes, SavedSegment, needed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.messages import SeriesKey
    from bridge.store.records import SavedRows, SavedSeries, SavedTail

SHARE = 4  # void bytes that there may be for each that is needed: each byte written makes a quarter of one move
SLACK = 4 << 20  # void bytes that there may be anyhow
_SMALL = 128  # bytes of a record's entry beside its numbers, roughly; what strikes an entry has half of that
_RANGE = 24  # of a range given up, or of a later part
_RESULT = 640
_QUESTION = 512  # beside its rows
_NOWHERE = -1 << 62
_NONE = (0, 0)  # no record has it
_NO_CHUNKS: list[tuple[int, int, int, int]] = []  # of all series with a tail: never written to


class _Series(msgspec.Struct, eq=False, gc=False):
    """Where the journal has a series.

    Attributes:
        record: record that says how far it was cut.
        start: rows before are not needed, but for windows across later parts' begins.
        later: how far its later parts were cut.
        chunks: first row, row after the last, record and weight of each chunk still needed, by first rows; of a tail,
            see `tail`.
        low: no chunk ends before this row.
        weight: of what says how far it was cut.
        tail: weight of the rows that came with that, all that are needed, in place of `chunks`; 0: they are there.
        first: the first of these rows.
        end: row after the last of them.
    """

    record: int
    start: int
    later: tuple[SavedSegment, ...]
    chunks: list[tuple[int, int, int, int]]
    low: float = math.inf
    weight: int = _SMALL
    tail: int = 0
    first: int = 0
    end: int = 0

    def unfold(self) -> None:
        """Its tail as a chunk, which others may follow."""
        self.chunks, self.low, self.tail = [(self.first, self.end, self.record, self.tail)], self.end, 0

    def find(self, first: int) -> int:
        """Place of the chunk with that first row, or where it would be."""
        return bisect_left(self.chunks, (first,))


class Index:
    """What is needed, and which record has it.

    Attributes:
        needed: weight of what is needed; weights are bytes, roughly.
        total: weight of all records.
    """

    def __init__(self) -> None:
        self._weights: dict[int, int] = {}  # of each record, oldest first
        self._needed: dict[int, int] = {}  # of each record, weight of what is needed
        self._series: dict[SeriesKey, _Series] = {}
        self._asked: dict[str, tuple[int, int]] = {}
        self._results: dict[str, tuple[int, int]] = {}
        self.needed = 0
        self.total = 0

    @property
    def last(self) -> int:
        """Number of the youngest record; 0 without any."""
        return next(reversed(self._weights), 0)

    def worth(self, changes: Changes) -> Changes:
        """What of a turn's changes is worth a record: not rows that no window needs, nor what strikes nothing."""
        forgotten = set(changes.forgotten)
        cut = {series.key: series for series in changes.series}
        taken, answered = set(changes.taken), set(changes.answered)

        def wanted(rows: SavedRows, one: SavedSeries | None) -> bool:
            end = rows.first + len(rows.values)
            if one is not None:
                return needed(rows.first, end, min(one.next_row, one.next_window), one.later)
            known = None if rows.key in forgotten else self._series.get(rows.key)
            return known is not None and needed(rows.first, end, known.start, known.later)

        return Changes(
            rows=[
                rows
                for rows in changes.rows
                if (
                    wanted(rows, one)
                    if (one := cut.get(rows.key)) is None or one.later or one.next_row < one.next_window
                    else rows.first + len(rows.values) > one.next_window
                )
            ],
            series=changes.series,
            tails=changes.tails,
            forgotten=[key for key in changes.forgotten if key in self._series],
            asked=[window for window in changes.asked if window.id not in answered],
            answered=[window for window in changes.answered if window in self._asked],
            results=[saved for saved in changes.results if saved.result.id not in taken],
            taken=[result for result in changes.taken if result in self._results],
        )

    def still(self, record: int, held: Changes) -> Changes:
        """What is needed of what the record holds, tails apart."""
        known, tails = self._series, [tail.apart() for tail in held.tails]
        all_series = [*held.series, *(series for series, _ in tails)]
        all_rows = [*held.rows, *(rows for _, rows in tails)]
        return Changes(
            rows=[rows for rows in all_rows if self._has_chunk(record, rows)],
            series=[one for one in all_series if (there := known.get(one.key)) and there.record == record],
            asked=[window for window in held.asked if self._asked.get(window.id, _NONE)[0] == record],
            results=[saved for saved in held.results if self._results.get(saved.result.id, _NONE)[0] == record],
        )

    def _has_chunk(self, record: int, rows: SavedRows) -> bool:
        known = self._series.get(rows.key)
        if known is None:
            return False
        if known.tail:
            return known.first == rows.first and known.record == record
        chunk = known.chunks[(at := known.find(rows.first)) : at + 1]
        return bool(chunk) and chunk[0][0] == rows.first and chunk[0][2] == record

    def add(self, record: int, held: Changes) -> None:
        """Take note of a record, the youngest, that was committed or read."""
        self._needed[record] = 0
        before = self.total
        self._strike(held)
        self._add_tails(record, held.tails)
        self._add_series(record, held.series)
        self._add_rows(record, held.rows)
        self._add_named(record, self._asked, [(one.id, _QUESTION + len(one.data)) for one in held.asked])
        self._add_named(record, self._results, [(one.result.id, _RESULT) for one in held.results])
        self.total += _SMALL // 2 * (len(held.forgotten) + len(held.answered) + len(held.taken))
        self._weights[record] = self.total - before

    def drop(self, records: Iterable[int]) -> None:
        """Take note that these records, the oldest, are gone; nothing of them is needed."""
        for record in records:
            self.needed -= self._needed.pop(record)
            self.total -= self._weights.pop(record)

    def movable(self, weight: int) -> Iterable[tuple[int, bool]]:
        """The oldest records that should go with the next commit, and whether anything of each is still needed.

        Args:
            weight: of what is to be committed; what is moved with it is of the same order.
        """
        void, moved = self.total - self.needed, 0
        for record, total in self._weights.items():
            needed = self._needed[record]
            if needed:
                if void <= SHARE * self.needed + SLACK or moved > 4 * weight + SLACK // 16:
                    return
                moved += total
            void -= total - needed
            yield record, needed > 0

    def _strike(self, held: Changes) -> None:
        for key in held.forgotten:
            series = self._series.pop(key, None)
            if series is not None:
                self._void(series.record, series.weight + series.tail)
                for _, _, record, weight in series.chunks:
                    self._void(record, weight)
        for window in held.answered:
            self._void(*self._asked.pop(window, _NONE))
        for result in held.taken:
            self._void(*self._results.pop(result, _NONE))

    def _add_tails(self, record: int, added: list[SavedTail]) -> None:
        """As `_add_series` and `_add_rows` of their parts, but that nothing that came before is needed any more."""
        all_series, needs, void, all_weight = self._series, self._needed, 0, 0
        for one in added:
            known = all_series.get(one.key)
            if known is None:
                known = all_series[one.key] = _Series(0, 0, (), _NO_CHUNKS)
            elif known.tail:  # nearly always
                gone = known.weight + known.tail
                needs[known.record] -= gone
                void += gone
            else:
                void += self._let_go(known)
            tail = _SMALL + len(one.data)
            own = _SMALL + _RANGE * len(one.skipped) if one.skipped else _SMALL
            known.record, known.start, known.weight = record, one.next_window, own
            known.tail, known.first, known.end = tail, one.first, one.next_row
            all_weight += own + tail
        self.needed -= void
        self._weigh(record, all_weight)

    def _let_go(self, series: _Series) -> int:
        """Nothing that came of a series is needed any more; returns its weight."""
        needs, void = self._needed, 0
        if series.record:
            needs[series.record] -= series.weight
            void += series.weight
        for _, _, record, weight in series.chunks:
            needs[record] -= weight
            void += weight
        series.later, series.chunks, series.low = (), _NO_CHUNKS, math.inf
        return void

    def _add_series(self, record: int, added: list[SavedSeries]) -> None:
        all_series, needs, void, all_weight = self._series, self._needed, 0, 0
        for one in added:
            known = all_series.get(one.key)
            start = one.next_window if one.next_window <= one.next_row else one.next_row  # noqa: FURB136 # no call a series
            if known is None:
                known = all_series[one.key] = _Series(0, start, one.later, [])
            elif known.tail:
                known.unfold()
            if known.record:
                needs[known.record] -= known.weight
                void += known.weight
            weight = _SMALL + _RANGE * (len(one.skipped) + len(one.later)) if one.skipped or one.later else _SMALL
            all_weight += weight
            known.record, known.start, known.later, known.weight = record, start, one.later, weight
            if known.low <= start or one.later:
                void += self._cut(known)
        self.needed -= void
        self._weigh(record, all_weight)

    def _cut(self, series: _Series) -> int:
        """Let chunks go that no window needs any more; returns their weight."""
        needs, start, later, chunks = self._needed, series.start, series.later, series.chunks
        void, low, kept = 0, math.inf, []
        if len(chunks) == 1 and chunks[0][1] <= start:  # the commonest
            _, _, record, weight = chunks.pop()
            needs[record] -= weight
            series.low = low
            return weight
        for chunk in chunks:
            first, end, record, weight = chunk
            if end <= start or (later and not needed(first, end, start, later)):
                needs[record] -= weight
                void += weight
            else:
                kept.append(chunk)
                if end < low:
                    low = end
        series.chunks, series.low = kept, low
        return void

    def _add_rows(self, record: int, added: list[SavedRows]) -> None:
        all_series, all_weight = self._series, 0
        for rows in added:
            series = all_series.get(rows.key)
            if series is None:  # being read; what was known of it when they came was written anew since, so comes later
                series = all_series[rows.key] = _Series(0, _NOWHERE, (), [])
            elif series.tail:
                series.unfold()
            first, values, chunks = rows.first, rows.values, series.chunks
            end, weight = first + len(values), _SMALL + values.nbytes
            if not chunks or first > chunks[-1][0]:
                chunks.append((first, end, record, weight))
            else:
                self._insert(series, (first, end, record, weight))
            if end < series.low:
                series.low = end
            all_weight += weight
        self._weigh(record, all_weight)

    def _insert(self, series: _Series, chunk: tuple[int, int, int, int]) -> None:
        """Put a chunk before others, or in the place of the one with the same first row."""
        at, chunks = series.find(chunk[0]), series.chunks
        if chunks[at][0] == chunk[0]:
            _, _, replaced, void = chunks[at]
            self._void(replaced, void)
            chunks[at] = chunk
        else:
            chunks.insert(at, chunk)

    def _add_named(self, record: int, index: dict[str, tuple[int, int]], added: list[tuple[str, int]]) -> None:
        for name, weight in added:
            if name in index:
                self._void(*index[name])
            index[name] = (record, weight)
        self._weigh(record, sum([weight for _, weight in added]))

    def _weigh(self, record: int, weight: int) -> None:
        self._needed[record] += weight
        self.needed += weight
        self.total += weight

    def _void(self, record: int, weight: int) -> None:
        if record:
            self._needed[record] -= weight
            self.needed -= weight
