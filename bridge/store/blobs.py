"""The rows themselves: blobs of consecutive rows, in the order in which they came."""

from __future__ import annotations

from statistics import median_low
from typing import TYPE_CHECKING

import numpy as np

from bridge.store.database import Broken
from bridge.store.pieces import LONGEST, OVERHEAD, Piece, Release, checksum, is_count, is_intact, trim

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

NEWEST = 15  # blobs that tell when the newest rows came
# Blobs of series ?1 that hold any of rows ?2…?3; the inner select finds the one that may begin before ?2.
_OVERLAP = """series = ?1 AND first <= ?3 AND first + count > ?2
    AND first >= coalesce((SELECT max(first) FROM blobs WHERE series = ?1 AND first <= ?2), ?2)"""


class Blobs:
    """Table `blobs` of an outbox; statements run in the transaction of the caller.

    Args:
        db: the outbox.

    Attributes:
        bytes: of rows, with what a blob costs beside them.
        counts: rows of each series.
        rotten: blobs that turned out damaged when they were read: series and first row.

    Raises:
        Broken: a blob says that it has as many rows as none can have.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        query = """SELECT series, sum(count), sum(length(data)) + count(*) * ?1,
            sum(typeof(count) = 'integer' AND count BETWEEN 1 AND ?2) = count(*) FROM blobs GROUP BY series"""
        found = db.execute(query, (OVERHEAD, LONGEST)).fetchall()
        if not all(sound for *_, sound in found):
            raise Broken("a blob of the outbox has a number of rows that cannot be")
        self.bytes: int = sum(size for _, _, size, _ in found)
        self.counts: dict[int, int] = {series: count for series, count, *_ in found}
        self.rotten: set[tuple[int, int]] = set()

    def read(self, series: int, first: int, last: int) -> Iterator[Piece]:
        """What is still kept of rows `first`…`last`, in order; the caller bounds the range, so the memory."""
        query = f"SELECT first, count, t, dt, data, crc FROM blobs WHERE {_OVERLAP} ORDER BY first"  # noqa: S608 # constants only
        for start, count, t, dt, data, crc in self._db.execute(query, (series, first, last)):
            if not is_intact(start, count, t, dt, data, crc):
                self.rotten.add((series, start))
                continue
            rows = np.frombuffer(data, dtype="<f4").reshape(count, -1)
            yield trim(Piece(start, rows, t, dt), first, last)

    def next_kept(self, series: int, row: int) -> int | None:
        """The first row from `row` on that is kept."""
        query = f"SELECT max(?2, first) FROM blobs WHERE {_OVERLAP} ORDER BY first LIMIT 1"  # noqa: S608 # constants only
        found = self._db.execute(query, (series, row, 1 << 62)).fetchone()
        return None if found is None else int(found[0])

    def newest_came(self) -> float | None:
        """About when the newest rows came, on the clock of ages, rather too early; None without rows.

        The median of several, for the column has no checksum and the file may be one that was recovered.
        """
        query = "SELECT kept FROM blobs ORDER BY id DESC LIMIT ?"
        found = [came for (came,) in self._db.execute(query, (NEWEST,)) if isinstance(came, float)]
        return median_low(found) if found else None

    def kept(self, series: int, most: int = 64) -> list[tuple[int, int]]:
        """Ranges of rows still kept, inclusive, the first `most` of them."""
        ranges: list[tuple[int, int]] = []
        query = "SELECT first, first + count - 1 FROM blobs WHERE series = ? ORDER BY first"
        for first, last in self._db.execute(query, (series,)):
            if ranges and ranges[-1][1] + 1 == first:
                ranges[-1] = (ranges[-1][0], last)
            elif len(ranges) == most:
                break
            else:
                ranges.append((first, last))
        return ranges

    def insert(self, series: int, piece: Piece, kept: float, blob: int | None = None) -> None:
        """Keeps a piece that came at `kept` on the clock of ages, as blob number `blob` or as the newest."""
        data, rows, t, dt = piece.values.tobytes(), len(piece.values), piece.t, piece.dt
        self._db.execute(
            "INSERT INTO blobs(id, series, first, count, t, dt, kept, data, crc) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (blob, series, piece.first, rows, t, dt, kept, data, checksum(piece.first, rows, t, dt, data)),
        )
        self.came(series, rows, len(data))

    def came(self, series: int, rows: int, size: int) -> None:
        """Counts a blob of so many bytes that was kept."""
        self.counts[series] = self.counts.get(series, 0) + rows
        self.bytes += size + OVERHEAD

    def release(self, gone: Release) -> list[tuple[int, int]]:
        """Deletes and splits blobs; the ranges that were still there. A damaged one is not split, and stays, rotten."""
        edges = (gone.series, gone.first, gone.last)
        whole = """DELETE FROM blobs WHERE series = ?1 AND first BETWEEN ?2 AND ?3 AND first + count - 1 <= ?3
            RETURNING first, count, length(data)"""
        removed: list[tuple[int, int]] = []
        for first, count, size in self._db.execute(whole, edges).fetchall():
            self._gone(gone.series, count, size)
            removed.append((first, first + count - 1))
        part = f"SELECT id, first, count, t, dt, kept, data, crc FROM blobs WHERE {_OVERLAP}"  # noqa: S608 # constants only
        for blob, first, count, t, dt, kept, data, crc in self._db.execute(part, edges).fetchall():
            if not is_intact(first, count, t, dt, data, crc):
                self.rotten.add((gone.series, first))
                continue
            piece = Piece(first, np.frombuffer(data, dtype="<f4").reshape(count, -1), t, dt)
            self._db.execute("DELETE FROM blobs WHERE id = ?", (blob,))
            self._gone(gone.series, count, len(data))
            removed.append((max(first, gone.first), min(piece.last, gone.last)))
            for start, stop in ((first, gone.first - 1), (gone.last + 1, piece.last)):
                if start <= stop:
                    self.insert(gone.series, trim(piece, start, stop), kept, blob)
                    blob = None  # the first part keeps its place among the oldest
        return removed

    def discard(self, series: int, first: int) -> tuple[int, int] | None:
        """Deletes a damaged blob; its first and last row. None: it is gone, or whole after all.

        Raises:
            Broken: nobody can say which rows it had.
        """
        one = (series, first)
        query = "SELECT id, count, t, dt, data, crc FROM blobs WHERE series = ? AND first = ?"
        blob, *found = self._db.execute(query, one).fetchone() or (None,)
        if blob is None or is_intact(first, *found):
            return None
        count, t, dt, data, crc = found
        own = self._db.execute("SELECT series, first FROM blobs WHERE id = ?", (blob,)).fetchone()  # not the index's
        if own != one or not is_count(count) or not isinstance(data, bytes):
            raise Broken(f"the blob of row {first} of series {series} is damaged")
        self._db.execute("DELETE FROM blobs WHERE id = ?", (blob,))
        self._gone(series, count, len(data))
        sizes = (rows for rows in range(1, LONGEST + 1) if len(data) % (4 * rows) == 0)
        rows = next(
            (rows for rows in sizes if is_intact(first, rows, t, dt, data, crc)), count
        )  # if `count` is damaged
        after = """SELECT coalesce((SELECT min(first) FROM blobs WHERE series = ?1 AND first > ?2),
            (SELECT next FROM series WHERE id = ?1))"""
        (stop,) = self._db.execute(after, one).fetchone()
        return first, min(first + rows, stop) - 1

    def drop_oldest(self, most: int, *, older_than: float | None = None) -> Iterator[tuple[int, int, int]]:
        """Deletes blobs, at most so many, and only those that came before `older_than`: series, first and last row."""
        query = "SELECT id, series, first, count, kept, length(data) FROM blobs ORDER BY id LIMIT ?"
        for blob, series, first, count, kept, size in self._db.execute(query, (most,)).fetchall():
            if older_than is not None and kept >= older_than:
                return
            self._db.execute("DELETE FROM blobs WHERE id = ?", (blob,))
            self._gone(series, count, size)
            yield series, first, first + count - 1

    def _gone(self, series: int, rows: int, size: int) -> None:
        self.counts[series] = self.counts.get(series, 0) - rows
        self.bytes -= size + OVERHEAD
