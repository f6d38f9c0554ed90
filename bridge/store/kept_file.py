"""The file of published Results: a log in SQLite, bounded by age and bytes, read in chunks.

A record holds what one turn published. Neighbouring records form blocks, known in memory: what goes, goes by blocks,
the oldest first, and what is read again is read a block at a time. Nothing of a Result is looked at here.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bridge.errors import StoreError
from bridge.store.database import Broken, condemn, open_database, transaction, translated
from bridge.store.kept_record import SCHEMA, VERSION, convert, packed, recover, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bridge.store.kept_record import Row

BLOCK = 131_072  # bytes after which a block is closed
SPAN = 5.0  # seconds after which it is, too
_WHOLE = 65_536  # ids of whole windows that a start reads, the newest
_ROW = 64  # bytes of a record beside its Results, roughly

_INCOMPLETE = "INSERT INTO incomplete SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM incomplete)"


class Entry(NamedTuple):
    """A Result as it was published.

    Attributes:
        n: number of its record.
        t: seconds since 1970 of its publication.
        topic: where to.
        payload: its bytes.
    """

    n: int
    t: float
    topic: str
    payload: bytes


class Written(NamedTuple):
    """A record to be written.

    Attributes:
        n: its number, above all earlier ones.
        t: seconds since 1970 of the publication.
        at: the same on the monotonic clock.
        whole: ids of whole windows among them.
        items: topic and payload of each Result.
    """

    n: int
    t: float
    at: float
    whole: Sequence[str]
    items: Sequence[tuple[str, bytes]]


class Query(NamedTuple):
    """Which Results are to be read.

    Attributes:
        after: records with higher numbers only.
        until: records up to this number only.
        since: published at this time (seconds since 1970) or later.
        at: the same by the monotonic clock, roughly: a block is read as a whole.
        wanted: whether a Result of this topic in the record of this number is wanted; called in a worker thread.
    """

    after: int = 0
    until: int = 1 << 62
    since: float = float("-inf")
    at: float = float("-inf")
    wanted: Callable[[str, int], bool] | None = None


class _Block(msgspec.Struct, eq=False, gc=False):
    """Neighbouring records: first and last number, first and last time of making, greatest `t`."""

    first: int
    last: int
    begun: float
    at: float
    t: float
    size: int


class KeptFile:
    """The file. All of it blocks on the disk; used by one thread at a time.

    Args:
        path: the file.
        tell: takes a sentence for the owner when a damaged file was set aside, or a record is damaged.
        age: seconds for which Results are kept, by the monotonic clock as far as this process knows.
        size: bytes of Results that are kept; the newest record always is.
        now: monotonic seconds.
        wall: the same in seconds since 1970.

    Attributes:
        last: number of the newest record; 0 when there never was one.
        latest: monotonic seconds at which it was made; before `now` for those of an earlier process.
        unheard: number of the first record of which Results may have reached nobody; None if there is none.
        incomplete: Results that were kept once are not any more: by age, by size, or because of damage.

    Raises:
        StoreError: the file cannot be used.
    """

    def __init__(
        self, path: Path, tell: Callable[[str], None], *, age: float, size: int, now: float, wall: float
    ) -> None:
        self._path = path
        self._tell_owner = tell
        self.incomplete = False
        self._age = age
        self._most = size
        self.last = 0
        self._open(now, wall)

    def _open(self, now: float, wall: float) -> None:
        try:
            self._take_up(now, wall)
        except Broken as why:  # of a file too large to be checked all through before it is used, or of what is in it
            condemn(self._path, str(why))
            self._take_up(now, wall)

    def _take_up(self, now: float, wall: float) -> None:
        self._db = open_database(self._path, SCHEMA, version=VERSION, tell=self._tell, convert=convert, recover=recover)
        try:
            self._read_blocks(now, wall)
        except StoreError:
            self._db.close()
            raise

    def _read_blocks(self, now: float, wall: float) -> None:
        self._blocks: list[_Block] = []
        self._size = 0
        self.unheard: int | None = None
        with translated(str(self._path)):
            self._db.execute("PRAGMA secure_delete = OFF")  # Debian's is on: each page freed written once more
            for n, t, size in self._db.execute("SELECT n, t, length(body) FROM results ORDER BY n"):
                if not isinstance(t, float) or not isinstance(size, int):
                    raise Broken(f"{self._path}: record {n} is damaged")
                self._note(n, t, now - max(0.0, wall - t), size + _ROW)
            told = self._db.execute("SELECT since FROM unheard").fetchone()
            if self._db.execute("SELECT yes FROM incomplete").fetchone() is not None:
                self.incomplete = True
            elif self.incomplete:  # just set aside
                self._db.execute(_INCOMPLETE)
        since = None if told is None else told[0]
        if isinstance(since, int) and self._blocks and since <= self._blocks[-1].last:
            self.unheard = since
        self.latest = self._blocks[-1].at if self._blocks else now

    def reopen(self, now: float, wall: float) -> None:
        """Close and open it; set aside if it is damaged.

        Raises:
            StoreError: it cannot be used.
        """
        self.close()
        self._open(now, wall)

    @property
    def size(self) -> int:
        """Bytes of the Results kept, and what belongs to them."""
        return self._size

    def whole(self) -> dict[str, int]:
        """Ids of the newest whole windows kept, oldest first, each with the number of its record.

        Raises:
            StoreError: it cannot be read.
        """
        found: dict[str, int] = {}
        with translated(str(self._path)):
            newest = self._db.execute("SELECT n, whole FROM results WHERE whole IS NOT NULL ORDER BY n DESC")
            for n, names in newest:
                for name in reversed(str(names).split()):
                    found.setdefault(name, n)
                if len(found) >= _WHOLE:
                    break
            newest.close()
        return dict(reversed(list(found.items())[:_WHOLE]))

    def write(self, records: Sequence[Written], now: float) -> None:
        """Append records in one commit, and drop what is over age or size, all or nothing.

        Raises:
            StoreError: the disk or the database refused; nothing was changed.
        """
        rows = [packed(one.n, one.t, "\n".join(one.whole) or None, one.items) for one in records]
        sizes = [len(row[3]) + _ROW for row in rows]
        gone = self._over(now, sum(sizes))
        with translated(str(self._path)):
            if len(rows) == 1 and not gone:  # a statement alone is a transaction, and Python's lock is taken once
                self._db.execute("INSERT INTO results VALUES (?, ?, ?, ?, ?)", rows[0])
            else:
                with transaction(self._db):
                    self._db.executemany("INSERT INTO results VALUES (?, ?, ?, ?, ?)", rows)
                    self._delete(gone)
        self._dropped(gone)
        for one, size in zip(records, sizes, strict=True):
            self._note(one.n, one.t, one.at, size)

    def trim(self, now: float) -> None:
        """Drop what is over age.

        Raises:
            StoreError: the disk or the database refused; nothing was changed.
        """
        gone = self._over(now, 0)
        if gone:
            with translated(str(self._path)), transaction(self._db):
                self._delete(gone)
            self._dropped(gone)

    def note_unheard(self, since: int | None) -> None:
        """Keep the number of the first record of which Results may have reached nobody.

        Raises:
            StoreError: the disk or the database refused; nothing was changed.
        """
        with translated(str(self._path)), transaction(self._db):
            self._db.execute("DELETE FROM unheard")
            if since is not None:
                self._db.execute("INSERT INTO unheard VALUES (?)", (since,))
        self.unheard = since

    def note_incomplete(self) -> None:
        """Remember that what is kept is not all that was answered.

        Raises:
            StoreError: the disk or the database refused; nothing was changed.
        """
        with translated(str(self._path)):
            self._db.execute(_INCOMPLETE)
        self.incomplete = True

    def read(self, query: Query) -> tuple[list[Entry], int] | None:
        """Results of the next block that may have some.

        Returns:
            The Results, oldest first, and the number to go on after; None when there are no more.

        Raises:
            StoreError: it cannot be read.
        """
        blocks = self._blocks
        for i in range(bisect_right(blocks, query.after, key=attrgetter("last")), len(blocks)):
            block = blocks[i]
            if block.first > query.until:
                return None
            if block.at >= query.at and block.t >= query.since:
                last = min(block.last, query.until)
                try:
                    return list(self._entries(max(block.first - 1, query.after), last, query)), last
                except Broken as why:
                    condemn(self._path, str(why))  # the next time it is opened it is recovered
                    raise
        return None

    def _entries(self, after: int, last: int, query: Query) -> Iterator[Entry]:
        wanted = query.wanted
        with translated(str(self._path)):
            rows = self._db.execute(
                "SELECT n, t, whole, body, crc FROM results WHERE n > ? AND n <= ? AND t >= ? ORDER BY n",
                (after, last, query.since),
            )
            for row in rows:
                n, t = row[:2]
                for topic, payload in self._items(row):
                    if wanted is None or wanted(topic, n):
                        yield Entry(n, t, topic, payload)

    def _items(self, row: Row) -> list[tuple[str, bytes]]:
        try:
            return unpacked(row)
        except Broken as why:
            self._tell(f"{self._path}: {why}: its Results cannot be published again")
            return []

    def _tell(self, what: str) -> None:
        """Tell the owner what is damaged."""
        self.incomplete = True
        self._tell_owner(what)

    def _over(self, now: float, more: int) -> list[_Block]:
        """Blocks that go when so many bytes are added: those over age, and as many as make room."""
        gone: list[_Block] = []
        size = self._size + more
        for block in self._blocks:
            if size <= self._most and block.at >= now - self._age:
                break
            gone.append(block)
            size -= block.size
        return gone

    def _delete(self, gone: list[_Block]) -> None:
        if gone:
            self._db.execute("DELETE FROM results WHERE n <= ?", (gone[-1].last,))
            self._db.execute(_INCOMPLETE)

    def _dropped(self, gone: list[_Block]) -> None:
        del self._blocks[: len(gone)]
        self.incomplete = self.incomplete or bool(gone)
        self._size -= sum(block.size for block in gone)

    def _note(self, n: int, t: float, at: float, size: int) -> None:
        self.last, self.latest = max(n, self.last), at
        self._size += size
        block = self._blocks[-1] if self._blocks else None
        if block is None or block.size >= BLOCK or at - block.begun >= SPAN:
            self._blocks.append(_Block(n, n, at, at, t, size))
        else:
            block.last, block.at, block.t, block.size = n, max(at, block.at), max(t, block.t), block.size + size

    def close(self) -> None:
        """Close the file.

        Raises:
            StoreError: the last checkpoint failed; what was committed is safe all the same.
        """
        with translated(str(self._path)):
            try:
                self._db.close()
            except sqlite3.ProgrammingError:
                return
