"""apsw's Connection behind the part of `sqlite3` that the stores use, with its exceptions.

apsw brings an SQLite of its own, so a VFS made with it is not seen by the standard library's `sqlite3`.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import apsw

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_SETS = re.compile(r"\s*PRAGMA\s+(\w+)\s*=", re.IGNORECASE)
_READS = re.compile(r"\s*SELECT\b", re.IGNORECASE)
_CHANGES = re.compile(r"\s*(INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)
# As in CPython's Modules/_sqlite/util.c; the rest is a DatabaseError.
_RAISED: dict[type[sqlite3.Error], list[int]] = {
    sqlite3.InternalError: [apsw.SQLITE_INTERNAL, apsw.SQLITE_NOTFOUND],
    sqlite3.OperationalError: [
        apsw.SQLITE_ERROR, apsw.SQLITE_PERM, apsw.SQLITE_ABORT, apsw.SQLITE_BUSY, apsw.SQLITE_LOCKED,
        apsw.SQLITE_READONLY, apsw.SQLITE_INTERRUPT, apsw.SQLITE_IOERR, apsw.SQLITE_FULL, apsw.SQLITE_CANTOPEN,
        apsw.SQLITE_PROTOCOL, apsw.SQLITE_EMPTY, apsw.SQLITE_SCHEMA,
    ],
    sqlite3.DataError: [apsw.SQLITE_TOOBIG],
    sqlite3.IntegrityError: [apsw.SQLITE_CONSTRAINT, apsw.SQLITE_MISMATCH],
    sqlite3.InterfaceError: [apsw.SQLITE_MISUSE, apsw.SQLITE_RANGE],
}  # fmt: skip
_CLASSES = {code: kind for kind, codes in _RAISED.items() for code in codes}


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (apsw.ConnectionClosedError, apsw.BindingsError) as why:
        raise sqlite3.ProgrammingError(str(why)) from why
    except apsw.Error as why:
        code = getattr(why, "result", apsw.SQLITE_ERROR)
        raised = _CLASSES.get(code, sqlite3.DatabaseError)(str(why))
        raised.sqlite_errorcode = getattr(why, "extendedresult", code)
        raise raised from why


def _fetched(rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    with _translated():
        yield from rows


class Cursor:
    """What a statement gave: a SELECT's rows as they are asked for, any other's have been fetched."""

    def __init__(self, rows: Iterator[tuple[Any, ...]], rowcount: int, lastrowid: int) -> None:
        self._rows = rows
        self.lastrowid = lastrowid
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self._rows

    def fetchone(self) -> tuple[Any, ...] | None:
        return next(self._rows, None)

    def close(self) -> None:
        self._rows = iter(())

    def fetchall(self) -> list[tuple[Any, ...]]:
        return list(self._rows)


class Connection:
    """A `sqlite3.Connection` in autocommit mode.

    Args:
        path: the database.
        vfs: name of the VFS it lies on.
        forced: pragmas that have this value whatever is asked for.
    """

    def __init__(self, path: str, vfs: str, timeout: float, forced: Mapping[str, str | int]) -> None:
        self._forced = forced
        with _translated():
            self._db = apsw.Connection(path, vfs=vfs)
            self._db.set_busy_timeout(round(timeout * 1000))
        for name in {"temp_store", "wal_autocheckpoint"} & set(forced):  # that the stores do not set
            self.execute(f"PRAGMA {name} = 0")

    @property
    def in_transaction(self) -> bool:
        return not self._db.get_autocommit()

    @property
    def total_changes(self) -> int:
        return self._db.total_changes()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Cursor:
        return self.executemany(sql, [parameters])

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> Cursor:
        pragma = _SETS.match(sql)
        if pragma and pragma[1].lower() in self._forced:
            sql = f"PRAGMA {pragma[1]} = {self._forced[pragma[1].lower()]}"
        with _translated():
            before = self._db.total_changes()
            rows = self._db.executemany(sql, (tuple(one) for one in parameters))
            if _READS.match(sql):
                return Cursor(_fetched(rows), -1, self._db.last_insert_rowid())
            everything = iter(rows.fetchall())
            count = self._db.total_changes() - before if _CHANGES.match(sql) else -1
            return Cursor(everything, count, self._db.last_insert_rowid())

    def commit(self) -> None:
        if self.in_transaction:
            self.execute("COMMIT")

    def rollback(self) -> None:
        if self.in_transaction:
            self.execute("ROLLBACK")

    def close(self) -> None:
        with _translated():
            self._db.close(True)


def stand_in(vfs: str, forced: Mapping[str, str | int], opened: list[Connection]) -> ModuleType:
    """The module `sqlite3`, but that its databases lie on this VFS; `opened` gets each connection."""

    def connect(path: object, timeout: float = 5.0, **options: Any) -> Connection:
        assert options.get("isolation_level", "") is None, "the stores leave no transaction to sqlite3"
        opened.append(Connection(str(path), vfs, timeout, forced))
        return opened[-1]

    module = ModuleType("sqlite3")
    module.__dict__.update(vars(sqlite3))
    module.__dict__["connect"] = connect
    return module
