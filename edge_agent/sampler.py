"""Rows in time: where a series is continuous, when its rows were, and how it is cut into messages. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bridge.messages import Rows
from bridge.store.outbox import Piece

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

TOLERANCE = 0.5  # of dt: a row further than this from its place on the grid begins a new message


class Chunk(msgspec.Struct, frozen=True, eq=False):
    """Rows that a source hands over.

    Attributes:
        values: float32, shape (rows, channels), all finite.
        t: seconds since 1970 of the first row; None: unknown.
        dt: seconds between rows; None: unknown.
        skip: rows missing before it; they take numbers too, so that no window spans the hole.
    """

    values: Rows
    t: float | None = None
    dt: float | None = None
    skip: int = 0


class Stamper:
    """Times for rows that come without: on the grid of the rate, set anew when that has slipped too far.

    Args:
        dt: seconds between rows.
        slack: seconds that the grid may be away from the clock.
    """

    def __init__(self, dt: float, slack: float = 1.0) -> None:
        self._dt = dt
        self._slack = max(slack, 5 * dt)
        self._next: float | None = None

    def stamp(self, count: int, now: float) -> float:
        """Time of the first of `count` rows, the last of which has just come, at `now`."""
        t = max(0.0, now - (count - 1) * self._dt)  # a clock that was not set yet: there is no time before 1970
        if self._next is not None and abs(t - self._next) <= self._slack:
            t = self._next
        self._next = t + count * self._dt
        return t


def split(values: Rows, ts: NDArray[np.float64] | None, dt: float | None) -> Iterator[Chunk]:
    """Chunks that are finite and evenly spaced.

    Args:
        values: float32, shape (rows, channels); a row that is not finite is left out, and its number with it.
        ts: seconds since 1970 of each row, if known.
        dt: seconds between rows, if known.
    """
    good: NDArray[np.bool_] = np.asarray(np.isfinite(values).all(axis=1))
    breaks = np.flatnonzero(good[1:] != good[:-1]) + 1
    skip = 0
    for run in np.split(np.arange(len(values)), breaks):
        if not len(run):
            continue
        if not good[run[0]]:
            skip += len(run)
            continue
        for start, stop in _even(run, ts, dt):
            yield Chunk(values[start:stop], None if ts is None else float(ts[start]), dt, skip)
            skip = 0
    if skip:
        yield Chunk(values[:0], None, None, skip)


def _even(run: NDArray[np.intp], ts: NDArray[np.float64] | None, dt: float | None) -> Iterator[tuple[int, int]]:
    start, stop = int(run[0]), int(run[-1]) + 1
    while ts is not None and dt is not None:
        grid = ts[start] + np.arange(stop - start) * dt
        off = np.flatnonzero(np.abs(ts[start:stop] - grid) > TOLERANCE * dt)
        if not len(off):
            break
        yield start, start + int(off[0])
        start += int(off[0])
    yield start, stop


def cut(pieces: Iterable[Piece], rows: int, *, whole: bool = False) -> Iterator[Piece]:
    """Messages: consecutive rows joined, and cut where row number mod `rows` = 0, so the same way at every sending.

    Args:
        pieces: what the outbox holds, in order.
        rows: most rows a message.
        whole: a message is a window: only a gap in numbers ends it early, not one in time.
    """
    held: list[Piece] = []
    for piece in pieces:
        for part in _at_multiples(piece, rows):
            if held and not (part.first % rows and _follows(held, part, whole=whole)):
                yield _join(held)
                held = []
            held.append(part)
    if held:
        yield _join(held)


def halves(piece: Piece) -> tuple[Piece, Piece]:
    """Two messages instead of one that is too large."""
    first, second = _at_multiples(piece, len(piece.values) // 2, origin=piece.first), piece
    one = next(first)
    rest = len(one.values)
    return one, Piece(second.first + rest, second.values[rest:], _later(second, rest), second.dt)


def _later(piece: Piece, rows: int) -> float | None:
    return None if piece.t is None or piece.dt is None else piece.t + rows * piece.dt


def _at_multiples(piece: Piece, rows: int, origin: int = 0) -> Iterator[Piece]:
    start = piece.first
    while start <= piece.last:
        stop = start + rows - (start - origin) % rows
        away = start - piece.first
        t = piece.t if away == 0 else _later(piece, away)
        yield Piece(start, piece.values[away : stop - piece.first], t, piece.dt)
        start = stop


def _follows(held: list[Piece], part: Piece, *, whole: bool) -> bool:
    last = held[-1]
    if part.first != last.last + 1 or part.values.shape[1] != last.values.shape[1]:
        return False
    if whole:
        return True
    if part.dt != last.dt or (part.t is None) != (last.t is None):
        return False
    if part.t is None or part.dt is None or held[0].t is None:
        return True
    return abs(part.t - (held[0].t + (part.first - held[0].first) * part.dt)) <= TOLERANCE * part.dt


def _join(held: list[Piece]) -> Piece:
    if len(held) == 1:
        return held[0]
    values: Rows = np.concatenate([piece.values for piece in held])
    return Piece(held[0].first, values, held[0].t, held[0].dt)
