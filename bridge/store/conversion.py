"""The journal's schema, and what becomes of a journal that an earlier version wrote.

Version 1 kept rows, series, gaps, questions and Results in a table each, ordered by name, so that a commit touched as
many pages as it had series. All of it becomes records of the log, in the transaction that opens the file. Records of
version 2 had no checksum; those of version 3 were all in the database, however large; those of version 4 had no tails.
"""

from __future__ import annotations

import zlib
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np

from bridge.messages import SeriesKey
from bridge.store.database import Broken
from bridge.store.records import Changes, GivenUp, SavedResult, SavedRows, SavedSeries, SavedWindow, decode, encode

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

VERSION = 5
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS turns (n INTEGER PRIMARY KEY, body BLOB NOT NULL, crc INTEGER)",
    "CREATE TABLE IF NOT EXISTS decided (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE)",
)
_TOGETHER = 256  # entries of a record
_T = TypeVar("_T")


UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, ArithmeticError, MemoryError)  # of decoding damaged bytes


def checksum(n: int, body: bytes) -> int:
    """CRC-32 of a record and its number: SQLite itself would hand out a damaged one."""
    return zlib.crc32(body, n & 0xFFFFFFFF)


def convert(db: sqlite3.Connection, version: int) -> None:
    """Turn a journal of an earlier version into one of this version, within the transaction that is open.

    Args:
        db: the journal, with the tables of this version beside the old ones.
        version: the one that wrote it.

    Raises:
        Broken: something in it cannot be read.
    """
    try:
        if version == 1:
            _make_records(db)
        elif version == 2:
            _add_checksums(db)
    except UNREADABLE as why:
        raise Broken(f"an entry of the journal is damaged ({why})") from why


def _add_checksums(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE turns ADD COLUMN crc INTEGER")
    for (n,) in db.execute("SELECT n FROM turns ORDER BY n").fetchall():
        (body,) = db.execute("SELECT body FROM turns WHERE n = ?", (n,)).fetchone()
        decode(body)
        db.execute("UPDATE turns SET crc = ? WHERE n = ?", (checksum(n, body), n))


def _make_records(db: sqlite3.Connection) -> None:
    for n, changes in enumerate(_kept(db), 1):
        body = encode(changes)
        db.execute("INSERT INTO turns VALUES (?, ?, ?)", (n, body, checksum(n, body)))
    for table in ("series", "rows", "skipped", "pending", "results"):
        db.execute(f"DROP TABLE {table}")


def _kept(db: sqlite3.Connection) -> Iterator[Changes]:
    keys = {
        found[0]: SeriesKey(*found[1:]) for found in db.execute("SELECT id, site, device, stream, epoch FROM series")
    }
    unpack = msgspec.msgpack.decode
    yield from (Changes(series=some) for some in _together(_series(db, keys)))
    yield from (Changes(rows=some) for some in _together(_rows(db, keys)))
    asked = (unpack(body, type=SavedWindow) for (body,) in db.execute("SELECT body FROM pending"))
    yield from (Changes(asked=some) for some in _together(asked))
    results = (unpack(body, type=SavedResult) for (body,) in db.execute("SELECT body FROM results"))
    yield from (Changes(results=some) for some in _together(results))


def _series(db: sqlite3.Connection, keys: dict[int, SeriesKey]) -> Iterator[SavedSeries]:
    skipped: dict[int, list[GivenUp]] = {}
    for number, first, after in db.execute("SELECT series, first, after FROM skipped ORDER BY series, first"):
        skipped.setdefault(number, []).append(GivenUp(first, after))
    for number, model, numbered, row, window in db.execute(
        "SELECT id, model, numbered, next_row, next_window FROM series ORDER BY id"
    ):
        yield SavedSeries(keys[number], model, bool(numbered), row, window, tuple(skipped.get(number, ())))


def _rows(db: sqlite3.Connection, keys: dict[int, SeriesKey]) -> Iterator[SavedRows]:
    for number, first, channels, data, t, dt, source, lane in db.execute(
        "SELECT series, first, channels, data, t, dt, t_source, lane FROM rows ORDER BY series, first"
    ):
        if number in keys:
            yield SavedRows(keys[number], first, np.frombuffer(data, "<f4").reshape(-1, channels), t, dt, source, lane)


def _together(them: Iterable[_T]) -> Iterator[list[_T]]:
    """Lists of some of them each."""
    left = iter(them)
    while some := list(islice(left, _TOGETHER)):
        yield some
