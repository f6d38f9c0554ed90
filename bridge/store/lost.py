"""Rows of an outbox that were given a number and are gone: which, and what becomes of their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.store.pieces import Release

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from bridge.store.blobs import Blobs
    from bridge.store.given_up import GivenUp
    from bridge.store.marks import Mark

DAMAGED = "damaged"  # rule of rows that were lost with the store
UNUSED = "unused"  # rule of numbers under which rows may have been sent, and none was accepted
_END = 1 << 62


def give_up_lost(db: sqlite3.Connection, given_up: GivenUp, marks: Iterable[Mark], at: float) -> list[str]:
    """Gives up what lies between the end of each series in the file and its mark, so that no number is given twice.

    A series that the file does not show at all is made again: its numbering may go on, and the bridge is to be told of
    its rows. Rows before a mark's `low` are safe.

    Args:
        db: the outbox, in a transaction.
        given_up: its ledger.
        marks: all that can be read, of whatever store.
        at: seconds since 1970.

    Returns:
        What is lost, in words, a sentence for each series.
    """
    said = []
    for mark in marks:
        query = "SELECT id, next FROM series WHERE stream = ? AND epoch = ?"
        number, after = db.execute(query, (mark.stream, mark.epoch)).fetchone() or (_make(db, mark), 0)
        if mark.next <= after:
            continue
        db.execute("UPDATE series SET next = ? WHERE id = ?", (mark.next, number))
        first = max(after, mark.low)
        if first < mark.kept:
            given_up.record(number, first, mark.kept - 1, DAMAGED, at)
            rows = f"rows {first} to {mark.kept - 1} of stream {mark.stream}, epoch {mark.epoch}"
            said.append(f"its newest commits are gone, and with them {rows}, unless the bridge has them")
        if (sent := max(first, mark.kept)) < mark.next:
            given_up.record(number, sent, mark.next - 1, UNUSED, at)
    return said


def give_up_to(db: sqlite3.Connection, given_up: GivenUp, series: tuple[int, int], rule: str, at: float) -> None:
    """Gives up the numbers of a series that no row in the file has, up to one that is the next then.

    Args:
        db: the outbox, in a transaction.
        given_up: its ledger.
        series: its number, and the number that its next row gets.
        rule: why.
        at: seconds since 1970.
    """
    number, end = series
    found = db.execute("SELECT next FROM series WHERE id = ?", (number,)).fetchone()
    if found is not None and found[0] < end:
        db.execute("UPDATE series SET next = ? WHERE id = ?", (end, number))
        given_up.record(number, found[0], end - 1, rule, at)


def _make(db: sqlite3.Connection, mark: Mark) -> int:
    """The series of a mark, under its number if that is free."""
    taken = db.execute("SELECT 1 FROM series WHERE id = ?", (mark.series,)).fetchone()
    query = "INSERT INTO series(id, stream, epoch) VALUES(?, ?, ?)"
    return int(db.execute(query, (None if taken else mark.series, mark.stream, mark.epoch)).lastrowid or 0)


def rewind(db: sqlite3.Connection, blobs: Blobs, given_up: GivenUp, series: int) -> int | None:
    """Forgets a series from the first row on that was lost and of which the bridge was not told yet.

    Args:
        db: the outbox, in a transaction.
        blobs: its rows.
        given_up: its ledger.
        series: the series.

    Returns:
        That row, which the source is to hand over next; None if nothing was lost.
    """
    query = "SELECT min(first) FROM untold WHERE series = ? AND rule = ?"
    (row,) = db.execute(query, (series, DAMAGED)).fetchone()
    if row is None:
        return None
    blobs.release(Release(series, row, _END))
    given_up.forget(series, row)
    db.execute("UPDATE series SET next = ?, ended = 0 WHERE id = ?", (row, series))
    return int(row)


def holes(first: int, stop: int, ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The rows `first`…`stop` - 1 that are in none of the ranges, which are inclusive; sorted, joined."""
    found = []
    for low, high in sorted(ranges):
        if low > first:
            found.append((first, min(low, stop) - 1))
        first = max(first, high + 1)
        if first >= stop:
            return found
    return [*found, (first, stop - 1)] if first < stop else found
