"""What a new outbox takes over from a damaged one."""

from __future__ import annotations

import secrets
import sqlite3
import time
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.store import promises
from bridge.store.database import transaction
from bridge.store.lost import DAMAGED, holes
from bridge.store.marks import Mark, Marks
from bridge.store.pieces import LONGEST, is_intact
from bridge.store.salvage import readable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)  # the latter for a message that quotes a damaged schema
_Row = tuple[Any, ...]


class _Found(msgspec.Struct):
    """One series of the damaged file: what it was, and which of its rows could be read."""

    stream: str
    epoch: str
    next: int
    ended: bool
    ranges: list[tuple[int, int]] = []
    dropped: list[tuple[int, int]] = []


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
    known = _read(marks)
    certain = store is not None and bool(series) and _confirm(series, known, store)
    _add_marked(series, known)
    with transaction(new):
        certain = certain and _copy_reserved(old, new, series)
        new.execute("INSERT INTO meta VALUES('store', ?)", (store if certain else secrets.token_hex(4),))
        copied = sum(_copy(new, blob, series) for blob in readable(old, "blobs", _BLOB))
        _copy_ledger(old, new, series)
        lost = sum(_note_lost(old, new, number, one, known.get(number)) for number, one in series.items())
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
    except _UNREADABLE:
        return []


def _series(old: sqlite3.Connection) -> dict[int, _Found]:
    found = {}
    for number, stream, epoch, after, ended in readable(old, "series", "stream, epoch, next, ended"):
        if isinstance(stream, str) and isinstance(epoch, str) and isinstance(after, int):
            found[number] = _Found(stream, epoch, after, bool(ended))
    return found


def _read(path: Path) -> dict[int, Mark]:
    marks = Marks(path)
    try:
        return marks.read()
    finally:
        marks.close()


def _confirm(series: dict[int, _Found], marks: dict[int, Mark], store: str) -> bool:
    """Whether both the file and its marks show every series, so that the higher of both next numbers is certain."""
    numbers = set(range(1, max(series) + 1))
    return numbers == series.keys() == marks.keys() and {mark.store for mark in marks.values()} == {store}


def _add_marked(series: dict[int, _Found], marks: dict[int, Mark]) -> None:
    """What the marks know better: names, which have a checksum there, next numbers, and series that were lost."""
    for number, mark in marks.items():
        one = series.setdefault(number, _Found(mark.stream, mark.epoch, mark.next, ended=False))
        one.stream, one.epoch, one.next = mark.stream, mark.epoch, max(one.next, mark.next)


def _copy(new: sqlite3.Connection, blob: _Row, series: dict[int, _Found]) -> int:
    """Rows of one blob, if it is whole."""
    _, number, first, count, t, dt, _, data, crc = blob
    one = series.get(number)
    if one is None or not is_intact(first, count, t, dt, data, crc):
        return 0
    done = new.execute("INSERT OR IGNORE INTO blobs VALUES(NULL, ?, ?, ?, ?, ?, ?, ?, ?)", blob[1:])
    if not done.rowcount:
        return 0
    if one.ranges and one.ranges[-1][1] + 1 == first:
        one.ranges[-1] = (one.ranges[-1][0], first + count - 1)
    else:
        one.ranges.append((first, first + count - 1))
    return int(count)


def _copy_reserved(old: sqlite3.Connection, new: sqlite3.Connection, series: dict[int, _Found]) -> bool:
    """Numbers that may have been sent and are neither in the file nor in its marks, after a power loss."""
    try:
        return promises.copy(old, new, {number: one.next for number, one in series.items()})
    except _UNREADABLE:
        return False


def _copy_ledger(old: sqlite3.Connection, new: sqlite3.Connection, series: dict[int, _Found]) -> None:
    for _, *entry in readable(old, "dropped", "series, first, last, rule, at"):
        if _is_entry(entry, series) and isinstance(entry[4], float):
            new.execute("INSERT INTO dropped VALUES(NULL, ?, ?, ?, ?, ?)", entry)
            series[entry[0]].dropped.append((entry[1], entry[2]))
    try:
        for entry in old.execute("SELECT series, first, last, rule FROM untold"):
            if _is_entry(entry, series):
                new.execute("INSERT OR IGNORE INTO untold VALUES(?, ?, ?, ?)", entry)
    except _UNREADABLE:
        return  # what is left of it is told


def _is_entry(entry: Sequence[Any], series: dict[int, _Found]) -> bool:
    """Whether this is a series, a range of its rows, and a rule."""
    number, first, last, rule = entry[:4]
    ints = isinstance(number, int) and isinstance(first, int) and isinstance(last, int) and isinstance(rule, str)
    return ints and number in series and 0 <= first <= last < series[number].next


def _note_lost(old: sqlite3.Connection, new: sqlite3.Connection, number: int, one: _Found, mark: Mark | None) -> int:
    """Gives up the rows of this series that were kept and cannot be read; returns how many.

    All that is missing from the first row on that was kept by its mark; without a mark what the index shows, else the
    holes between those read.
    """
    if mark is not None:
        lost = holes(mark.low, one.next, [*one.ranges, *one.dropped])
    else:
        starts = _starts(old, number)
        lost = _between(one) if starts is None else _indexed(one, starts)
    rows = 0
    for first, last in lost:
        rows += last - first + 1
        entry = (number, first, last, DAMAGED)
        new.execute("INSERT INTO dropped VALUES(NULL, ?, ?, ?, ?, ?)", (*entry, time.time()))
        new.execute("INSERT OR REPLACE INTO untold VALUES(?, ?, ?, ?)", entry)
    return rows


def _between(one: _Found) -> list[tuple[int, int]]:
    return holes(min(first for first, _ in one.ranges), one.next, one.ranges) if one.ranges else []


def _indexed(one: _Found, starts: list[int]) -> list[tuple[int, int]]:
    have, after = sorted(one.ranges), [*starts[1:], one.next][: len(starts)]
    return _joined(
        [
            (first, min(stop, first + LONGEST) - 1)
            for first, stop in zip(starts, after, strict=True)
            if not _within(first, have)
        ]
    )


def _within(row: int, ranges: list[tuple[int, int]]) -> bool:
    """Whether one of the ranges, which are sorted, holds the row."""
    place = bisect_right(ranges, row, key=lambda one: one[0])
    return place > 0 and row <= ranges[place - 1][1]


def _starts(old: sqlite3.Connection, number: int) -> list[int] | None:
    """First rows of all blobs that were kept, from the index, which is a tree of its own; None if that is damaged."""
    query = "SELECT first FROM blobs INDEXED BY blobs_rows WHERE series = ? ORDER BY first"
    try:
        return [int(first) for (first,) in old.execute(query, (number,))]
    except (*_UNREADABLE, TypeError, ValueError):
        return None


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for first, last in ranges:
        if found and found[-1][1] + 1 >= first:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        elif first <= last:
            found.append((first, last))
    return found
