"""Rows as steps of 8 or 4 bits: a scale and a zero a channel, both short in CBOR. Pure.

A value v is written as the step q, an integer from -128 to 127 (or -8 to 7), and read as s·(q − z). The scale s is a
float16 or, where that is too coarse, a float32; the zero z is an integer reckoned from that very s. So what can be
written are the multiples of s, and an integer zero costs nothing: the error is half a step of the scale as written, and
what float32 itself loses.

Steps of 4 bits take a byte too (RFC 8746 has no smaller number), but zstd makes half of it, which it cannot of steps
that use the whole byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bridge.messages import Rows

COARSEST = 1 + 2.0**-10  # times what is needed: one unit in the last place of a normal float16 (IEEE 754)


def quantised(values: Rows, bits: int) -> tuple[NDArray[np.int8], list[float], list[int]]:
    """Steps of the rows, over each channel's own range; nothing is clipped.

    Args:
        values: float32, shape (rows, channels), all finite, at least one row.
        bits: of a step, 3 to 8.

    Returns:
        Steps, shape (rows, channels); a scale and a zero a channel. A channel that never changes is exact.
    """
    lowest, most = -(1 << bits - 1), (1 << bits) - 2  # rounding both ends of a range may cost one step
    low, high = values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64)
    still = np.where(low == 0, 1.0, np.abs(low))  # a single step of just this size
    flat = low == high
    scale = np.where(flat, still, _short((high - low) / most))
    zero = np.where(flat, 0.0, lowest - np.rint(low / scale))
    steps = np.rint(values / scale) + zero
    return steps.astype(np.int8), scale.tolist(), [int(one) for one in zero.tolist()]


def _short(needed: NDArray[np.float64]) -> NDArray[np.float64]:
    """At least these scales, as float16 where that is hardly more, else as float32."""
    with np.errstate(over="ignore"):
        half = _up(needed, np.float16)
    return np.where(half <= needed * COARSEST, half, _up(needed, np.float32))


def _up(needed: NDArray[np.float64], dtype: type[np.floating[Any]]) -> NDArray[np.float64]:
    """The smallest numbers of this type that are not below."""
    near = needed.astype(dtype)
    above = np.nextafter(near, dtype(np.inf))
    return np.where(near < needed, above, near).astype(np.float64)
