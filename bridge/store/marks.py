"""How far each series was numbered and is safe, in a file of its own beside the outbox.

A store that loses its newest commits in silence (a write-ahead log truncated or overwritten: SQLite takes what follows
the first bad frame for never written) would give numbers a second time, and the bridge would take the new rows for
repeats. So each commit also writes here, without fsync: after a kill it is there, and after a power loss the database
is right and this may be old, so that whichever next number is higher counts. A mark names its series, because the
store may have lost even that: with the mark alone it can be said which rows are gone.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING

import msgspec

from bridge.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

_HEAD = struct.Struct("<QQQ12sHH")  # series, low, next, store, bytes of the stream's name, bytes of the epoch's
_TAIL = struct.Struct("<QI")  # kept, of which older versions wrote nothing; CRC-32 of all before it
_SLOT = 512  # bytes: written in one piece by any disk


class Mark(msgspec.Struct, frozen=True):
    """Where one series stood after a commit.

    Attributes:
        series: its number in the outbox.
        stream: name.
        epoch: name of the numbering.
        store: name of the outbox.
        low: no row before this one was kept, or given up and untold.
        next: number that the next row gets.
        kept: rows before this one were kept; those up to `next` were sent, and were to be kept in a moment.
    """

    series: int
    stream: str
    epoch: str
    store: str
    low: int
    next: int
    kept: int


class Marks:
    """See the module.

    Args:
        path: the file; made if need be.

    Raises:
        StoreError: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as why:
            raise StoreError(f"{path}: cannot be written: {why.strerror or why}") from why

    def read(self) -> dict[int, Mark]:
        """All marks that can be read, whatever store they are of, by series."""
        try:
            slots = os.fstat(self._file).st_size // _SLOT
            found = [_parse(os.pread(self._file, _SLOT, number * _SLOT)) for number in range(1, slots)]
        except OSError:
            return {}
        return {number: mark for number, mark in enumerate(found, 1) if mark is not None and mark.series == number}

    def write(self, mark: Mark) -> bool:
        """Replaces the mark of a series; a disk that refuses leaves the old one, no error: the database counts.

        Returns:
            Whether it is written.
        """
        stream, epoch = mark.stream.encode(), mark.epoch.encode()
        head = _HEAD.pack(mark.series, mark.low, mark.next, mark.store.encode(), len(stream), len(epoch))
        data = (head + stream + epoch).ljust(_SLOT - _TAIL.size, b"\0")
        if len(data) > _SLOT - _TAIL.size:  # names that no stream has
            return False
        data += mark.kept.to_bytes(8, "little")
        try:
            return os.pwrite(self._file, data + zlib.crc32(data).to_bytes(4, "little"), mark.series * _SLOT) == _SLOT
        except OSError:
            return False

    def close(self) -> None:
        """Closes the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _parse(data: bytes) -> Mark | None:
    if len(data) != _SLOT or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        return None
    series, low, after, store, stream, epoch = _HEAD.unpack_from(data)
    names = data[_HEAD.size :]
    name, numbering = names[:stream].decode(), names[stream : stream + epoch].decode()
    kept = _TAIL.unpack_from(data, _SLOT - _TAIL.size)[0] or after
    return Mark(series, name, numbering, store.rstrip(b"\0").decode(), low, after, kept)
