"""What the bridge has acknowledged and not yet answered, on disk: taken up again after `kill -9`.

One commit a turn of the pipeline. `rows` are the rows that unfinished windows still need, `series` how far each series
was cut, `pending` the windows that the cloud was asked about, `results` what was decided and not yet taken by the
broker. A Result that depends on more than its input (was the cloud there?) is committed before it is published, so
that a restart says the same again.
"""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bridge.messages import Rows, SeriesKey
from bridge.store.database import open_database, transaction, translated
from bridge.store.records import Changes, Saved, SavedResult, SavedRows, SavedSeries, SavedWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_VERSION = 1
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS series (
        id INTEGER PRIMARY KEY, site TEXT NOT NULL, device TEXT NOT NULL, stream TEXT NOT NULL, epoch TEXT NOT NULL,
        model TEXT NOT NULL, numbered INTEGER NOT NULL, next_row INTEGER NOT NULL, next_window INTEGER NOT NULL,
        UNIQUE (site, device, stream, epoch))""",
    """CREATE TABLE IF NOT EXISTS rows (
        series INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, channels INTEGER NOT NULL,
        data BLOB NOT NULL, t REAL NOT NULL, dt REAL NOT NULL, t_source TEXT NOT NULL, lane TEXT NOT NULL,
        PRIMARY KEY (series, first)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS skipped (
        series INTEGER NOT NULL, first INTEGER NOT NULL, after INTEGER NOT NULL,
        PRIMARY KEY (series, first)) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS decided (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE)",
    "CREATE TABLE IF NOT EXISTS pending (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS results (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID",
)


_SKIPPED = 64  # given-up ranges kept, a series
_DECIDED = 65_536  # decided whole windows remembered


class Journal:
    """The bridge's journal. Its methods block on the disk and take turns: call them from worker threads.

    Args:
        path: the database file.
        tell: takes a sentence for the owner, when a damaged file had to be set aside.

    Raises:
        StoreError: the file cannot be used.
    """

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        self._path = path
        self._db = open_database(path, _SCHEMA, version=_VERSION, tell=tell)
        self._ids: dict[SeriesKey, int] = {}
        self._lock = threading.Lock()  # closing it under a commit that hangs would crash the interpreter

    def load(self) -> Saved:
        """Everything kept.

        Raises:
            StoreError: it cannot be read.
        """
        with self._lock, translated(str(self._path)):
            series, keys = [], {}
            skipped: dict[int, list[tuple[int, int]]] = {}
            for number, first, after in self._db.execute("SELECT * FROM skipped ORDER BY series, first"):
                skipped.setdefault(number, []).append((first, after))
            for found in self._db.execute("SELECT * FROM series"):
                key = SeriesKey(*found[1:5])
                keys[found[0]] = key
                self._ids[key] = found[0]
                series.append(SavedSeries(key, found[5], bool(found[6]), found[7], found[8], skipped.get(found[0], [])))
            rows = [
                SavedRows(keys[s], first, np.frombuffer(data, "<f4").reshape(-1, channels), t, dt, source, lane)
                for s, first, channels, data, t, dt, source, lane in self._db.execute(
                    "SELECT series, first, channels, data, t, dt, t_source, lane FROM rows ORDER BY series, first"
                )
                if s in keys
            ]
            asked = [
                msgspec.msgpack.decode(body, type=SavedWindow)
                for (body,) in self._db.execute("SELECT body FROM pending")
            ]
            results = [
                msgspec.msgpack.decode(body, type=SavedResult)
                for (body,) in self._db.execute("SELECT body FROM results")
            ]
            decided = [window for (window,) in self._db.execute("SELECT id FROM decided ORDER BY n")]
        return Saved(series, rows, asked, results, decided)

    def commit(self, changes: Changes) -> None:
        """Make changes durable, all or none.

        Raises:
            StoreError: the disk or the database refused; nothing was changed.
        """
        with self._lock:
            known = dict(self._ids)
            try:
                with translated(str(self._path)), transaction(self._db):
                    self._write(changes)
            except BaseException:
                self._ids = known
                raise

    def _write(self, changes: Changes) -> None:
        db = self._db
        self._drop(changes.forgotten)
        for series in changes.series:
            self._write_series(series)
        rows = [
            (self._ids[r.key], r.first, r.first + len(r.values), r.values.shape[1], _bytes(r.values), r.t, r.dt,
             r.t_source, r.lane)
            for r in changes.rows
            if r.key in self._ids
        ]  # fmt: skip
        db.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        db.executemany(
            "DELETE FROM rows WHERE series = ? AND first < ? AND last <= ?",
            [(self._ids[s.key], s.next_window, s.next_window) for s in changes.series],
        )
        encode = msgspec.msgpack.encode
        db.executemany("INSERT OR REPLACE INTO pending VALUES (?, ?)", [(w.id, encode(w)) for w in changes.asked])
        db.executemany("DELETE FROM pending WHERE id = ?", [(window,) for window in changes.answered])
        db.executemany(
            "INSERT OR REPLACE INTO results VALUES (?, ?)", [(r.result.id, encode(r)) for r in changes.results]
        )
        db.executemany("DELETE FROM results WHERE id = ?", [(result,) for result in changes.taken])
        if changes.decided:
            db.executemany("INSERT OR IGNORE INTO decided (id) VALUES (?)", [(window,) for window in changes.decided])
            db.execute("DELETE FROM decided WHERE n <= (SELECT max(n) FROM decided) - ?", (_DECIDED,))

    def _write_series(self, series: SavedSeries) -> None:
        key = series.key
        names = (key.site, key.device, key.stream, key.epoch)
        cursor = self._db.execute(
            "INSERT INTO series (site, device, stream, epoch, model, numbered, next_row, next_window)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (site, device, stream, epoch) DO UPDATE SET"
            " next_row = excluded.next_row, next_window = excluded.next_window, model = excluded.model RETURNING id",
            (*names, series.model, series.numbered, series.next_row, series.next_window),
        )
        number = self._ids[key] = cursor.fetchone()[0]
        if series.skipped:
            rows = [(number, first, after) for first, after in series.skipped]
            self._db.executemany("INSERT OR REPLACE INTO skipped VALUES (?, ?, ?)", rows)
            self._db.execute(
                "DELETE FROM skipped WHERE series = ?1 AND first <="
                " (SELECT first FROM skipped WHERE series = ?1 ORDER BY first DESC LIMIT 1 OFFSET ?2)",
                (number, _SKIPPED),
            )

    def _drop(self, keys: Iterable[SeriesKey]) -> None:
        for key in keys:
            number = self._ids.pop(key, None)
            if number is not None:
                self._db.execute("DELETE FROM rows WHERE series = ?", (number,))
                self._db.execute("DELETE FROM skipped WHERE series = ?", (number,))
                self._db.execute("DELETE FROM series WHERE id = ?", (number,))

    def close(self) -> None:
        """Close the file.

        Raises:
            StoreError: the last checkpoint failed; what was committed is safe all the same.
        """
        with self._lock, translated(str(self._path)):
            try:
                self._db.close()
            except sqlite3.ProgrammingError:
                return


def _bytes(values: Rows) -> bytes:
    return values.astype("<f4", copy=False).tobytes()
