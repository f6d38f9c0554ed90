"""What rows are while they become windows: pieces as they arrived, and a window put together from them."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from bridge.messages import Lane, Rows


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
        skip = row - self.first
        return msgspec.structs.replace(self, first=row, values=self.values[skip:], t=self.t + skip * self.dt)

    def between(self, first: int, end: int) -> Chunk:
        """The part of it that lies in these rows, `end` being the row after the last."""
        part = self if first <= self.first else self.since(first)
        if end >= part.end:
            return part
        return msgspec.structs.replace(part, values=part.values[: end - part.first])

    def owned(self) -> Chunk:
        """The same with values of its own: a few rows must not keep a whole message."""
        return msgspec.structs.replace(self, values=self.values.copy())


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
