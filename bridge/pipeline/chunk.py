"""What rows are while they become windows: pieces as they arrived, and a window put together from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from bridge.messages import Lane, Rows

if TYPE_CHECKING:
    from bridge.catalog.schema import Input

EACH = 1_024  # bytes counted for a window besides its values: measured, small windows are mostly this
CUT = 1 << 24  # bytes of windows, so counted, that the rows of one message may give


def most_rows(shape: Input) -> int:
    """Rows that a message may have so that no more than `CUT` bytes of windows begin in them; at least one window."""
    return shape.hop * max(1, CUT // (EACH + 4 * shape.rows * len(shape.channels)))


class Chunk(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Consecutive rows that arrived together.

    Attributes:
        first: row number of the first row.
        values: float32, shape (rows, channels).
        t: seconds since 1970 of the first row.
        dt: seconds between rows.
        t_source: who stamped t.
        arrived: monotonic seconds of arrival.
        lane: lane of the message.
    """

    first: int
    values: Rows
    t: float
    dt: float
    t_source: Literal["device", "bridge"]
    arrived: float
    lane: Lane

    @property
    def end(self) -> int:
        """Row number after the last row."""
        return self.first + len(self.values)

    def since(self, row: int) -> Chunk:
        """The part from that row on."""
        return self.between(row, self.end)

    def between(self, first: int, end: int) -> Chunk:
        """The part of it that lies in these rows, `end` being the row after the last; itself where that is all of it.

        A part has values of its own: a few rows must not keep a whole message.
        """
        first, end = max(first, self.first), min(end, self.end)
        if end - first == len(self.values):
            return self
        skip = first - self.first
        values = self.values[skip : end - self.first].copy()
        return msgspec.structs.replace(self, first=first, values=values, t=self.t + skip * self.dt)


class Cut(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A complete window.

    Attributes:
        seq: row number of its first row.
        values: float32, shape (rows, channels).
        t: seconds since 1970 of its first row.
        t_source: who stamped t.
        arrived: monotonic seconds at which its last missing row arrived.
        lane: lane of its last row.
    """

    seq: int
    values: Rows
    t: float
    t_source: Literal["device", "bridge"]
    arrived: float
    lane: Lane


def assembled(chunks: list[Chunk], start: int, end: int, known: int, now: float) -> Cut:
    """The window of rows `start` to before `end`.

    Args:
        chunks: without a gap, in order; they reach over these rows, and to before row `known`.
        start: row number of its first row.
        end: row number after its last row.
        known: row number after the last row of all of them.
        now: monotonic seconds.
    """
    head = chunks[0]
    if head.first == start and end == known and len(chunks) > 1:  # all of it
        values = np.concatenate([chunk.values for chunk in chunks])
        return Cut(start, values, head.t, head.t_source, now, chunks[-1].lane)
    parts = [chunk for chunk in chunks if chunk.first < end and chunk.end > start]
    head, last = parts[0], parts[-1]
    pieces = [chunk.values[max(start - chunk.first, 0) : end - chunk.first] for chunk in parts]
    values = pieces[0].copy() if len(pieces) == 1 else np.concatenate(pieces)
    return Cut(start, values, head.t + (start - head.first) * head.dt, head.t_source, now, last.lane)
