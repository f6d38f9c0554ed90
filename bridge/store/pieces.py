"""What goes into the outbox and comes out of it: rows, changes, and what was given up."""

from __future__ import annotations

import math
import struct
import zlib
from typing import Any, Literal, TypeAlias

import msgspec

from bridge.messages import Rows

WhenFull: TypeAlias = Literal["refuse_new", "drop_oldest", "thin_out"]
OVERHEAD = 64  # bytes of a blob's row and its index entry, roughly
LONGEST = 8192  # rows a blob has at most: no message is longer
_HEAD = struct.Struct("<qqdd")
_HEAD_3 = struct.Struct("<qq")  # of version 3


class Limits(msgspec.Struct, frozen=True):
    """How much may be kept, and what happens then.

    Attributes:
        max_bytes: of rows on disk (the file itself is a little larger).
        max_age: seconds after which rows are dropped; None: never.
        when_full: `refuse_new` holds the source back, `drop_oldest` gives up the oldest rows, `thin_out` gives up every
            second block of rows in the older half, and again when that is not enough: the older, the coarser.
        thin_rows: rows a block, which begins where row number mod `thin_rows` = 0. What remains must hold whole
            windows, so no fewer than a window has.
    """

    max_bytes: int = 1 << 30
    max_age: float | None = None
    when_full: WhenFull = "refuse_new"
    thin_rows: int = 256


class Series(msgspec.Struct, frozen=True):
    """One numbering of one stream; `next` is the number the next row gets, `ended` says that none will come."""

    id: int
    stream: str
    epoch: str
    next: int
    ended: bool


class Piece(msgspec.Struct, frozen=True, eq=False):
    """Consecutive rows: float32 (rows, channels), number and time of the first, seconds between them."""

    first: int
    values: Rows
    t: float | None = None
    dt: float | None = None

    @property
    def last(self) -> int:
        """Number of the last row."""
        return self.first + len(self.values) - 1


class Append(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Rows to keep, `skip` numbers after the last one; stored in blobs that end at multiples of `align`."""

    series: int
    values: Rows
    t: float | None = None
    dt: float | None = None
    skip: int = 0
    align: int = 1024

    @property
    def size(self) -> int:
        """Bytes on disk, roughly."""
        return int(self.values.nbytes) + OVERHEAD * (len(self.values) // self.align + 1)


class Release(msgspec.Struct, frozen=True):
    """Rows `first`…`last`, inclusive, that need not be kept; with a `rule` they were given up, and that is recorded."""

    series: int
    first: int
    last: int
    rule: str | None = None


class End(msgspec.Struct, frozen=True):
    """No more rows will come for this series."""

    series: int


class Dropped(msgspec.Struct, frozen=True):
    """Rows given up by a rule."""

    series: int
    first: int
    last: int
    rule: str
    at: float


Change: TypeAlias = Append | Release | End


def trim(piece: Piece, first: int, last: int) -> Piece:
    """The part of the piece within rows `first`…`last`."""
    if first <= piece.first and piece.last <= last:
        return piece
    start, stop = max(first, piece.first), min(last, piece.last)
    t = piece.t
    if t is not None and piece.dt is not None:
        t += (start - piece.first) * piece.dt
    values = piece.values[start - piece.first : stop - piece.first + 1]
    return Piece(start, values, t, piece.dt)


def checksum(first: int, count: int, t: float | None, dt: float | None, data: bytes) -> int:
    """CRC-32 of a blob's rows, of the first one's number and time, of how many they are and how far apart.

    SQLite itself would hand out a damaged blob.
    """
    return zlib.crc32(data, zlib.crc32(_HEAD.pack(first, count, _number(t), _number(dt))))


def _number(seconds: float | None) -> float:
    """As SQLite gives it back: it knows neither NaN nor a negative zero."""
    return math.nan if seconds is None or seconds != seconds else seconds + 0.0  # NaN alone is not itself


def is_intact(first: Any, count: Any, t: Any, dt: Any, data: Any, crc: Any) -> bool:
    """Whether a blob, as read from the file, is as it was kept.

    The checksum of version 3 knew nothing of times, that of version 2 nothing of `count`; version 1 had none.
    """
    if not (isinstance(first, int) and is_count(count) and isinstance(data, bytes)):
        return False
    if not data or len(data) % (4 * count) or not all(one is None or isinstance(one, float) for one in (t, dt)):
        return False
    if crc is None or crc == checksum(first, count, t, dt, data):
        return True
    return crc in {zlib.crc32(data, zlib.crc32(_HEAD_3.pack(first, count))), zlib.crc32(data, first & 0xFFFFFFFF)}


def is_count(count: Any) -> bool:
    """Whether a blob may have so many rows."""
    return isinstance(count, int) and 0 < count <= LONGEST
