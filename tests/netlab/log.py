"""When messages were handed over or arrived: entries in a file. Without numpy, for many small processes use it."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = struct.Struct("<Iq")  # number of a message, ns on CLOCK_MONOTONIC


class Log:
    """Appends (number of a message, now) to a file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=1 << 20)

    def note(self, number: int) -> None:
        self._file.write(ENTRY.pack(number, time.monotonic_ns()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
