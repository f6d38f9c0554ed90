"""Numbers under which rows may be sent before they are kept.

A number that was sent must never be given to other rows: the bridge would take those for known. After a kill the marks
tell how far numbers were given (`marks.py`), for what a process wrote is there, fsync or not. After a power loss they
may not; so numbers are reserved in the outbox itself, durably, and after a boot in whose predecessor the outbox was
not closed all that are reserved count as given.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bridge.store.database import Broken

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator, Mapping

    from bridge.store.marked import Marked

RESERVED = 1_024  # numbers at once
_ALL = "SELECT key, value FROM meta WHERE key LIKE ?"
_KEY = "reserved "  # and the number of the series; the value: number after the last reserved one, and the boot


def boot_id(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """Names this run of the kernel; "" where nothing does."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


class Promises:
    """See the module.

    Args:
        db: the outbox.
        marks: know the next number of each series.
        boot: as `boot_id` says.
    """

    def __init__(self, db: sqlite3.Connection, marks: Marked, boot: str) -> None:
        self._db = db
        self._marks = marks
        self._boot = boot
        self._reserved: dict[int, int] = {}

    def make(self, series: int, rows: int) -> int | None:
        """Promises the next numbers of a series to rows that are sent now and kept right afterwards.

        Returns:
            The first; None: rows of this series must be kept before they are sent.
        """
        first = self._marks.next(series)
        if first is None or first + rows > self._reserved.get(series, 0):
            return None
        return first if self._marks.promise(series, rows) else None

    def reserve(self, series: int) -> None:
        """Sees to it that there are numbers to promise; one commit in some hundred rows.

        Raises:
            sqlite3.Error: the outbox refuses; nothing is reserved.
        """
        after = self._marks.next(series)
        if not self._boot or after is None or self._reserved.get(series, 0) - after > RESERVED // 2:
            return
        end = after + RESERVED
        self._db.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (f"{_KEY}{series}", f"{end} {self._boot}"))
        self._reserved[series] = end

    def close(self) -> None:
        """What is reserved is free again, unless rows were sent that are not kept.

        Raises:
            sqlite3.Error: it stays reserved.
        """
        if not self._marks.promised:
            forget(self._db)


def unclosed(db: sqlite3.Connection, boot: str, marked: Collection[int]) -> Iterator[tuple[int, int]]:
    """Series of which more numbers may have been given than the marks tell, each with the number after the last one.

    Args:
        db: the outbox.
        boot: as `boot_id` says.
        marked: series whose marks can be read.

    Raises:
        Broken: what is reserved cannot be read, or not believed.
    """
    nexts = dict(db.execute("SELECT id, next FROM series").fetchall())
    for key, value in db.execute(_ALL, (f"{_KEY}%",)).fetchall():
        found = _read(key, value, nexts)
        if found is None:
            raise Broken(f"the outbox cannot have {key!r}: {value!r}")
        series, end, earlier = found
        if earlier != boot or series not in marked:
            yield series, end


def copy(old: sqlite3.Connection, new: sqlite3.Connection, nexts: Mapping[int, int]) -> bool:
    """Takes what is reserved over from a damaged outbox.

    Args:
        old: the damaged one.
        new: the one that takes its place.
        nexts: next number of each series, as far as it is known.

    Returns:
        Whether it can be read, and believed.

    Raises:
        sqlite3.Error: one of them cannot be used.
    """
    for key, value in old.execute(_ALL, (f"{_KEY}%",)).fetchall():
        if _read(key, value, nexts) is None:
            return False
        new.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (key, value))
    return True


def _read(key: str, value: object, nexts: Mapping[int, int]) -> tuple[int, int, str] | None:
    """The series, the number after the last reserved one, and the boot; None: that cannot be."""
    series, (end, _, boot) = key.removeprefix(_KEY), str(value).partition(" ")
    if not (series.isdecimal() and end.isdecimal() and int(end) <= nexts.get(int(series), -1) + RESERVED):
        return None
    return int(series), int(end), boot


def forget(db: sqlite3.Connection) -> None:
    """Nothing is reserved any more."""
    db.execute("DELETE FROM meta WHERE key LIKE ?", (f"{_KEY}%",))
