"""Rows on disk until somebody has said that they are safe elsewhere.

A *series* is one numbering (epoch) of one stream. Rows are kept as blobs of consecutive rows; a release may split a
blob, releasing twice is the same as once. The sequence of row numbers survives the release of the rows: no number is
ever given twice. All methods block and belong into one thread; `apply` takes many changes and commits once.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
import numpy as np

from bridge.errors import StoreError
from bridge.messages import Rows
from bridge.store.database import open_database, transaction, translated

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

WhenFull: TypeAlias = Literal["refuse_new", "drop_oldest"]
OVERHEAD = 64  # bytes of a blob's row and its index entry, roughly
VERSION = 1
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS series(id INTEGER PRIMARY KEY, stream TEXT NOT NULL, epoch TEXT NOT NULL,
       next INTEGER NOT NULL DEFAULT 0, ended INTEGER NOT NULL DEFAULT 0, UNIQUE(stream, epoch))""",
    """CREATE TABLE IF NOT EXISTS blobs(id INTEGER PRIMARY KEY, series INTEGER NOT NULL, first INTEGER NOT NULL,
       count INTEGER NOT NULL, t REAL, dt REAL, kept REAL NOT NULL, data BLOB NOT NULL)""",
    "CREATE UNIQUE INDEX IF NOT EXISTS blobs_rows ON blobs(series, first)",
    """CREATE TABLE IF NOT EXISTS dropped(id INTEGER PRIMARY KEY, series INTEGER NOT NULL, first INTEGER NOT NULL,
       last INTEGER NOT NULL, rule TEXT NOT NULL, at REAL NOT NULL)""",
)
# Blobs of series ?1 that hold any of rows ?2…?3; the inner select finds the one that may begin before ?2.
_OVERLAP = """series = ?1 AND first <= ?3 AND first + count > ?2
    AND first >= coalesce((SELECT max(first) FROM blobs WHERE series = ?1 AND first <= ?2), ?2)"""


class Limits(msgspec.Struct, frozen=True):
    """How much may be kept, and what happens then.

    Attributes:
        max_bytes: of rows on disk (the file itself is a little larger).
        max_age: seconds after which rows are dropped; None: never.
        when_full: `refuse_new` holds the source back, `drop_oldest` makes room.
    """

    max_bytes: int = 1 << 30
    max_age: float | None = None
    when_full: WhenFull = "refuse_new"


class Series(msgspec.Struct, frozen=True):
    """One numbering of one stream; `next` is the number the next row gets, `ended` says that none will come."""

    id: int
    stream: str
    epoch: str
    next: int
    ended: bool


class Piece(msgspec.Struct, frozen=True, eq=False):
    """Consecutive rows: float32 (rows, channels), number and time of the first, seconds between them."""

    first: int
    values: Rows
    t: float | None = None
    dt: float | None = None

    @property
    def last(self) -> int:
        """Number of the last row."""
        return self.first + len(self.values) - 1


