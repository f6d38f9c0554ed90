"""Rows on disk until somebody has said that they are safe elsewhere.

A *series* is one numbering (epoch) of one stream. Rows are kept as blobs of consecutive rows; a release may split a
blob, releasing twice is the same as once. The sequence of row numbers survives the release of the rows: no number is
ever given twice. All methods block and belong into one thread; `apply` takes many changes and commits once.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

from bridge.errors import StoreError
from bridge.store.age import Moment
from bridge.store.arrivals import Arrivals
from bridge.store.blobs import Blobs
from bridge.store.database import Broken, condemn, transaction, translated
from bridge.store.given_up import GivenUp
from bridge.store.lost import UNUSED, give_up_lost, give_up_to, rewind
from bridge.store.marked import Marked
from bridge.store.outbox_file import MARKS, marks_of, name_of, note, noted, open_outbox
from bridge.store.pieces import (
    OVERHEAD,
    Append,
    Change,
    Dropped,
    End,
    Limits,
    Piece,
    Release,
    Series,
    WhenFull,
    trim,
)
from bridge.store.promises import Promises, boot_id, forget, unclosed
from bridge.store.room import Room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = [
    "MARKS",
    "NOT_FINITE",
    "OVERHEAD",
    "Append",
    "Change",
    "Dropped",
    "End",
    "Limits",
    "Outbox",
    "Piece",
    "Release",
    "Series",
    "WhenFull",
]

NOT_FINITE = "not_finite"  # rule of numbers that were given to rows with a NaN or ∞


class Outbox:
    """Rows of all series of one agent, in one file.

    Attributes:
        store: random name of this file's life; a new file is a new numbering.
        given_up: the ledger of rows dropped by rule.
    """

    def __init__(self, path: Path, limits: Limits, *, tell: Callable[[str], None], boot: str | None = None) -> None:
        """Opens the file, or makes it.

        Args:
            path: the file.
            limits: how much is kept.
            tell: takes a sentence for the owner.
            boot: names this run of the kernel; None: as the kernel says.

        Raises:
            StoreError: it cannot be used.
        """
        self._path = path
        self._boot = boot_id() if boot is None else boot
        self._name = str(path)
        self._limits = limits
        self._next: dict[int, int] = {}  # of the series that the transaction appended to
        self._db: sqlite3.Connection = open_outbox(path, tell)
        try:
            self._take_up(tell)
        except Broken:  # of a file too large to be checked all through before it is used
            self._db.close()
            condemn(path)
            self._db = open_outbox(path, tell)
            self._take_up(tell)

    def _take_up(self, tell: Callable[[str], None]) -> None:
        with translated(self._name):
            self.store = name_of(self._db)
            self.given_up = GivenUp(self._db)
            self._blobs = Blobs(self._db)
        self._room = Room(self._db, self._limits, self._blobs, self.given_up)
        self._marks = Marked(self._db, marks_of(self._path), self.store)
        try:
            self._compare(tell)
            with translated(self._name):
                self._arrivals = Arrivals(self._db, self._blobs, self._marks)
                self._promises = Promises(self._db, self._marks, self._boot)
        except StoreError:
            self._marks.close()
            raise

    @property
    def bytes(self) -> int:
        """Rows kept, in bytes, as `Limits.max_bytes` counts them."""
        return self._blobs.bytes

    def close(self) -> None:
        """Closes the file; what was applied stays."""
        self._marks.close()
        with translated(self._name):
            with suppress(sqlite3.Error):  # a disk that refuses: what is reserved stays so
                self._promises.close()
            self._db.close()

    def begin(self, stream: str, epoch: str) -> Series:
        """The series of this stream and epoch, as it is or new."""
        with translated(self._name):
            self._db.execute("INSERT OR IGNORE INTO series(stream, epoch) VALUES(?, ?)", (stream, epoch))
        found = next(one for one in self.series() if (one.stream, one.epoch) == (stream, epoch))
        self._marks.begun(found)
        return found

    def promise(self, append: Append) -> int | None:
        """The number that the first of these rows will get: they may be sent under it before `apply` keeps them.

        `apply` must follow, with these rows before others of their series.

        Returns:
            None: they are to be kept first.
        """
        if append.skip or self.bytes + append.size > self._limits.max_bytes:
            return None
        return self._promises.make(append.series, len(append.values))

    def reserve(self, series: int) -> None:
        """Has numbers of a series ready for `promise`.

        Raises:
            StoreError: the disk refused; rows are kept before they are sent, then.
        """
        with translated(self._name):
            self._promises.reserve(series)

    def rewind(self, series: int) -> int | None:
        """For a source that can hand over its rows again: its next number goes back to the first row that was lost.

        To be called before anything is sent, else the bridge may have been told that these rows never come.

        Returns:
            That row; None if nothing was lost.
        """
        with translated(self._name):
            for _ in self._blobs.read(series, 0, 1 << 62):
                pass  # reading finds those that are damaged
        with self._changing():
            self._room.give_up_damaged(time.time())
            row = rewind(self._db, self._blobs, self.given_up, series)
        if row is not None:
            with translated(self._name):
                self.given_up.reload()
                self._marks.moved({series: row}, {series})
        return row

    def series(self) -> list[Series]:
        """All series, oldest first."""
        with translated(self._name):
            found = self._db.execute("SELECT id, stream, epoch, next, ended FROM series ORDER BY id").fetchall()
        return [Series(id_, stream, epoch, after, bool(ended)) for id_, stream, epoch, after, ended in found]

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes are taken now; an empty outbox takes anything, so that nothing waits for ever."""
        return self._limits.when_full != "refuse_new" or not self.bytes or self.bytes + size <= self._limits.max_bytes

    def apply(self, changes: Sequence[Change], now: float, wall: float | None = None) -> list[int | None]:
        """Commits all changes, in order, or none.

        Args:
            changes: what to do.
            now: seconds on the clock that ages are counted by, near seconds since 1970.
            wall: seconds since 1970, for the ledger; None: `now`.

        Returns:
            For each Append the number of its first row, else None.

        Raises:
            StoreError: nothing was changed; trying again later may help (a full disk).
        """
        with translated(self._name):
            first = self._arrivals.take(changes, now, most=self._limits.max_bytes)
        if first is not None:
            return [first]
        at = now if wall is None else wall
        with self._changing():
            numbers = [self._apply(change, now, at) for change in changes]
        with translated(self._name):
            self._marks.moved(self._next, {change.series for change in changes if isinstance(change, Release)})
        return numbers

    def make_room(self, now: float, wall: float | None = None) -> int:
        """Gives up a little by the rule for a full outbox, because the disk itself is full; returns the rows given up.

        Raises:
            StoreError: not even that finds room.
        """
        if self._limits.when_full == "refuse_new":
            return 0
        before = self.rows()
        with translated(self._name):
            self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()  # its space is used again
        with self._changing():
            self._room.make(now if wall is None else wall, 64 * 1024)
        return before - self.rows()

    def read(self, series: int, first: int, last: int) -> Iterator[Piece]:
        """What is still kept of rows `first`…`last`, in order; the caller bounds the range, so the memory."""
        with translated(self._name):
            yield from self._blobs.read(series, first, last)

    def next_kept(self, series: int, row: int) -> int | None:
        """The first row from `row` on that is kept."""
        with translated(self._name):
            return self._blobs.next_kept(series, row)

    def kept(self, series: int, most: int = 64) -> list[tuple[int, int]]:
        """Ranges of rows still kept, inclusive, the first `most` of them."""
        with translated(self._name):
            return self._blobs.kept(series, most)

    def holds(self, series: int) -> bool:
        """Whether the series has rows kept, or given up and not yet told."""
        return self.rows(series) > 0 or series in self.given_up.series

    def rows(self, series: int | None = None) -> int:
        """How many rows are kept, of one series or of all."""
        counts = self._blobs.counts
        return sum(counts.values()) if series is None else counts.get(series, 0)

    def dropped(self, series: int | None = None, most: int = 1 << 30) -> list[Dropped]:
        """The newest of what was given up by a rule, oldest first; neighbours under one rule are one range."""
        with translated(self._name):
            return self.given_up.dropped(series, most)

    def untold(self, series: int, most: int = 256) -> list[tuple[int, int, str]]:
        """Ranges given up of which the bridge has not said that it knows, and the rule, lowest first."""
        with translated(self._name):
            return self.given_up.untold(series, most)

    def expire(self, now: float, wall: float | None = None, most: int = 256) -> int:
        """Drops rows older than the limit, at most so many blobs, and those found damaged; gives free pages back.

        Args:
            now: as in `apply`.
            wall: as in `apply`.
            most: blobs.

        Returns:
            Rows dropped.
        """
        age, at = self._limits.max_age, now if wall is None else wall
        before = self.rows()
        with self._changing():
            self._room.give_up_damaged(at)
            if age is not None:
                self._room.drop_oldest("age", at, most, older_than=now - age)
        with translated(self._name):
            self._db.execute("PRAGMA incremental_vacuum(256)").fetchall()
        return before - self.rows()

    def moment(self) -> Moment | None:
        """What `note` noted last, else about when the newest rows came; None without rows."""
        with translated(self._name):
            found = noted(self._db)
            if found is not None:
                return found
            came = self._blobs.newest_came()
        return None if came is None else Moment.unknown(came)

    def note(self, moment: Moment) -> None:
        """Keeps this moment for the next start."""
        with translated(self._name):
            note(self._db, moment)

    def condemn(self) -> None:
        """Has the next start recover what it can, and begin a new file."""
        condemn(self._path)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """A transaction, after whose failure what is counted in memory is as before."""
        counted, counts, rotten = self.bytes, dict(self._blobs.counts), set(self._blobs.rotten)
        given_up = self.given_up.version
        self._next = {}
        try:
            with translated(self._name), transaction(self._db):
                yield
        except StoreError as why:
            self._blobs.bytes, self._blobs.counts = counted, counts
            self._blobs.rotten |= rotten
            if self.given_up.version != given_up and not isinstance(why, Broken):
                self.given_up.reload()
            raise

    def _apply(self, change: Change, now: float, at: float) -> int | None:
        if isinstance(change, Append):
            return self._append(change, now, at)
        if isinstance(change, End):
            self._db.execute("UPDATE series SET ended = 1 WHERE id = ?", (change.series,))
        elif change.rule is not None:
            self._room.give_up(change.series, change.first, change.last, change.rule, at)
        else:
            self._blobs.release(change)
            self.given_up.told(change.series, change.first, change.last)
        return None

    def _append(self, append: Append, now: float, at: float) -> int:
        if not self.has_room(append.size):
            raise StoreError(f"{self._name}: full ({self._limits.max_bytes} bytes), and the rule is to refuse new rows")
        if self.bytes + append.size > self._limits.max_bytes:
            self._room.make(at, self.bytes + append.size - self._limits.max_bytes)
        query = "UPDATE series SET next = next + ?, ended = 0 WHERE id = ? RETURNING next"
        after = self._db.execute(query, (append.skip + len(append.values), append.series)).fetchone()
        if after is None:
            raise StoreError(f"{self._name}: no series {append.series}")
        first = int(after[0]) - len(append.values)
        self._next[append.series] = int(after[0])
        if append.skip:
            self.given_up.record(append.series, first - append.skip, first - 1, NOT_FINITE, at)
        if not len(append.values):
            return first
        whole = Piece(first, np.ascontiguousarray(append.values, dtype="<f4"), append.t, append.dt)
        for start in range(first - first % append.align, first + len(append.values), append.align):
            self._blobs.insert(append.series, trim(whole, start, start + append.align - 1), now)
        return first

    def _compare(self, tell: Callable[[str], None]) -> None:
        """Rows that were given a number and are not in the file were lost with its newest commits."""
        with self._changing():
            marks = list(self._marks.earlier())
            said = give_up_lost(self._db, self.given_up, marks, time.time())
            marked = {mark.series for mark in marks if mark.store == self.store}
            for number, end in unclosed(self._db, self._boot, marked):
                give_up_to(self._db, self.given_up, (number, end), UNUSED, time.time())
            forget(self._db)
        for sentence in said:
            tell(f"{self._name}: {sentence}")
        found = self.series()
        with translated(self._name):
            self._marks.take_up(found)
