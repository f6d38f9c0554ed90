"""What the bridge has acknowledged and not yet answered, on disk: taken up again after `kill -9`.

One commit a turn of the pipeline. `rows` are the rows that unfinished windows still need, `series` how far each series
was cut, `pending` the windows that the cloud was asked about, `results` what was decided and not yet taken by the
broker. A Result that depends on more than its input (was the cloud there?) is committed before it is published, so
that a restart says the same again.
"""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from bridge.messages import Answer, Lane, Result, Rows, SeriesKey
from bridge.store.database import open_database, transaction, translated

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


class SavedRows(msgspec.Struct, frozen=True, eq=False):
    """Rows of one message that unfinished windows need.

    Attributes:
        key: their series.
        first: row number of the first row.
        values: float32, shape (rows, channels).
        t: seconds since 1970 of the first row.
        dt: seconds between rows.
        t_source: who stamped t.
        lane: lane of the message.
    """

    key: SeriesKey
    first: int
    values: Rows
    t: float
    dt: float
    t_source: Literal["device", "bridge"]
    lane: Lane


class SavedSeries(msgspec.Struct, frozen=True):
    """How far a series was cut.

    Attributes:
        key: the series.
        model: model its windows were cut for.
        numbered: whether its sender numbers the rows.
        next_row: rows below are known.
        next_window: first row of the next window.
        skipped: ranges given up, as (first row, row after the last); when written, those that are new.
    """

    key: SeriesKey
    model: str
    numbered: bool
    next_row: int
    next_window: int
    skipped: list[tuple[int, int]] = []


class SavedWindow(msgspec.Struct, frozen=True):
    """A window that the cloud was asked about, and what the bridge itself says of it.

    Attributes:
        id: the window's id.
        key: its series.
        seq: row number of its first row.
        data: its values, float32 little-endian, row by row.
        channels: channels of a row.
        t: seconds since 1970 of its first row.
        t_source: who stamped t.
        arrived: seconds since 1970 at which its last row arrived.
        model: model asked.
        lane: its lane.
        patience: seconds for which an answer helped when it arrived.
        local: the bridge's own answer.
        why: why the cloud was asked.
        reply_to: where `_infer` wants its answer.
        correlation: to repeat in that answer.
    """

    id: str
    key: SeriesKey
    seq: int
    data: bytes
    channels: int
    t: float
    t_source: Literal["device", "bridge"]
    arrived: float
    model: str
    lane: Lane
    patience: float
    local: Answer
    why: str
    reply_to: str | None = None
    correlation: bytes | None = None


class SavedResult(msgspec.Struct, frozen=True):
    """A Result that the broker has not taken yet.

    Attributes:
        result: the Result; its latency is set when it is published.
        arrived: seconds since 1970 at which the window's last row arrived.
        topic: where to publish it.
        correlation: correlation data of `_infer`.
    """

    result: Result
    arrived: float
    topic: str
    correlation: bytes | None = None


class Changes(msgspec.Struct):
    """What one turn of the pipeline changes on disk.

    Attributes:
        rows: rows to keep.
        series: series to bring up to date; rows below their next window go.
        forgotten: series to drop whole.
        asked: windows that the cloud is asked about.
        answered: ids of such windows that are decided now.
        results: Results to be published.
        taken: ids of Results that the broker took.
        decided: ids of whole windows whose answer depends on more than their rows: a copy that comes after a restart
            must not be decided anew.
    """

    rows: list[SavedRows] = []
    series: list[SavedSeries] = []
    forgotten: list[SeriesKey] = []
    asked: list[SavedWindow] = []
    answered: list[str] = []
    results: list[SavedResult] = []
    taken: list[str] = []
    decided: list[str] = []

    def __bool__(self) -> bool:
        return bool(
            self.rows or self.series or self.forgotten or self.asked or self.answered or self.results or self.taken
            or self.decided
        )  # fmt: skip


class Saved(msgspec.Struct):
    """All that the journal holds at start.

    Attributes:
        series: as kept.
        rows: as kept, in order.
        asked: windows without an answer.
        results: Results not taken.
        decided: ids of whole windows that must not be decided anew, oldest first.
    """

    series: list[SavedSeries]
    rows: list[SavedRows]
    asked: list[SavedWindow]
    results: list[SavedResult]
    decided: list[str]


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