class Append(msgspec.Struct, frozen=True, eq=False):
    """Rows to keep, `skip` numbers after the last one; stored in blobs that end at multiples of `align`."""

    series: int
    values: Rows
    t: float | None = None
    dt: float | None = None
    skip: int = 0
    align: int = 1024

    @property
    def size(self) -> int:
        """Bytes on disk, roughly."""
        return int(self.values.nbytes) + OVERHEAD * (len(self.values) // self.align + 1)


class Release(msgspec.Struct, frozen=True):
    """Rows `first`…`last`, inclusive, that need not be kept; with a `rule` they were given up, and that is recorded."""

    series: int
    first: int
    last: int
    rule: str | None = None


class End(msgspec.Struct, frozen=True):
    """No more rows will come for this series."""

    series: int


class Dropped(msgspec.Struct, frozen=True):
    """Rows given up by a rule."""

    series: int
    first: int
    last: int
    rule: str
    at: float


Change: TypeAlias = Append | Release | End


class Outbox:
    """Rows of all series of one agent, in one file.

    Attributes:
        store: random name of this file's life; a new file is a new numbering.
        bytes: rows kept, in bytes, as `Limits.max_bytes` counts them.
    """

    def __init__(self, path: Path, limits: Limits, *, tell: Callable[[str], None]) -> None:
        self._name = str(path)
        self._limits = limits
        self._db: sqlite3.Connection = open_database(path, SCHEMA, version=VERSION, tell=tell)
        with translated(self._name):
            self._db.execute("INSERT OR IGNORE INTO meta VALUES('store', ?)", (secrets.token_hex(4),))
            self.store = str(self._db.execute("SELECT value FROM meta WHERE key = 'store'").fetchone()[0])
        self.bytes = self._count_bytes()

    def close(self) -> None:
        """Closes the file; what was applied stays."""
        with translated(self._name):
            self._db.close()

    def begin(self, stream: str, epoch: str) -> Series:
        """The series of this stream and epoch, as it is or new."""
        with translated(self._name):
            self._db.execute("INSERT OR IGNORE INTO series(stream, epoch) VALUES(?, ?)", (stream, epoch))
        return next(one for one in self.series() if (one.stream, one.epoch) == (stream, epoch))

    def series(self) -> list[Series]:
        """All series, oldest first."""
        with translated(self._name):
            found = self._db.execute("SELECT id, stream, epoch, next, ended FROM series ORDER BY id").fetchall()
        return [Series(id_, stream, epoch, after, bool(ended)) for id_, stream, epoch, after, ended in found]

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes are taken now; an empty outbox takes anything, so that nothing waits for ever."""
        return self._limits.when_full != "refuse_new" or not self.bytes or self.bytes + size <= self._limits.max_bytes

    def apply(self, changes: Sequence[Change], now: float) -> list[int | None]:
        """Commits all changes, in order, or none.

        Args:
            changes: what to do.
            now: seconds since 1970.

        Returns:
            For each Append the number of its first row, else None.

        Raises:
            StoreError: nothing was changed; trying again later may help (a full disk).
        """
        before = self.bytes
        try:
            with translated(self._name), transaction(self._db):
                return [self._apply(change, now) for change in changes]
        except StoreError:
            self.bytes = before
            raise

    def read(self, series: int, first: int, last: int) -> Iterator[Piece]:
        """What is still kept of rows `first`…`last`, in order; the caller bounds the range, so the memory."""
        with translated(self._name):
            query = f"SELECT first, count, t, dt, data FROM blobs WHERE {_OVERLAP} ORDER BY first"  # noqa: S608 # constants only
            for start, count, t, dt, data in self._db.execute(query, (series, first, last)):
                rows = np.frombuffer(data, dtype="<f4").reshape(count, -1)
                yield _trim(Piece(start, rows, t, dt), first, last)

    def kept(self, series: int, most: int = 64) -> list[tuple[int, int]]:
        """Ranges of rows still kept, inclusive, the first `most` of them."""
        ranges: list[tuple[int, int]] = []
        with translated(self._name):
            query = "SELECT first, first + count - 1 FROM blobs WHERE series = ? ORDER BY first"
            for first, last in self._db.execute(query, (series,)):
                if ranges and ranges[-1][1] + 1 == first:
                    ranges[-1] = (ranges[-1][0], last)
                elif len(ranges) == most:
                    break
                else:
                    ranges.append((first, last))
        return ranges

    def holds(self, series: int) -> bool:
        """Whether any row of the series is kept."""
        with translated(self._name):
            query = "SELECT EXISTS(SELECT 1 FROM blobs WHERE series = ?)"
            return bool(self._db.execute(query, (series,)).fetchone()[0])

    def rows(self) -> int:
        """How many rows are kept."""
        with translated(self._name):
            return int(self._db.execute("SELECT coalesce(sum(count), 0) FROM blobs").fetchone()[0])

    def dropped(self) -> list[Dropped]:
        """What was given up by a rule, oldest first; neighbours under one rule are one range."""
        with translated(self._name):
            found = self._db.execute("SELECT series, first, last, rule, at FROM dropped ORDER BY id").fetchall()
        return [Dropped(*row) for row in found]

    def expire(self, now: float, most: int = 256) -> int:
        """Drops rows older than the limit, at most so many blobs, and gives free pages back to the disk.

        Returns:
            Rows dropped.
        """
        age = self._limits.max_age
        with translated(self._name), transaction(self._db):
            dropped = 0 if age is None else self._drop_oldest("age", now, most, older_than=now - age)
        with translated(self._name):
            self._db.execute("PRAGMA incremental_vacuum(256)").fetchall()
        return dropped

    def _apply(self, change: Change, now: float) -> int | None:
        if isinstance(change, Append):
            return self._append(change, now)
        if isinstance(change, End):
            self._db.execute("UPDATE series SET ended = 1 WHERE id = ?", (change.series,))
        else:
            for first, last in sorted(self._release(change)):
                if change.rule is not None:
                    self._record(change.series, first, last, change.rule, now)
        return None

    def _append(self, append: Append, now: float) -> int:
        if not self.has_room(append.size):
            raise StoreError(f"{self._name}: full ({self._limits.max_bytes} bytes), and the rule is to refuse new rows")
        while self.bytes and self.bytes + append.size > self._limits.max_bytes:
            self._drop_oldest("size", now, 16)
        query = "UPDATE series SET next = next + ?, ended = 0 WHERE id = ? RETURNING next"
        after = self._db.execute(query, (append.skip + len(append.values), append.series)).fetchone()
        if after is None:
            raise StoreError(f"{self._name}: no series {append.series}")
        first = int(after[0]) - len(append.values)
        whole = Piece(first, np.ascontiguousarray(append.values, dtype="<f4"), append.t, append.dt)
        for start in range(first - first % append.align, first + len(append.values), append.align):
            self._insert(append.series, _trim(whole, start, start + append.align - 1), now)
        return first

    def _insert(self, series: int, piece: Piece, kept: float) -> None:
        data = piece.values.tobytes()
        self._db.execute(
            "INSERT INTO blobs(series, first, count, t, dt, kept, data) VALUES(?, ?, ?, ?, ?, ?, ?)",
            (series, piece.first, len(piece.values), piece.t, piece.dt, kept, data),
        )
        self.bytes += len(data) + OVERHEAD

    def _release(self, gone: Release) -> list[tuple[int, int]]:
        """Deletes and splits blobs; the ranges that were still there."""
        edges = (gone.series, gone.first, gone.last)
        whole = """DELETE FROM blobs WHERE series = ?1 AND first BETWEEN ?2 AND ?3 AND first + count - 1 <= ?3
            RETURNING first, count, length(data)"""
        removed: list[tuple[int, int]] = []
        for first, count, size in self._db.execute(whole, edges).fetchall():
            self.bytes -= size + OVERHEAD
            removed.append((first, first + count - 1))
        part = f"SELECT id, first, count, t, dt, kept, data FROM blobs WHERE {_OVERLAP}"  # noqa: S608 # constants only
        for blob, first, count, t, dt, kept, data in self._db.execute(part, edges).fetchall():
            piece = Piece(first, np.frombuffer(data, dtype="<f4").reshape(count, -1), t, dt)
            self._db.execute("DELETE FROM blobs WHERE id = ?", (blob,))
            self.bytes -= len(data) + OVERHEAD
            removed.append((max(first, gone.first), min(piece.last, gone.last)))
            for start, stop in ((first, gone.first - 1), (gone.last + 1, piece.last)):
                if start <= stop:
                    self._insert(gone.series, _trim(piece, start, stop), kept)
        return removed

    def _drop_oldest(self, rule: str, now: float, most: int, *, older_than: float | None = None) -> int:
        query = "SELECT id, series, first, count, kept, length(data) FROM blobs ORDER BY id LIMIT ?"
        rows = 0
        for blob, series, first, count, kept, size in self._db.execute(query, (most,)).fetchall():
            if older_than is not None and kept >= older_than:
                break
            self._db.execute("DELETE FROM blobs WHERE id = ?", (blob,))
            self._record(series, first, first + count - 1, rule, now)
            self.bytes -= size + OVERHEAD
            rows += count
        return rows

    def _record(self, series: int, first: int, last: int, rule: str, now: float) -> None:
        grown = self._db.execute(
            "UPDATE dropped SET last = ?, at = ? WHERE id = (SELECT max(id) FROM dropped WHERE series = ?)"
            " AND last = ? AND rule = ?",
            (last, now, series, first - 1, rule),
        )
        if not grown.rowcount:
            self._db.execute(
                "INSERT INTO dropped(series, first, last, rule, at) VALUES(?, ?, ?, ?, ?)",
                (series, first, last, rule, now),
            )

    def _count_bytes(self) -> int:
        query = "SELECT coalesce(sum(length(data)), 0) + count(*) * ? FROM blobs"
        with translated(self._name):
            return int(self._db.execute(query, (OVERHEAD,)).fetchone()[0])


def _trim(piece: Piece, first: int, last: int) -> Piece:
    """The part of the piece within rows `first`…`last`."""
    start, stop = max(first, piece.first), min(last, piece.last)
    t = piece.t
    if t is not None and piece.dt is not None:
        t += (start - piece.first) * piece.dt
    values = piece.values[start - piece.first : stop - piece.first + 1]
    return Piece(start, values, t, piece.dt)
