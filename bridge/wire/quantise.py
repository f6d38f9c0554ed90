"""Rows as steps of 8 or 4 bits: a scale and a zero a channel, both short in CBOR. Pure.

A value v is written as the step q, an integer from -128 to 127 (or -8 to 7), and read as s·(q − z). The scale s is a
float16 or, where that is too coarse, a float32; the zero z is an integer reckoned from that very s. So what can be
written are the multiples of s, and an integer zero costs nothing: the error is half a step of the scale as written, and
what float32 itself loses.

Steps of 4 bits take a byte too (RFC 8746 has no smaller number), but zstd makes half of it, which it cannot of steps
that use the whole byte.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bridge.messages import Rows

COARSEST = 1 + 2.0**-10  # times what is needed: one unit in the last place of a normal float16 (IEEE 754)
_HALF_END = 65_504.0  # the greatest float16
_HALF, _SINGLE = struct.Struct("<e"), struct.Struct("<f")
_HALF_BITS, _SINGLE_BITS = struct.Struct("<H"), struct.Struct("<I")


def quantised(values: Rows, bits: int, end: float = math.inf) -> tuple[NDArray[np.int8], list[float], list[int]]:
    """Steps of the rows, over each channel's own range; nothing is clipped.

    Args:
        values: float32, shape (rows, channels), at least one row.
        bits: of a step, 3 to 8.
        end: numbers must be below, whatever their sign.

    Returns:
        Steps, shape (rows, channels); a scale and a zero a channel. A channel that never changes is exact.

    Raises:
        OverflowError: a number is not below `end`, or is not finite.
    """
    lowest, most = -(1 << bits - 1), (1 << bits) - 2  # rounding both ends of a range may cost one step
    scales: list[float] = []
    zeros: list[int] = []
    lows, highs = np.minimum.reduce(values).tolist(), np.maximum.reduce(values).tolist()
    # A number at a time: for a message of a few channels the calls of numpy would take twice as long.
    for low, high in zip(lows, highs, strict=True):
        if not -end < low <= high < end:
            raise OverflowError(f"numbers from {low:g} to {high:g} are not all below {end:g}")
        if low == high:
            scale, zero = abs(low) or 1.0, 0  # a single step of just this size
        else:
            scale = _short((high - low) / most)
            zero = lowest - round(low / scale)
        scales.append(scale)
        zeros.append(zero)
    steps = np.rint(values / np.array(scales)) + zeros
    return steps.astype(np.int8), scales, zeros


def _short(needed: float) -> float:
    """At least this scale, as float16 where that is hardly more, else as float32."""
    half = _up(needed, _HALF, _HALF_BITS) if needed <= _HALF_END else math.inf
    return half if half <= needed * COARSEST else _up(needed, _SINGLE, _SINGLE_BITS)


def _up(needed: float, dtype: struct.Struct, bits: struct.Struct) -> float:
    """The smallest number of this type that is not below; the next number is the next pattern of its bits."""
    written = dtype.pack(needed)
    near: float = dtype.unpack(written)[0]
    if near < needed:
        (near,) = dtype.unpack(bits.pack(bits.unpack(written)[0] + 1))
    return near
