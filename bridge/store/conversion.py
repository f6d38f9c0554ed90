"""The journal's schema, and what becomes of a journal that version 1 wrote.

Version 1 kept rows, series, gaps, questions and Results in a table each, ordered by name, so that a commit touched as
many pages as it had series. All of it becomes records of the log, in the transaction that opens the file.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np

from bridge.messages import SeriesKey
from bridge.store.database import Broken
from bridge.store.records import Changes, GivenUp, SavedResult, SavedRows, SavedSeries, SavedWindow, encode

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

VERSION = 2
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS turns (n INTEGER PRIMARY KEY, body BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS decided (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE)",
)
_TOGETHER = 256  # entries of a record
_T = TypeVar("_T")


def convert(db: sqlite3.Connection, _version: int) -> None:
    """Turn a journal of version 1 into one of this version, within the transaction that is open.

    Args:
        db: the journal, with the tables of this version beside the old ones.

    Raises:
        Broken: a question or a Result in it cannot be read.
    """
    try:
        for changes in _kept(db):
            db.execute("INSERT INTO turns (body) VALUES (?)", (encode(changes),))
    except msgspec.DecodeError as why:
        raise Broken(f"a question or Result of the journal is damaged ({why})") from why
    for table in ("series", "rows", "skipped", "pending", "results"):
        db.execute(f"DROP TABLE {table}")


def _kept(db: sqlite3.Connection) -> Iterator[Changes]:
    keys = {
        found[0]: SeriesKey(*found[1:]) for found in db.execute("SELECT id, site, device, stream, epoch FROM series")
    }
    decode = msgspec.msgpack.decode
    yield from (Changes(series=some) for some in _together(_series(db, keys)))
    yield from (Changes(rows=some) for some in _together(_rows(db, keys)))
    asked = (decode(body, type=SavedWindow) for (body,) in db.execute("SELECT body FROM pending"))
    yield from (Changes(asked=some) for some in _together(asked))
    results = (decode(body, type=SavedResult) for (body,) in db.execute("SELECT body FROM results"))
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
