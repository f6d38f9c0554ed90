"""Keeping the marks of an outbox true as it changes."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from msgspec.structs import replace

from bridge.store.marks import Mark, Marks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from bridge.store.pieces import Series


class Marked:
    """See the module.

    Args:
        db: the outbox.
        path: file of the marks.
        store: name of the outbox.

    Raises:
        StoreError: the file cannot be used.
    """

    def __init__(self, db: sqlite3.Connection, path: Path, store: str) -> None:
        self._db = db
        self._file = Marks(path)
        self._store = store
        self._marks: dict[int, Mark] = {}
        self._promised: dict[int, int] = {}  # number after the last one promised

    def earlier(self) -> Iterable[Mark]:
        """What is marked in the file, by an earlier life of this store or of one that was here before it."""
        return self._file.read().values()

    def take_up(self, series: Iterable[Series]) -> None:
        """These series are as the outbox says, whatever was marked before."""
        for one in series:
            self._marks[one.id] = Mark(one.id, one.stream, one.epoch, self._store, one.next, one.next, one.next)
            self.moved({one.id: one.next}, {one.id})

    def next(self, series: int) -> int | None:
        """Number of the next row of a series; None: it is not known here."""
        mark = self._marks.get(series)
        return None if mark is None else mark.next

    @property
    def promised(self) -> bool:
        """Whether numbers are promised that no commit has moved yet."""
        return any(end > self._marks[series].next for series, end in self._promised.items())

    def promise(self, series: int, rows: int) -> bool:
        """The next so many numbers of a series are given, though no commit has moved it yet; whether that is marked."""
        mark = self._marks[series]
        before = self._promised.get(series, 0)
        self._promised[series] = max(before, mark.next + rows)
        if not self._write(mark):
            self._promised[series] = before
            return False
        return True

    def begun(self, one: Series) -> None:
        """This series may be new."""
        self._marks.setdefault(one.id, Mark(one.id, one.stream, one.epoch, self._store, one.next, one.next, one.next))

    def moved(self, after: Mapping[int, int], released: set[int]) -> None:
        """A commit moved the next numbers of these series, and of these what is kept."""
        for series in after.keys() | released:
            mark = self._marks.get(series)
            if mark is not None:
                end = after.get(series, mark.next)
                mark = replace(mark, next=end, kept=end)
                if series in released:
                    mark = replace(mark, low=self._low(mark))
                self._marks[series] = mark
                self._write(mark)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, mark: Mark) -> bool:
        promised = self._promised.get(mark.series, 0)
        if promised > mark.next:
            mark = replace(mark, next=promised)
        return self._file.write(mark)

    def _low(self, mark: Mark) -> int:
        """A lower one is right too, where the outbox cannot be read: what is committed is not to count as refused."""
        query = """SELECT min(coalesce((SELECT min(first) FROM blobs WHERE series = ?1), ?2),
            coalesce((SELECT min(first) FROM untold WHERE series = ?1), ?2))"""
        try:
            return int(self._db.execute(query, (mark.series, mark.next)).fetchone()[0])
        except sqlite3.Error:
            return mark.low
