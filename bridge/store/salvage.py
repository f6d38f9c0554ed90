"""Reading what can still be read of a damaged SQLite file.

A table is a tree of pages in the order of its rowid. A query that steps on a damaged page fails, but one that begins
behind it may not: so reading goes on behind each failure, at the first rowid from which it works again.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_FAILURES = 10_000  # a file of which every other page is bad takes seconds, not days
_HIGHEST = 1 << 60
DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)  # the latter of an error message that quotes damaged text
_Row = tuple[Any, ...]


def readable(db: sqlite3.Connection, table: str, columns: str) -> Iterator[_Row]:
    """Rows of a table that can be read, in the order of their rowid.

    Args:
        db: the damaged database.
        table: its name; the table must have a rowid.
        columns: names of the columns wanted, separated by commas.

    Yields:
        The rowid and the columns of each row.
    """
    query = f"SELECT rowid, {columns} FROM {table} WHERE rowid > ? ORDER BY rowid"  # noqa: S608 # names from the code
    at = -1
    for _ in range(MOST_FAILURES):
        try:
            for row in db.execute(query, (at,)):
                at = max(at, int(row[0]))
                yield row
        except DAMAGE:
            behind = _behind(db, query, at)
            if behind is None:
                return
            at = behind
        else:
            return


def _behind(db: sqlite3.Connection, query: str, bad: int) -> int | None:
    """The lowest place above `bad` from which the query finds a row; None if there is none."""
    low, step = bad, 1
    while (found := _works(db, query, bad + step)) is None:
        low, step = bad + step, step * 2
        if low > _HIGHEST:
            return None
    high = bad + step
    good = high if found else None
    while high - low > 1:  # it fails at `low` and does not at `high`, where it finds a row or the end
        middle = (low + high) // 2
        found = _works(db, query, middle)
        if found is None:
            low = middle
        else:
            high, good = middle, middle if found else good
    return good


def _works(db: sqlite3.Connection, query: str, at: int) -> bool | None:
    """Whether the query finds a row behind `at`; None if it fails."""
    try:
        return db.execute(query, (at,)).fetchone() is not None
    except DAMAGE:
        return None
