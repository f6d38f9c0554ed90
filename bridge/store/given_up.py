"""The ledger of rows given up by rule: which, when, why, and whether the bridge has been told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.store.pieces import Dropped

if TYPE_CHECKING:
    import sqlite3

MOST = 65_536  # entries remembered; what is not yet told is never forgotten
TOLD_BY_OTHERS = "refused"  # rules that begin so: the bridge itself refused the rows, and knows
SCHEMA = (
    """CREATE TABLE IF NOT EXISTS dropped(id INTEGER PRIMARY KEY, series INTEGER NOT NULL, first INTEGER NOT NULL,
       last INTEGER NOT NULL, rule TEXT NOT NULL, at REAL NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS dropped_series ON dropped(series)",
    """CREATE TABLE IF NOT EXISTS untold(series INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
       rule TEXT NOT NULL, PRIMARY KEY(series, first)) WITHOUT ROWID""",
)


class GivenUp:
    """Tables `dropped` and `untold` of an outbox; statements run in the transaction of the caller.

    Args:
        db: the outbox.

    Attributes:
        version: counts the changes.
        series: those of which something is still to be told; replaced, never changed.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.version = 0
        self.series: frozenset[int] = frozenset()
        self.reload()

    def reload(self) -> None:
        """Takes up what the tables say: at first, and after a transaction was rolled back."""
        self.version += 1
        self.series = frozenset(one for (one,) in self._db.execute("SELECT DISTINCT series FROM untold"))

    def record(self, series: int, first: int, last: int, rule: str, at: float) -> None:
        """Notes a range; one that follows the last under the same rule makes that longer."""
        self.version += 1
        grown = self._db.execute(
            "UPDATE dropped SET last = ?, at = ? WHERE id = (SELECT max(id) FROM dropped WHERE series = ?)"
            " AND last = ? AND rule = ?",
            (last, at, series, first - 1, rule),
        )
        if not grown.rowcount:
            number = self._db.execute(
                "INSERT INTO dropped(series, first, last, rule, at) VALUES(?, ?, ?, ?, ?)",
                (series, first, last, rule, at),
            ).lastrowid
            self._db.execute("DELETE FROM dropped WHERE id <= ?", ((number or 0) - MOST,))
        if not rule.startswith(TOLD_BY_OTHERS):
            self._add_untold(series, first, last, rule)

    def told(self, series: int, first: int, last: int) -> None:
        """The bridge knows of these rows."""
        if series not in self.series:
            return
        query = "DELETE FROM untold WHERE series = ? AND first <= ? AND last >= ? RETURNING first, last, rule"
        for start, stop, rule in self._db.execute(query, (series, last, first)).fetchall():
            self.version += 1
            for one, other in ((start, first - 1), (last + 1, stop)):
                if one <= other:
                    self._db.execute("INSERT INTO untold VALUES(?, ?, ?, ?)", (series, one, other, rule))
        if not self._db.execute("SELECT EXISTS(SELECT 1 FROM untold WHERE series = ?)", (series,)).fetchone()[0]:
            self.series -= {series}

    def forget(self, series: int, row: int) -> None:
        """Rows from this one on are not given up after all: they come again."""
        self.version += 1
        for table in ("dropped", "untold"):
            self._db.execute(f"DELETE FROM {table} WHERE series = ? AND first >= ?", (series, row))  # noqa: S608 # constants only
            query = f"UPDATE {table} SET last = ?2 - 1 WHERE series = ?1 AND last >= ?2"  # noqa: S608 # constants only
            self._db.execute(query, (series, row))

    def untold(self, series: int, most: int) -> list[tuple[int, int, str]]:
        """The first ranges that the bridge is still to be told of, and their rules."""
        query = "SELECT first, last, rule FROM untold WHERE series = ? ORDER BY first LIMIT ?"
        return [(first, last, rule) for first, last, rule in self._db.execute(query, (series, most))]

    def dropped(self, series: int | None = None, most: int = MOST) -> list[Dropped]:
        """The newest entries, oldest of them first; of all series if none is named."""
        query = "SELECT series, first, last, rule, at FROM dropped"
        query += " WHERE ?1 IS NULL OR series = ?1 ORDER BY id DESC LIMIT ?2"
        return [Dropped(*row) for row in reversed(self._db.execute(query, (series, most)).fetchall())]

    def rows(self, series: int) -> int:
        """How many rows of a series were given up, as far as entries are remembered."""
        query = "SELECT coalesce(sum(last - first + 1), 0) FROM dropped WHERE series = ?"
        return int(self._db.execute(query, (series,)).fetchone()[0])

    def _add_untold(self, series: int, first: int, last: int, rule: str) -> None:
        grown = self._db.execute(
            "UPDATE untold SET last = ?1 WHERE series = ?2 AND last = ?3 AND rule = ?4"
            " AND first = (SELECT max(first) FROM untold WHERE series = ?2 AND first <= ?3)",
            (last, series, first - 1, rule),
        )
        if not grown.rowcount:
            self._db.execute("INSERT OR REPLACE INTO untold VALUES(?, ?, ?, ?)", (series, first, last, rule))
        self.series |= {series}
