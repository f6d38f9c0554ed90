"""Which rows go when the outbox must make room by thinning out: every second block of the older half.

A block is `rows` consecutive row numbers and begins where row number mod `rows` = 0; what is left of a series is whole
blocks, so it still holds whole windows (of no more rows than a block). A pass goes over the older half of the rows and
takes every second block that is still there; the next begins at the oldest again. So the older rows are, the coarser
they get, and the newer half is whole. A pass is done in steps, each as long as room is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

_LOOK = 64  # blobs read at once


class Thinning:
    """One pass after the other; statements run in the transaction of the caller.

    Args:
        db: the outbox.
        rows: rows a block.
    """

    def __init__(self, db: sqlite3.Connection, rows: int) -> None:
        self._db = db
        self._rows = rows
        self._at = 0
        self._left = 0  # rows that this pass still looks at
        self._seen: dict[int, tuple[int, bool]] = {}

    def next(self, kept: int) -> tuple[int, int, int] | None:
        """The next block to give up: series, first and last row; None: nothing is left to thin.

        Args:
            kept: rows in the outbox.
        """
        found = self._walk()
        if found is None:
            self._at, self._left, self._seen = 0, kept // 2, {}
            found = self._walk()
        return found

    def _walk(self) -> tuple[int, int, int] | None:
        query = "SELECT id, series, first, first + count - 1 FROM blobs WHERE id > ? ORDER BY id LIMIT ?"
        while self._left > 0 and (blobs := self._db.execute(query, (self._at, _LOOK)).fetchall()):
            for number, series, first, last in blobs:
                for block in range(first // self._rows, last // self._rows + 1):
                    if self._takes(series, block):
                        self._left -= self._rows
                        return series, block * self._rows, (block + 1) * self._rows - 1
                self._at = number  # only now: a blob may reach into several blocks
                self._left -= last - first + 1
        return None

    def _takes(self, series: int, block: int) -> bool:
        """Whether the block is met for the first time, and is a second one."""
        before, taken = self._seen.get(series, (-1, True))
        if block <= before:
            return False
        self._seen[series] = block, not taken
        return not taken
