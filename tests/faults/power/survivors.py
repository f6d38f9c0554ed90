"""What is left of a disk when power fails: everything durable, and of what is pending whatever hardware may leave.

Pending writes may survive whole, not at all, in any order, and in part: a sector of a write is its old or its new
content, a piece of the new, or rubbish. Bytes beside those written stay as they were, as SQLite relies on by default
(`SQLITE_IOCAP_POWERSAFE_OVERWRITE`, https://www.sqlite.org/psow.html), unless the device is said to ruin them.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from tests.faults.power.disk import Contents, Disk, Entries, Resize, Sync, SyncFolder, Write, put, resize

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

    from tests.faults.power.disk import Operation

Damage: TypeAlias = Literal["lost", "torn", "reordered"]
Pending: TypeAlias = Write | Resize | Entries
DAMAGES: tuple[Damage, ...] = ("lost", "torn", "reordered")


class Device(msgspec.Struct, frozen=True):
    """What the files lie on.

    Attributes:
        sector: bytes that are written at once.
        ruins: whether all of a sector may become rubbish, though only part of it was written.
    """

    sector: int
    ruins: bool = False


class Platter:
    """What is durable of a disk, followed through its log.

    Attributes:
        pending: what is not, in order.
    """

    def __init__(self, disk: Disk) -> None:
        """Begins with what the disk holds now."""
        self._contents, self._entries = _copied(disk.contents), dict(disk.entries)
        self.pending: list[Pending] = []

    def copy(self) -> Platter:
        """Another in the same state."""
        other = Platter(Disk(self._contents, self._entries))
        other.pending = list(self.pending)
        return other

    def follow(self, operations: Iterable[Operation]) -> None:
        """Some more of the log."""
        for one in operations:
            if isinstance(one, Sync):
                self._settle([it for it in self.pending if not isinstance(it, Entries) and it.file == one.file])
            elif isinstance(one, SyncFolder):
                self._settle([it for it in self.pending if isinstance(it, Entries) and it.folder == one.folder])
            else:
                self.pending.append(one)

    def _settle(self, durable: list[Pending]) -> None:
        _apply(durable, self._contents, self._entries)
        settled = set(map(id, durable))
        self.pending = [one for one in self.pending if id(one) not in settled]

    def after(self, damage: Damage, device: Device, dice: Random) -> Disk:
        """The disk as it is found when power is back.

        Args:
            damage: `lost`: nothing pending survives, or what came before some moment; `torn`: sector by sector;
                `reordered`: any of it, whole.
            device: what it lies on.
            dice: what chance has.
        """
        survived = {"lost": _lost, "torn": _torn, "reordered": _reordered}[damage](self.pending, device, dice)
        contents, entries = _copied(self._contents), dict(self._entries)
        _apply(survived, contents, entries)
        return _reachable(contents, entries)


def _copied(contents: Contents) -> Contents:
    return {number: None if content is None else bytearray(content) for number, content in contents.items()}


def _apply(operations: Iterable[Pending], contents: Contents, entries: dict[str, int]) -> None:
    for one in operations:
        if isinstance(one, Entries):
            for path, number in one.changed.items():
                if number is None:
                    entries.pop(path, None)
                else:
                    entries[path] = number
                    contents.setdefault(number, None if one.mkdir else bytearray())
            continue
        content = contents.setdefault(one.file, bytearray())
        assert content is not None, "a folder has no bytes"
        if isinstance(one, Write):
            put(content, one.data, one.offset)
        else:
            resize(content, one.size)


def _reachable(contents: Contents, entries: dict[str, int]) -> Disk:
    """With new numbers; what lies in a folder that is not there is not there either."""
    disk = Disk({}, {})
    for path, number in sorted(entries.items()):
        if posixpath.dirname(path) in disk.entries or not disk.entries:
            disk.entries[path] = len(disk.contents)
            disk.contents[len(disk.contents)] = contents[number]
    return disk


def _lost(pending: list[Pending], _device: Device, dice: Random) -> list[Pending]:
    return pending[: dice.randint(0, len(pending)) if dice.random() < 0.5 else 0]


def _reordered(pending: list[Pending], _device: Device, dice: Random) -> list[Pending]:
    share = dice.choice([0.1, 0.5, 0.9])
    return list(_possible(pending, [dice.random() < share for _ in pending]))


def _torn(pending: list[Pending], device: Device, dice: Random) -> list[Pending]:
    share = dice.choice([0.1, 0.5, 0.9])
    left: list[Pending] = []
    for one in _possible(pending, [isinstance(it, Write) or dice.random() < share for it in pending]):
        left += _sectors(one, device, share, dice) if isinstance(one, Write) else [one]
    return left


def _possible(pending: list[Pending], wanted: list[bool]) -> Iterator[Pending]:
    """Of an entry's changes a later one cannot survive without an earlier; all else is free."""
    gone: set[str] = set()
    for one, keep in zip(pending, wanted, strict=True):
        if not isinstance(one, Entries):
            if keep:
                yield one
        elif keep and gone.isdisjoint(one.changed):
            yield one
        else:
            gone.update(one.changed)


def _sectors(write: Write, device: Device, share: float, dice: Random) -> Iterator[Write]:
    """What a write leaves, sector by sector."""
    end, sector = write.offset + len(write.data), device.sector
    for edge in range(write.offset - write.offset % sector, end, sector):
        start, stop = max(edge, write.offset), min(edge + sector, end)
        data = write.data[start - write.offset : stop - write.offset]
        fate = dice.random()
        if fate < 0.1:
            yield Write(write.file, start, data[: dice.randint(0, len(data))])
        elif fate < 0.15:
            at, size = (edge, sector) if device.ruins else (start, len(data))
            yield Write(write.file, at, dice.randbytes(size))
        elif fate < 0.15 + 0.85 * share:
            yield Write(write.file, start, data)
