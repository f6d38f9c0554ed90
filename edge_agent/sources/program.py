"""Rows that a program hands over as arrays: checked, timed, and cut where one is not finite. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from bridge.wire.fields import MAX_TIME
from edge_agent.sampler import Chunk, Stamper, split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from bridge.messages import Rows

    Times: TypeAlias = float | Sequence[float] | NDArray[np.float64]

NUMBERS = "fiu"  # kinds of dtype
FEW = 256
_FLOAT32 = np.dtype(np.float32)


class Program:
    """What one stream is given.

    Args:
        name: of the stream.
        rate: rows a second; None: unknown.
    """

    def __init__(self, name: str, *, rate: float | None) -> None:
        self._name = name
        self._dt = 1.0 / rate if rate else None
        self._stamper = Stamper(self._dt) if self._dt else None
        self._channels: int | None = None

    def chunks(self, rows: ArrayLike, t: Times | None, now: float) -> list[Chunk]:
        """Copies of the rows, in order, each chunk finite and evenly spaced.

        Args:
            rows: numbers, shape (rows, channels), at least one of each. A row with NaN or ±∞ is left out, and its
                number with it.
            t: seconds since 1970, of the first row or of each; None: they have just come.
            now: seconds since 1970.

        Raises:
            ValueError: another shape than that, or than the first rows had; numbers beyond float32; a time that no
                bridge takes, or not one a row.
            TypeError: no numbers.
        """
        values = self._values(rows)
        count = len(values)
        first, times = self._times(t, count, now)
        self._channels = values.shape[1]
        if times is None and _is_finite(values):
            return [Chunk(values, first, self._dt)]
        if times is None:
            times = first + np.arange(count, dtype=np.float64) * (self._dt or 0.0)
        return list(split(values, times, self._dt))

    def _values(self, rows: ArrayLike) -> Rows:
        if type(rows) is np.ndarray and rows.dtype is _FLOAT32 and rows.shape[1:] == (self._channels,) and len(rows):
            return rows.copy()  # the commonest, in the least time
        given = self._array(rows)
        if given.ndim != 2 or not given.size:
            raise ValueError(
                f"{self._name}: rows have the shape (rows, channels), at least one of each, not {given.shape}"
            )
        channels = given.shape[1]
        if channels != (self._channels or channels):
            raise ValueError(f"{self._name}: {channels} channels, the first rows had {self._channels}")
        if given.dtype == np.float32:
            values: Rows = np.array(given, dtype=np.float32, order="C")
        else:
            with np.errstate(over="ignore"):
                values = given.astype(np.float32, order="C")
            self._check_range(given, values)
        return values

    def _array(self, rows: ArrayLike) -> NDArray[np.generic]:
        try:
            given = np.asarray(rows)
        except ValueError as why:
            raise ValueError(f"{self._name}: rows of different lengths: {why}") from why
        if given.dtype.kind not in NUMBERS:
            raise TypeError(f"{self._name}: rows are numbers, not {given.dtype} ({type(rows).__name__})")
        return given

    def _check_range(self, given: NDArray[np.generic], values: Rows) -> None:
        beyond = np.argwhere(np.isinf(values) & np.isfinite(given))
        if len(beyond):
            row, channel = beyond[0]
            raise ValueError(
                f"{self._name}: row {row}, channel {channel}: {given[row, channel]} is beyond float32 (±3.4e38)"
            )

    def _times(self, t: Times | None, count: int, now: float) -> tuple[float, NDArray[np.float64] | None]:
        """Of the first row, and of each if they were told."""
        if t is None:
            return now if self._stamper is None else self._stamper.stamp(count, now), None
        times = np.asarray(t, dtype=np.float64)
        if times.shape not in {(), (count,)}:
            raise ValueError(f"{self._name}: t is a number, or one a row: of shape ({count},), not {times.shape}")
        good = (times >= 0.0) & (times < MAX_TIME)
        if not good.all():
            bad = times.flat[np.argmin(good)]
            raise ValueError(
                f"{self._name}: t must be finite: seconds since 1970, not {bad}; milliseconds are to be divided by 1000"
            )
        return float(times.flat[0]), times if times.ndim else None


def _is_finite(values: Rows) -> bool:
    """Whether all are. Of few a sum of Python's tells it sooner where caches are cold; it cannot overflow."""
    return math.isfinite(sum(values.ravel().tolist())) if values.size <= FEW else bool(np.isfinite(values).all())
