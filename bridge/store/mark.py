"""The number of a log's newest record, in a file of its own beside the log.

A write-ahead log that is cut, or damaged in its last transaction, looks like one that ends there. So the number of each
record committed is also written here, without fsync: after a kill it is there, after a power loss it may be old, but it
is never ahead of what was committed. A log that holds less than its mark has lost commits.
"""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SLOT = struct.Struct("<QI")  # number, its CRC-32
_NUMBER = struct.Struct("<Q")


class Mark:
    """See the module. A disk that refuses costs the mark, nothing else: that is no error.

    Args:
        path: the file; made when the first number is written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def get(self) -> int:
        """The number; 0 if there is none that can be read."""
        data = b""
        with suppress(OSError):
            data = os.pread(self._opened(os.O_RDWR), _SLOT.size, 0)
        if len(data) != _SLOT.size:
            return 0
        number, crc = _SLOT.unpack(data)
        return int(number) if crc == zlib.crc32(data[: _NUMBER.size]) else 0

    def set(self, number: int) -> None:
        """Write the number of a record that is committed."""
        head = _NUMBER.pack(number)
        with suppress(OSError):
            os.pwrite(self._opened(os.O_RDWR | os.O_CREAT), _SLOT.pack(number, zlib.crc32(head)), 0)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _opened(self, flags: int) -> int:
        if self._file < 0:
            self._file = os.open(self._path, flags | os.O_CLOEXEC, 0o644)
        return self._file
