"""Rows that come alone, as most do: kept by one statement, which is its own transaction.

With cold caches, as a message finds them that comes each 50 ms between other programs, the four statements of a
transaction take half as long again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.store.pieces import Append, checksum

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from bridge.store.blobs import Blobs
    from bridge.store.marked import Marked
    from bridge.store.pieces import Change

_SCHEMA = (  # of the connection: the file has nothing of it
    "CREATE TEMP VIEW arrivals AS SELECT series, first, count, t, dt, kept, data, crc FROM blobs",
    """CREATE TEMP TRIGGER arrived INSTEAD OF INSERT ON arrivals BEGIN
        UPDATE series SET next = NEW.first + NEW.count, ended = 0 WHERE id = NEW.series;
        INSERT INTO blobs(series, first, count, t, dt, kept, data, crc)
        VALUES(NEW.series, NEW.first, NEW.count, NEW.t, NEW.dt, NEW.kept, NEW.data, NEW.crc);
    END""",
)
_ONE = "INSERT INTO arrivals VALUES(?, ?, ?, ?, ?, ?, ?, ?)"


class Arrivals:
    """Into an outbox in no transaction.

    Args:
        db: the outbox.
        blobs: its rows.
        marks: know the next number of each series.

    Raises:
        sqlite3.Error: as all here.
    """

    def __init__(self, db: sqlite3.Connection, blobs: Blobs, marks: Marked) -> None:
        self._db = db
        self._blobs = blobs
        self._marks = marks
        for statement in _SCHEMA:
            db.execute(statement)

    def take(self, changes: Sequence[Change], now: float, *, most: int) -> int | None:
        """Keeps rows, if they are all there is to do, one blob, and within the bound.

        Args:
            changes: what is to be done.
            now: seconds on the clock of ages.
            most: bytes that may be kept.

        Returns:
            Number of the first row; None: nothing was done.
        """
        append = changes[0] if len(changes) == 1 else None
        if not isinstance(append, Append) or append.skip or self._blobs.bytes + append.size > most:
            return None
        first, rows = self._marks.next(append.series), len(append.values)
        if first is None or not 0 < rows <= append.align - first % append.align:
            return None
        data = append.values.astype("<f4", copy=False).tobytes()
        crc = checksum(first, rows, append.t, append.dt, data)
        self._db.execute(_ONE, (append.series, first, rows, append.t, append.dt, now, data, crc))
        self._blobs.came(append.series, rows, len(data))
        self._marks.moved({append.series: first + rows}, set())
        return first
