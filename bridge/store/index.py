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

from bridge.store.records import Changes, SavedSeries

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.messages import SeriesKey
    from bridge.store.records import SavedRows

SHARE = 4  # void bytes that there may be for each that is needed: each byte written makes a quarter of one move
SLACK = 4 << 20  # void bytes that there may be anyhow
_SKIPPED = 64  # given-up ranges kept, a series
_SMALL = 128  # bytes of a record's entry beside its numbers, roughly; what strikes an entry has half of that
_RESULT = 640
_QUESTION = 512  # beside its rows
_NOWHERE = -1 << 62
_NONE = (0, 0)  # no record has it


class _Series(msgspec.Struct, eq=False, gc=False):
    """Where the journal has a series.

    Attributes:
        record: record that says how far it was cut.
        next_window: first row of its next window.
        chunks: first row, row after the last, record and weight of each chunk still needed, by first rows.
        low: no chunk ends before this row.
    """

    record: int
    next_window: int
    chunks: list[tuple[int, int, int, int]]
    low: float = math.inf

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
        self._skipped: dict[SeriesKey, list[tuple[int, int]]] = {}
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
        cut = {series.key: series.next_window for series in changes.series}
        taken, answered = set(changes.taken), set(changes.answered)

        def start(key: SeriesKey) -> float:
            known = None if key in forgotten else self._series.get(key)
            return math.inf if known is None else known.next_window

        return Changes(
            rows=[
                rows
                for rows in changes.rows
                if rows.first + len(rows.values) > (cut[rows.key] if rows.key in cut else start(rows.key))
            ],
            series=[
                self._with_skipped(one, begun=one.key in forgotten) if one.skipped or one.key in self._skipped else one
                for one in changes.series
            ],
            forgotten=[key for key in changes.forgotten if key in self._series],
            asked=[window for window in changes.asked if window.id not in answered],
            answered=[window for window in changes.answered if window in self._asked],
            results=[saved for saved in changes.results if saved.result.id not in taken],
            taken=[result for result in changes.taken if result in self._results],
        )

    def _with_skipped(self, series: SavedSeries, *, begun: bool) -> SavedSeries:
        """The series with all ranges it gave up: its latest record is to say everything."""
        known = [] if begun else self._skipped.get(series.key, [])
        ranges = sorted(dict([*known, *series.skipped]).items())
        return msgspec.structs.replace(series, skipped=ranges[-_SKIPPED:])

    def still(self, record: int, held: Changes) -> Changes:
        """What is needed of what the record holds."""
        series = self._series
        return Changes(
            rows=[rows for rows in held.rows if self._has_chunk(record, rows)],
            series=[one for one in held.series if (known := series.get(one.key)) and known.record == record],
            asked=[window for window in held.asked if self._asked.get(window.id, _NONE)[0] == record],
            results=[saved for saved in held.results if self._results.get(saved.result.id, _NONE)[0] == record],
        )

    def _has_chunk(self, record: int, rows: SavedRows) -> bool:
        known = self._series.get(rows.key)
        if known is None:
            return False
        chunk = known.chunks[(at := known.find(rows.first)) : at + 1]
        return bool(chunk) and chunk[0][0] == rows.first and chunk[0][2] == record

    def add(self, record: int, held: Changes) -> None:
        """Take note of a record, the youngest, that was committed or read."""
        self._needed[record] = 0
        before = self.total
        self._strike(held)
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
            self._skipped.pop(key, None)
            series = self._series.pop(key, None)
            if series is not None:
                self._void(series.record, _SMALL)
                for _, _, record, weight in series.chunks:
                    self._void(record, weight)
        for window in held.answered:
            self._void(*self._asked.pop(window, _NONE))
        for result in held.taken:
            self._void(*self._results.pop(result, _NONE))

    def _add_series(self, record: int, added: list[SavedSeries]) -> None:
        for one in added:
            start = one.next_window
            known = self._series.get(one.key)
            if known is None:
                self._series[one.key] = _Series(record, start, [])
            else:
                self._void(known.record, _SMALL)
                known.record, known.next_window = record, start
                if known.low <= start:
                    self._cut(known)
            if one.skipped:
                self._skipped[one.key] = one.skipped
        self._weigh(record, _SMALL * len(added))

    def _cut(self, series: _Series) -> None:
        """Let chunks go that no window needs any more."""
        start, low, kept = series.next_window, math.inf, []
        for chunk in series.chunks:
            _, end, record, weight = chunk
            if end <= start:
                self._void(record, weight)
            else:
                kept.append(chunk)
                low = min(low, end)
        series.chunks, series.low = kept, low

    def _add_rows(self, record: int, added: list[SavedRows]) -> None:
        all_weight = 0
        for rows in added:
            series = self._series.get(rows.key)
            if series is None:  # being read; what was known of it when they came was written anew since, so comes later
                series = self._series[rows.key] = _Series(0, _NOWHERE, [])
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
