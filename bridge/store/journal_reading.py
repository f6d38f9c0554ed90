"""The records of a journal, and what they say together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.store.conversion import UNREADABLE, checksum
from bridge.store.database import Broken
from bridge.store.index import Index
from bridge.store.records import Changes, Saved, decode

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from bridge.store.segments import Segments


def decoded(n: int, body: object, crc: object) -> Changes:
    """The record of this number.

    Raises:
        Broken: it is not what was written.
    """
    if not isinstance(body, bytes) or crc != checksum(n, body):
        raise Broken(f"record {n} is damaged: its checksum is wrong")
    try:
        return decode(body)
    except UNREADABLE as why:
        raise Broken(f"record {n} is damaged ({why})") from why


def fetched(n: int, stored: object, segments: Segments) -> object:
    """The body of the record of this number, of which the database holds this.

    Raises:
        Broken: it is a large one, and not where it should be.
        StoreError: it cannot be read.
    """
    if not isinstance(stored, str):
        return stored
    try:
        return segments.read(stored)
    except Broken as why:
        raise Broken(f"record {n} is damaged: {why}") from why


def records(db: sqlite3.Connection, segments: Segments) -> Iterator[tuple[int, Changes]]:
    """All records, oldest first, each with its number.

    Raises:
        Broken: one of them is damaged.
        StoreError: a large one cannot be read.
        sqlite3.Error: they cannot be read.
    """
    for n, stored, crc in db.execute("SELECT n, body, crc FROM turns ORDER BY n"):
        yield n, decoded(n, fetched(n, stored, segments), crc)


def index_of(db: sqlite3.Connection, segments: Segments) -> Index:
    """Which records hold something needed; raises as `records` does."""
    index = Index()
    for n, held in records(db, segments):
        index.add(n, held)
    return index


def saved_of(db: sqlite3.Connection, segments: Segments, index: Index) -> Saved:
    """What is needed of all records, the rows of a series in their order; raises as `records` does."""
    series, rows, asked, results = {}, {}, {}, {}
    for n, held in records(db, segments):  # read a second time: what is void need not be in memory all at once
        still = index.still(n, held)
        series.update({one.key: one for one in still.series})
        rows.update({(one.key, one.first): one for one in still.rows})
        asked.update({one.id: one for one in still.asked})
        results.update({one.result.id: one for one in still.results})
    decided = [window for (window,) in db.execute("SELECT id FROM decided ORDER BY n")]
    in_order = sorted(rows.values(), key=lambda one: one.first)
    return Saved(list(series.values()), in_order, list(asked.values()), list(results.values()), decided)
