"""Rows of numbers: lists, or RFC 8746 typed arrays (tag 40 around 85 float32, 84 float16, 72 sint8)."""

from __future__ import annotations

import math
from contextlib import suppress
from io import BytesIO
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import cbor2
import msgspec
import numpy as np

from bridge.errors import Refused
from bridge.wire.quantise import quantised

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bridge.messages import Rows

MULTI_DIMENSIONAL = 40  # RFC 8746 section 3.1.1, row-major
FLOAT32_LE, FLOAT16_LE, SINT8 = 85, 84, 72  # RFC 8746 section 2.1
_MAP = 0xA0  # first byte of an empty map; its low five bits count entries below 24
STEPS_END = float(np.float32(1e38))  # half a step above this is still a float32
FLOAT16_END = 65_520.0  # from here on a number rounds to ∞
_DTYPES: dict[int, np.dtype[Any]] = {FLOAT32_LE: np.dtype("<f4"), FLOAT16_LE: np.dtype("<f2"), SINT8: np.dtype("i1")}

Packing = Literal["float32", "float16", "int8", "int4"]
_BITS = {"int8": 8, "int4": 4}  # of a step; either travels as sint8


def decode_rows(value: Any, *, scale: Any = None, zero: Any = None) -> Rows:
    """Rows of an Observation's `values`.

    Args:
        value: a list of rows, or a tag-40 array.
        scale: with tag 72, what one step stands for: a number, or one a channel.
        zero: with tag 72, the step that stands for 0.0 (default 0): a number, or one a channel.

    Returns:
        float32, shape (rows, channels), all finite, rows ≥ 1, channels ≥ 1.

    Raises:
        Refused: `malformed`, `shape` or `not_finite`, naming the place.
    """
    return all_finite(_from_tag(value, scale, zero) if isinstance(value, cbor2.CBORTag) else _from_lists(value))


def all_finite(rows: Rows) -> Rows:
    """The rows, if they hold neither NaN nor ±∞.

    Raises:
        Refused: `not_finite`, naming the place.
    """
    first = first_not_finite(rows)
    if first is not None:
        row, channel = divmod(first, rows.shape[1])
        raise Refused("not_finite", f"values[{row}][{channel}] is not a finite float32")
    return rows


def first_not_finite(numbers: NDArray[np.float32]) -> int | None:
    """Index, in row-major order, of the first NaN or ±∞, None if there is none.

    Four times as fast for one message as `np.isfinite(numbers).all()`, whose last step is a reduction set up in
    Python; a sum of squares would be as fast, but warns of the overflow that it provokes.

    Args:
        numbers: float32, of any shape.
    """
    finite = np.isfinite(numbers).tobytes()  # a byte each
    return finite.index(0) if 0 in finite else None


def _from_lists(value: Any) -> Rows:
    try:
        lists = msgspec.convert(value, list[list[float]])
    except msgspec.ValidationError as why:
        raise Refused("shape", f"values must be rows × channels of numbers: {why}") from why
    if not lists or not lists[0]:
        raise Refused("shape", "values has no row or no channel")
    channels = len(lists[0])
    for i, row in enumerate(lists):
        if len(row) != channels:
            raise Refused("shape", f"values[{i}] has {len(row)} channels, values[0] has {channels}")
    with np.errstate(over="ignore"):  # a double beyond float32 becomes ∞ and is refused as such
        numbers = np.fromiter(chain.from_iterable(lists), np.float32, len(lists) * channels)
    return numbers.reshape(-1, channels)


def _from_tag(tag: cbor2.CBORTag, scale: Any, zero: Any) -> Rows:
    body = tag.value
    if tag.tag != MULTI_DIMENSIONAL or not isinstance(body, list | tuple) or len(body) != 2:
        raise Refused("shape", f"values has tag {tag.tag}; give tag 40 around [[rows, channels], array]")
    dims, array = body
    if not isinstance(dims, list | tuple) or len(dims) != 2 or not all(type(n) is int and n > 0 for n in dims):
        raise Refused("shape", "tag 40 needs the two dimensions [rows, channels], both positive")
    rows, channels = dims
    if not isinstance(array, cbor2.CBORTag) or array.tag not in _DTYPES or not isinstance(array.value, bytes):
        raise Refused("shape", "tag 40 must hold tag 85 (float32), 84 (float16) or 72 (sint8) around a byte string")
    dtype = _DTYPES[array.tag]
    expected = rows * channels * dtype.itemsize
    if len(array.value) != expected:
        raise Refused("shape", f"{rows} × {channels} of tag {array.tag} is {expected} bytes, not {len(array.value)}")
    raw = np.frombuffer(array.value, dtype=dtype).reshape(rows, channels)
    if array.tag == SINT8:
        return _dequantize(raw, scale, zero)
    with np.errstate(invalid="ignore"):  # a signalling NaN, refused as any other
        return np.asarray(raw, dtype=np.float32)


def _per_channel(name: str, value: Any, channels: int) -> NDArray[np.float64]:
    try:
        numbers = msgspec.convert(value, float | list[float])
    except msgspec.ValidationError as why:
        raise Refused("malformed", f"{name}: {why}") from why
    if isinstance(numbers, list) and len(numbers) != channels:
        raise Refused("shape", f"{name} has {len(numbers)} numbers for {channels} channels")
    if not all(map(math.isfinite, numbers if isinstance(numbers, list) else (numbers,))):
        raise Refused("not_finite", f"{name} is not finite")
    return np.array(numbers)


def _dequantize(raw: NDArray[np.int8], scale: Any, zero: Any) -> Rows:
    if scale is None:
        raise Refused("missing_key", "scale: tag 72 (sint8) needs it")
    channels = raw.shape[1]
    steps = raw - _per_channel("zero", 0.0 if zero is None else zero, channels)
    with np.errstate(over="ignore", invalid="ignore"):
        return (steps * _per_channel("scale", scale, channels)).astype(np.float32)


def dump_cbor(fields: dict[str, Any]) -> bytes:
    """CBOR of a map of fewer than 24 entries, in this order, each float as short as is exact (RFC 8949 section 4.1)."""
    written = BytesIO()
    written.write(bytes([_MAP | len(fields)]))
    encoder = cbor2.CBOREncoder(written, canonical=True)
    for key, value in fields.items():
        encoder.encode(key)
        encoder.encode(value)
    return written.getvalue()


def encode_rows(values: Rows, packing: Packing) -> tuple[cbor2.CBORTag, dict[str, Any]]:
    """A tag-40 array, and the keys that go beside it in the Observation.

    Args:
        values: float32, shape (rows, channels).
        packing: `int8` and `int4` quantise linearly a channel over its own range in this message
            (`bridge.wire.quantise`); rows with a number beyond what it can bring back are packed as float32.

    Returns:
        The array; `{"scale": …, "zero": …}` for steps, else nothing. `dump_cbor` writes a scale in 3 or 5 bytes.
    """
    bits = _BITS.get(packing)
    if bits is not None:
        with suppress(OverflowError):
            steps, scale, zero = quantised(values, bits, STEPS_END)
            return _array(values, SINT8, steps), {"scale": scale, "zero": zero}
    if packing == "float16" and np.abs(values).max() < FLOAT16_END:
        return _array(values, FLOAT16_LE, values.astype("<f2")), {}
    return _array(values, FLOAT32_LE, values.astype("<f4", copy=False)), {}


def _array(values: Rows, tag: int, written: NDArray[Any]) -> cbor2.CBORTag:
    return cbor2.CBORTag(MULTI_DIMENSIONAL, [list(values.shape), cbor2.CBORTag(tag, written.tobytes())])
