"""What the bridge has acknowledged and not yet answered, on disk: taken up again after `kill -9`.

One commit a turn of the pipeline. Kept are the rows that unfinished windows still need, how far each series was cut,
the windows that wait for an answer, what was decided and not yet taken by the broker. A Result that depends on more
than its input (was the cloud there?) is committed before it is published, so that a restart says the same again.

The table `turns` is a log: a commit appends what its turn changed as one record, whatever number of series that is,
and takes records away at the other end; `Index` says which. What holds after a restart are all records in their order.
"""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING

import msgspec

from bridge.store.conversion import SCHEMA, VERSION, convert
from bridge.store.database import Broken, open_database, transaction, translated
from bridge.store.index import Index
from bridge.store.records import Changes, Saved, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_DECIDED = 65_536  # decided whole windows remembered


class Record(msgspec.Struct, eq=False):
    """Changes on their way to the disk.

    Attributes:
        worth: what of them is kept.
        body: the same as bytes.
        decided: ids of whole windows that must not be decided anew.
        added: numbers and contents of the records that the write made.
        gone: numbers of the records that it took away.
    """

    worth: Changes
    body: bytes
    decided: list[str]
    added: list[tuple[int, Changes]] = []
    gone: list[int] = []


class Journal:
    """The bridge's journal. All but `prepare` and `done` block on the disk: call them from worker threads.

    A commit has three parts, so that the one in a worker thread, `write`, has little to do but to wait: the event loop
    would have to take turns at Python's lock with it, and data would move between cores.

    Args:
        path: the database file.
        tell: takes a sentence for the owner, when a damaged file had to be set aside.

    Raises:
        StoreError: the file cannot be used.
    """

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        self._path = path
        self._db = open_database(path, SCHEMA, version=VERSION, tell=tell, convert=convert)
        with translated(str(path)):
            self._db.execute("PRAGMA secure_delete = OFF")  # Debian's is on: each page freed written once more
        self._index: Index | None = None
        self._lock = threading.Lock()  # closing it under a commit that hangs would crash the interpreter

    def load(self) -> Saved:
        """Everything kept; the rows of a series in their order.

        Raises:
            StoreError: it cannot be read.
        """
        with self._lock, translated(str(self._path)):
            index = self._index = self._read_index()
            series, rows, asked, results = {}, {}, {}, {}
            for number, held in self._records():  # read twice: what is void need not be in memory all at once
                still = index.still(number, held)
                series.update({one.key: one for one in still.series})
                rows.update({(one.key, one.first): one for one in still.rows})
                asked.update({one.id: one for one in still.asked})
                results.update({one.result.id: one for one in still.results})
            decided = [window for (window,) in self._db.execute("SELECT id FROM decided ORDER BY n")]
        in_order = sorted(rows.values(), key=lambda one: one.first)
        return Saved(list(series.values()), in_order, list(asked.values()), list(results.values()), decided)

    def commit(self, changes: Changes) -> None:
        """Make changes durable, all or none: `prepare`, `write` and `done`.

        Raises:
            StoreError: the disk or the database refused; nothing was changed.
        """
        record = self.prepare(changes)
        if record is not None:
            self.write(record)
            self.done(record)

    def prepare(self, changes: Changes) -> Record | None:
        """What is to be written for these changes; None if nothing. Does not block once `load` was called.

        Raises:
            StoreError: the journal, not loaded before, cannot be read.
        """
        if self._index is None:
            with self._lock, translated(str(self._path)):
                self._index = self._read_index()
        worth = self._index.worth(changes)
        return Record(worth, encode(worth), changes.decided) if worth or changes.decided else None

    def write(self, record: Record) -> None:
        """Write what was prepared, all or nothing; it may be tried again, but no other record may come between.

        Raises:
            StoreError: the disk or the database refused; nothing was changed.
        """
        index = self._index
        assert index is not None  # noqa: S101 # the record was prepared with it
        with self._lock, translated(str(self._path)):
            gone, moved = self._oldest(index, len(record.body))
            added = list(enumerate([*moved, record.worth], index.last + 1))
            bodies = [*map(encode, moved), record.body]
            with transaction(self._db):
                self._db.executemany(
                    "INSERT INTO turns VALUES (?, ?)", [(n, it) for (n, _), it in zip(added, bodies, strict=True)]
                )
                if gone:
                    self._db.execute("DELETE FROM turns WHERE n <= ?", (gone[-1],))
                if record.decided:
                    self._remember(record.decided)
        record.added, record.gone = added, gone

    def done(self, record: Record) -> None:
        """Take note of what was written."""
        index = self._index
        assert index is not None  # noqa: S101 # the record was prepared with it
        for number, held in record.added:
            index.add(number, held)
        index.drop(record.gone)

    def _oldest(self, index: Index, weight: int) -> tuple[list[int], list[Changes]]:
        """Records to take away, and what of them is to be written anew."""
        gone, moved = [], []
        for number, needed in index.movable(weight):
            gone.append(number)
            if needed:
                (body,) = self._db.execute("SELECT body FROM turns WHERE n = ?", (number,)).fetchone()
                moved.append(index.still(number, self._decode(number, body)))
        return gone, moved

    def _remember(self, decided: list[str]) -> None:
        self._db.executemany("INSERT OR IGNORE INTO decided (id) VALUES (?)", [(window,) for window in decided])
        self._db.execute("DELETE FROM decided WHERE n <= (SELECT max(n) FROM decided) - ?", (_DECIDED,))

    def _read_index(self) -> Index:
        index = Index()
        for number, held in self._records():
            index.add(number, held)
        return index

    def _records(self) -> Iterator[tuple[int, Changes]]:
        for number, body in self._db.execute("SELECT n, body FROM turns ORDER BY n"):
            yield number, self._decode(number, body)

    def _decode(self, number: int, body: bytes) -> Changes:
        try:
            return decode(body)
        except msgspec.DecodeError as why:
            raise Broken(f"{self._path}: record {number} is damaged ({why}); move the file away to begin anew") from why

    def close(self) -> None:
        """Close the file.

        Raises:
            StoreError: the last checkpoint failed; what was committed is safe all the same.
        """
        with self._lock, translated(str(self._path)):
            try:
                self._db.close()
            except sqlite3.ProgrammingError:
                return
