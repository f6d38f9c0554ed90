"""Large records of a store, in files of their own beside its database.

SQLite writes each page of a record into its log and then into the database, so that from some 64 KiB on a file takes a
record for less (https://www.sqlite.org/intern-v-extern-blob.html); the database holds where it is. A record is on the
disk before the database speaks of it: whatever the database does not speak of is void, and may be overwritten.

The records go from the oldest on, and files go with them. One of those is used again: where nothing has to be
allocated, a sync does not wait for the file system's own log (PostgreSQL recycles its write-ahead log so).
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from bridge.store.database import SEGMENT, Broken, refused, sync

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LARGE = 1 << 16  # bytes of a record from which on a file and its sync cost less than SQLite's pages
FULL = 1 << 23  # bytes after which a file takes no more records
_SPARE = "spare"
Stored: TypeAlias = bytes | str  # what the database holds: a record, or the place of a large one


class Segments:
    """The files of one database: `NAME.segment-N` begins with record N.

    Args:
        path: the database.

    Attributes:
        since: bytes that the database has come to speak of since the last `drop`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._firsts: set[int] = set()  # of each file in use, the number of its first record
        self._looked = False  # for files that nobody speaks of
        self._file = -1
        self._first = 0
        self._end = self._offered = self.since = 0

    def put(self, records: Sequence[tuple[int, bytes]]) -> list[Stored]:
        """Make the large ones of these records durable; all records that there are must have been read before.

        Args:
            records: number and bytes of each; what was put since the last `keep` is overwritten.

        Returns:
            What the database is to hold of each.

        Raises:
            StoreError: the disk refused; nothing was changed.
        """
        if all(len(body) < LARGE for _, body in records):
            return [body for _, body in records]
        try:
            return self._put(records)
        except OSError as why:
            self.close()  # what a failed sync left in it, nobody knows: the next record begins another
            raise refused(f"{self._name(self._first)}: cannot be written", why) from why

    def keep(self) -> None:
        """The database speaks of what was put."""
        self.since += self._offered - self._end
        self._end = self._offered

    def read(self, place: str) -> bytes:
        """The record at a place that `put` returned.

        Raises:
            Broken: there is none, or the disk does not read it.
            StoreError: it cannot be read for now.
        """
        numbers = place.split(":")
        if len(numbers) != 3 or not all(one.isascii() and one.isdigit() and len(one) < 19 for one in numbers):
            raise Broken(f"no place of a record: {place[:64]!r}")
        first, at, size = map(int, numbers)
        name = self._name(first)
        try:
            file = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                body = os.pread(file, size, at) if at + size <= name.stat().st_size else b""
            finally:
                os.close(file)
        except FileNotFoundError as why:
            raise Broken(f"{name.name} is gone") from why
        except OSError as why:
            if why.errno == errno.EIO:
                raise Broken(f"{name.name} cannot be read: {why.strerror}") from why
            raise refused(f"{name}: cannot be read", why) from why
        if len(body) < size:
            raise Broken(f"{name.name} ends before it")
        self._firsts.add(first)
        return body

    def drop(self, last: int) -> None:
        """Let files go all of whose records are void: those up to this one, as the database itself has it on the disk.

        What its write-ahead log alone says is not enough: should that be damaged, the database would speak of them.
        """
        self.since = 0
        for first, following in pairwise(sorted(self._firsts)):
            if following > last + 1:
                return
            self._firsts.remove(first)
            with suppress(OSError):  # the next process finds what stays
                self._retire(self._name(first))

    def close(self) -> None:
        """Close the file that is written; what was kept of it is on the disk."""
        file, self._file = self._file, -1
        if file >= 0:
            with suppress(OSError):  # its number is free all the same
                os.close(file)

    def _retire(self, file: Path) -> None:
        if file.stat().st_size > 2 * FULL:
            file.unlink()
        else:
            file.rename(self._name(_SPARE))

    def _put(self, records: Sequence[tuple[int, bytes]]) -> list[Stored]:
        if self._end >= FULL:
            self.close()
        stored: list[Stored] = []
        at = self._end
        for n, body in records:
            if len(body) < LARGE:
                stored.append(body)
                continue
            if self._file < 0:
                at = 0
                self._begin(n)
            stored.append(f"{self._first}:{at}:{len(body)}")
            left = memoryview(body)
            while left:
                written = os.pwrite(self._file, left, at)
                left, at = left[written:], at + written
        os.fdatasync(self._file) if hasattr(os, "fdatasync") else os.fsync(self._file)
        self._offered = at
        return stored

    def _begin(self, n: int) -> None:
        """Write to the file of that record from now on: one that a failure left, the spare one, or a new one."""
        name = self._name(n)
        self._first, self._end = n, 0
        if not self._looked:
            self._remove_others()
        self._firsts = {first for first in self._firsts if first < n} | {n}  # others are of a commit that failed
        if not name.exists():
            with suppress(FileNotFoundError):
                self._name(_SPARE).rename(name)
        self._file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        sync(self._path.parent)

    def _remove_others(self) -> None:
        """Files that a crash, or another database of this name, left; one that will not go takes room, no more."""
        begin = self._path.name + SEGMENT
        for one in self._path.parent.iterdir():
            number = one.name.removeprefix(begin)
            if one.name != number and number.isdecimal() and int(number) not in self._firsts:
                with suppress(OSError):
                    one.unlink()
        self._looked = True

    def _name(self, which: int | str) -> Path:
        return self._path.with_name(f"{self._path.name}{SEGMENT}{which}")
