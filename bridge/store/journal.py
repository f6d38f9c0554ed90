"""What the bridge has acknowledged and not yet answered, on disk: taken up again after `kill -9`.

One commit a turn of the pipeline. Kept are the rows that unfinished windows still need, how far each series was cut,
the windows that wait for an answer, what was decided and not yet taken by the broker. A Result that depends on more
than its input (was the cloud there?) is committed before it is published, so that a restart says the same again.

The table `turns` is a log: a commit appends what its turn changed as one record, whatever number of series that is,
and takes records away at the other end; `Index` says which. What holds after a restart are all records in their order.
Large records, those of turns of many messages, lie in files beside the database (`Segments`).
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec

from bridge.errors import StoreError
from bridge.store.conversion import SCHEMA, VERSION, checksum, convert
from bridge.store.database import RECOVERED, SEGMENT, Broken, condemn, open_database, transaction, translated
from bridge.store.journal_reading import decoded, fetched, index_of, saved_of
from bridge.store.journal_recovery import recover
from bridge.store.mark import Mark
from bridge.store.records import Changes, Saved, encode
from bridge.store.segments import Segments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bridge.store.index import Index

_DECIDED = 65_536  # decided whole windows remembered
SETTLES = 1 << 22  # bytes of large records after which the log goes into the database: as SQLite does of small ones
MARK = ".mark"  # beside the journal
_T = TypeVar("_T")


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
        tell: takes a sentence for the owner, when a damaged file had to be set aside, or the file is gone.
        later: a file that is never begun before the journal: where it is there, so was a journal.
        mend: False: a damaged file is left as it is, and told by `Broken`.

    Attributes:
        recovered: it was damaged, or gone: what the last process did may have been forgotten.

    Raises:
        StoreError: the file cannot be used.
    """

    def __init__(
        self, path: Path, tell: Callable[[str], None], *, later: Path | None = None, mend: bool = True
    ) -> None:
        self._path = path
        self._mend = mend
        self._tell_owner = tell
        self.recovered = False
        self._index: Index | None = None
        self._gone = 0  # number of the youngest record taken away
        self._lock = threading.Lock()  # closing it under a commit that hangs would crash the interpreter
        new = not any(path.with_name(path.name + suffix).exists() for suffix in ("", RECOVERED))
        if new and (left := _left_behind(path, later)):
            self._tell(
                f"{path}: gone, though {left}; a new one begins: rows that were acknowledged and unfinished "
                "windows need, open questions and Results not sent are lost, and it is not known which rows came"
            )
        self._db = self._open(new=new)
        self._shut = False  # for recovery, which did not come to its end

    def load(self) -> Saved:
        """Everything kept; the rows of a series in their order. A damaged file is set aside, and recovered.

        Raises:
            StoreError: it cannot be read, or what could be recovered cannot be written; it may be tried again.
        """
        with self._lock:
            self._index, saved = self._read(self._all)
        return saved

    def _tell(self, what: str) -> None:
        """Nothing but recovery, and a loss, has anything to tell."""
        self.recovered = True
        self._tell_owner(what)

    def _all(self) -> tuple[Index, Saved]:
        index = index_of(self._db, self._segments)
        return index, saved_of(self._db, self._segments, index)

    def _open(self, *, new: bool = False) -> sqlite3.Connection:
        try:
            return self._opened(new=new)
        except Broken as why:
            if not self._mend:
                raise
            condemn(self._path, str(why))
            return self._opened()

    def _opened(self, *, new: bool = False) -> sqlite3.Connection:
        name = str(self._path)
        mark = _mark_of(self._path, new=new)
        newest = mark.get()
        mark.close()
        segments = Segments(self._path)
        again = partial(recover, segments=segments, mark=newest)
        db = open_database(
            self._path, SCHEMA, version=VERSION, tell=self._tell, convert=convert, recover=again, mend=self._mend
        )
        try:
            with translated(name):
                db.execute("PRAGMA secure_delete = OFF")  # Debian's is on: each page freed written once more
                last = int(db.execute("SELECT max(n) FROM turns").fetchone()[0] or 0)
            if last < newest:
                raise Broken(f"{name}: its newest commits are lost: it ends at record {last} of {newest}")
        except StoreError:
            db.close()
            raise
        self._mark = mark
        self._segments = Segments(self._path)
        return db

    def _read(self, read: Callable[[], _T]) -> _T:
        """What is read; after recovery, if a record turns out to be damaged."""
        if not self._shut:
            try:
                with self._translated():
                    return read()
            except Broken as why:
                if not self._mend:
                    raise
                condemn(self._path, str(why))
                self._db.close()
                self._mark.close()
                self._shut = True
        self._db = self._open()
        self._shut = False
        with self._translated():
            return read()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with translated(str(self._path)):
            try:
                yield
            except Broken as why:  # a record: it does not know whose it is
                raise Broken(f"{self._path}: {why}") from why

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
            with self._lock:
                self._index = self._read(lambda: index_of(self._db, self._segments))
        worth = self._index.worth(changes)
        return Record(worth, encode(worth), changes.decided) if worth or changes.decided else None

    def write(self, record: Record) -> None:
        """Write what was prepared, all or nothing; it may be tried again, but no other record may come between.

        Raises:
            StoreError: the disk or the database refused; nothing was changed. `Broken`: it is damaged, which the next
            start recovers.
        """
        index = self._index
        assert index is not None  # noqa: S101 # the record was prepared with it
        try:
            with self._lock, self._translated():
                added, gone = self._append(index, record)
                self._mark.set(added[-1][0])
        except Broken as why:
            condemn(self._path, str(why))  # the next start recovers it
            raise
        record.added, record.gone = added, gone

    def _append(self, index: Index, record: Record) -> tuple[list[tuple[int, Changes]], list[int]]:
        gone, moved = self._oldest(index, len(record.body))
        added = list(enumerate([*moved, record.worth], index.last + 1))
        bodies = [*map(encode, moved), record.body]
        numbered = [(n, body) for (n, _), body in zip(added, bodies, strict=True)]
        stored = self._segments.put(numbered)
        rows = [(n, one, checksum(n, body)) for (n, body), one in zip(numbered, stored, strict=True)]
        with transaction(self._db):
            self._db.executemany("INSERT INTO turns VALUES (?, ?, ?)", rows)
            if gone:
                self._db.execute("DELETE FROM turns WHERE n <= ?", (gone[-1],))
            if record.decided:
                self._remember(record.decided)
        self._segments.keep()
        self._gone = gone[-1] if gone else self._gone
        if self._segments.since >= SETTLES:
            self._settle()
        return added, gone

    def _settle(self) -> None:
        """Bring the write-ahead log into the database: what a damage to the log costs stays bounded; then files may go.

        What was committed is safe also where the disk refuses that.
        """
        with suppress(sqlite3.Error):
            busy, log, done = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if not busy and log == done:
                self._segments.drop(self._gone)

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
                found = self._db.execute("SELECT body, crc FROM turns WHERE n = ?", (number,)).fetchone()
                if found is None:
                    raise Broken(f"record {number} is gone")
                stored, crc = found
                moved.append(index.still(number, decoded(number, fetched(number, stored, self._segments), crc)))
        return gone, moved

    def _remember(self, decided: list[str]) -> None:
        self._db.executemany("INSERT OR IGNORE INTO decided (id) VALUES (?)", [(window,) for window in decided])
        self._db.execute("DELETE FROM decided WHERE n <= (SELECT max(n) FROM decided) - ?", (_DECIDED,))

    def close(self) -> None:
        """Close the file.

        Raises:
            StoreError: the last checkpoint failed; what was committed is safe all the same.
        """
        with self._lock, translated(str(self._path)):
            self._mark.close()
            self._segments.close()
            try:
                self._db.close()
            except sqlite3.ProgrammingError:
                return


def _left_behind(path: Path, later: Path | None) -> str:
    """What shows that there was a journal that had records; "" where nothing does."""
    mark = Mark(path.with_name(path.name + MARK))
    newest = mark.get()
    mark.close()
    if newest:
        return f"{path.name}{MARK} says that it went up to record {newest}"
    beside = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    segments = [one for one in beside if one.name.startswith(path.name + SEGMENT)]
    others = (path.with_name(path.name + "-wal"), *segments, later)
    return next((f"{one.name} is there" for one in others if one and one.exists() and one.stat().st_size), "")


def _mark_of(path: Path, *, new: bool) -> Mark:
    mark = Mark(path.with_name(path.name + MARK))
    if new:  # somebody moved the journal away
        mark.set(0)
    return mark
