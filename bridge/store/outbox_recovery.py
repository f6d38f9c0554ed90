"""What a new outbox takes over from a damaged one."""

from __future__ import annotations

import secrets
import sqlite3
import time
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.store.database import transaction
from bridge.store.marks import Marks
from bridge.store.pieces import checksum
from bridge.store.salvage import readable

if TYPE_CHECKING:
    from pathlib import Path

LONGEST = 8192  # rows a blob has at most: no message is longer
_Row = tuple[Any, ...]


class _Found(msgspec.Struct):
    """One series of the damaged file: what it was, and which of its rows could be read."""

    stream: str
    epoch: str
    next: int
    ended: bool
    ranges: list[tuple[int, int]] = []


def recover(old: sqlite3.Connection, new: sqlite3.Connection, *, marks: Path) -> str:
    """Copies all rows that can be read, and notes as given up (rule `damaged`) those known to be lost.

    The numbering goes on only if the next number of every series is certain, by the damaged file and by its marks;
    else the new store has a new name, so that new rows begin a new epoch and no number is given twice.

    Args:
        old: the damaged outbox.
        new: an empty one with its tables.
        marks: file of the marks.

    Returns:
        A sentence about how far it went.

    Raises:
        sqlite3.Error: the new one cannot be written.
    """
    series = _series(old)
    store = next((str(name) for _, name in _rows(old, "store")), None)
    certain = store is not None and bool(series) and _confirm(series, marks, store)
    with transaction(new):
        new.execute("INSERT INTO meta VALUES('store', ?)", (store if certain else secrets.token_hex(4),))
        copied = sum(_copy(new, blob, series) for blob in readable(old, "blobs", _BLOB))
        _copy_ledger(old, new, series)
        lost = sum(_note_lost(old, new, number, one) for number, one in series.items())
        for number, one in series.items():
            last = max((last for _, last in one.ranges), default=-1)
            values = (number, one.stream, one.epoch, max(one.next, last + 1), one.ended)
            new.execute("INSERT INTO series VALUES(?, ?, ?, ?, ?)", values)
    goes_on = "the numbering goes on" if certain else "new rows begin a new epoch, so that no number is given twice"
    return f"{copied} rows of {len(series)} series recovered, {lost} known to be lost; {goes_on}"


_BLOB = "series, first, count, t, dt, kept, data, crc"


def _rows(old: sqlite3.Connection, key: str) -> list[_Row]:
    try:
        return old.execute("SELECT key, value FROM meta WHERE key = ?", (key,)).fetchall()
    except sqlite3.DatabaseError:
        return []


def _series(old: sqlite3.Connection) -> dict[int, _Found]:
    found = {}
    for number, stream, epoch, after, ended in readable(old, "series", "stream, epoch, next, ended"):
        if isinstance(stream, str) and isinstance(epoch, str) and isinstance(after, int):
            found[number] = _Found(stream, epoch, after, bool(ended))
    return found


def _confirm(series: dict[int, _Found], path: Path, store: str) -> bool:
    """Takes the higher of both next numbers; whether there were both, of every series."""
    marks = Marks(path, store)
    try:
        if marks.get(max(series) + 1) is not None:  # a series that the damaged file does not show
            return False
        for number in range(1, max(series) + 1):
            mark = marks.get(number)
            if mark is None or number not in series:
                return False
            series[number].next = max(series[number].next, mark)
        return True
    finally:
        marks.close()


def _copy(new: sqlite3.Connection, blob: _Row, series: dict[int, _Found]) -> int:
    """Rows of one blob, if it is whole."""
    _, number, first, count, _, _, _, data, crc = blob
    one = series.get(number)
    whole = (
        one is not None
        and isinstance(data, bytes)
        and isinstance(first, int)
        and isinstance(count, int)
        and 0 < count <= LONGEST
        and len(data) > 0
        and len(data) % (4 * count) == 0
        and (crc is None or crc == checksum(first, data))
    )
    if not whole or one is None:
        return 0
    done = new.execute("INSERT OR IGNORE INTO blobs VALUES(NULL, ?, ?, ?, ?, ?, ?, ?, ?)", blob[1:])
    if not done.rowcount:
        return 0
    if one.ranges and one.ranges[-1][1] + 1 == first:
        one.ranges[-1] = (one.ranges[-1][0], first + count - 1)
    else:
        one.ranges.append((first, first + count - 1))
    return int(count)


def _copy_ledger(old: sqlite3.Connection, new: sqlite3.Connection, series: dict[int, _Found]) -> None:
    for _, number, first, last, rule, at in readable(old, "dropped", "series, first, last, rule, at"):
        if number in series:
            new.execute("INSERT INTO dropped VALUES(NULL, ?, ?, ?, ?, ?)", (number, first, last, rule, at))
    try:
        for number, first, last, rule in old.execute("SELECT series, first, last, rule FROM untold"):
            if number in series:
                new.execute("INSERT OR IGNORE INTO untold VALUES(?, ?, ?, ?)", (number, first, last, rule))
    except sqlite3.DatabaseError:
        return  # what is left of it is told


def _note_lost(old: sqlite3.Connection, new: sqlite3.Connection, number: int, one: _Found) -> int:
    """Rows of this series that were kept and cannot be read: by the index, or else the holes between those read."""
    have = sorted(one.ranges)
    starts = _starts(old, number)
    if starts is None:
        edges = [*have, (one.next, one.next)] if have else []
        lost = [(a[1] + 1, b[0] - 1) for a, b in pairwise(edges)]
    else:
        after = [*starts[1:], one.next][: len(starts)]
        lost = [
            (first, min(stop, first + LONGEST) - 1)
            for first, stop in zip(starts, after, strict=True)
            if not _within(first, have)
        ]
    rows = 0
    for first, last in _joined(lost):
        rows += last - first + 1
        new.execute("INSERT INTO dropped VALUES(NULL, ?, ?, ?, 'damaged', ?)", (number, first, last, time.time()))
        new.execute("INSERT OR REPLACE INTO untold VALUES(?, ?, ?, 'damaged')", (number, first, last))
    return rows


def _within(row: int, ranges: list[tuple[int, int]]) -> bool:
    """Whether one of the ranges, which are sorted, holds the row."""
    place = bisect_right(ranges, row, key=lambda one: one[0])
    return place > 0 and row <= ranges[place - 1][1]


def _starts(old: sqlite3.Connection, number: int) -> list[int] | None:
    """First rows of all blobs that were kept, from the index, which is a tree of its own; None if that is damaged."""
    query = "SELECT first FROM blobs INDEXED BY blobs_rows WHERE series = ? ORDER BY first"
    try:
        return [int(first) for (first,) in old.execute(query, (number,))]
    except (sqlite3.DatabaseError, TypeError, ValueError):
        return None


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for first, last in ranges:
        if found and found[-1][1] + 1 >= first:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        elif first <= last:
            found.append((first, last))
    return found
