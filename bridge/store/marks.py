"""The next row number of each series, in a file of its own beside the outbox.

A store that loses its newest commits in silence (a write-ahead log truncated or overwritten: SQLite takes what follows
the first bad frame for never written) would give numbers a second time, and the bridge would take the new rows for
repeats. So each commit also writes the next numbers here, without fsync: after a kill they are there, and after a power
loss the database is right and these may be old, so that whichever is higher counts.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING

from bridge.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SLOT = struct.Struct("<QQ12sI")  # series, next, store, CRC-32 of what is before
_CRC = struct.calcsize("<QQ12s")


class Marks:
    """See the module.

    Args:
        path: the file; made if need be.
        store: name of the store whose marks these are; others' are nothing.

    Raises:
        StoreError: the file cannot be used.
    """

    def __init__(self, path: Path, store: str) -> None:
        self._store = store.encode()
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as why:
            raise StoreError(f"{path}: cannot be written: {why.strerror or why}") from why

    def get(self, series: int) -> int | None:
        """The next number of this series, if its mark can be read."""
        try:
            data = os.pread(self._file, _SLOT.size, series * _SLOT.size)
        except OSError:
            return None
        if len(data) != _SLOT.size:
            return None
        number, after, store, crc = _SLOT.unpack(data)
        good = crc == zlib.crc32(data[:_CRC]) and number == series and store.rstrip(b"\0") == self._store
        return int(after) if good else None

    def set(self, after: Mapping[int, int]) -> None:
        """Writes next numbers by series; a disk that refuses leaves old ones, no error: the database counts."""
        for series, number in after.items():
            head = struct.pack("<QQ12s", series, number, self._store)
            try:
                os.pwrite(self._file, head + struct.pack("<I", zlib.crc32(head)), series * _SLOT.size)
            except OSError:
                return

    def close(self) -> None:
        """Closes the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
