"""A short way for the commonest CBOR Observation: its bytes read by hand.

Taken is a definite map of at most 23 entries whose first key is `values`, holding tag 40 around
`[[rows, channels], tag 85 byte string]`. Behind it, in any order and each at most once: `seq` as an unsigned integer,
`epoch` and `lane` as definite text, `t` and `dt` as 64-bit floats, `receipt` as a boolean. That is what
`encode_observation` writes as float32.

Nothing is refused here: None sends the payload the strict way (`parse`, then `observation_of`), which takes it or words
why not. So it suffices that whatever is taken here is taken there, and equal: every byte is compared with the one
encoding known here, or is argument or content of such an item.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from bridge.wire.arrays import first_not_finite
from bridge.wire.fields import good_observation

if TYPE_CHECKING:
    from bridge.messages import Observation, Rows

LEVELS = 4  # of nesting: map, tag 40, array, dimensions or tag 85

_OPENING = b"\x66values\xd8\x28\x82\x82"  # the key, tag 40, an array of two, the first of them an array of two
_FIRST, _LAST = 0xA1, 0xB7  # first byte of a definite map of 1 to 23 entries
_FLOAT32_LE = b"\xd8\x55"
_FLOAT32 = np.dtype("<f4")
_SEQ, _EPOCH, _T, _DT, _LANE, _RECEIPT = b"\x63seq", b"\x65epoch", b"\x61t", b"\x62dt", b"\x64lane", b"\x67receipt"
_FLOAT64, _FALSE, _TRUE = 0xFB, 0xF4, 0xF5
_UNSIGNED, _BYTES, _TEXT = 0x00, 0x40, 0x60  # major types, in the high three bits
_LENGTH_BYTES = {b"\x58": 1, b"\x59": 2, b"\x5a": 4}  # behind the first byte of a byte string

_uint16 = struct.Struct(">H").unpack_from
_uint32 = struct.Struct(">I").unpack_from
_float64 = struct.Struct(">d").unpack_from


class _NotPlain(Exception):
    """The payload goes the strict way."""


def plain_cbor(payload: bytes, depth: int) -> Observation | None:
    """The Observation of a plain payload; None for any other.

    Args:
        payload: untrusted bytes.
        depth: deepest nesting that is taken.

    Returns:
        Its values are a read-only view, shape (rows, channels).
    """
    if payload[1:12] != _OPENING or not _FIRST <= payload[0] <= _LAST or depth < LEVELS:
        return None
    tag = payload.find(_FLOAT32_LE, 14, 24)
    start = tag + 3 + _LENGTH_BYTES.get(payload[tag + 2 : tag + 3], 0)
    layout = _layout(payload[12:start])
    if layout is None:
        return None
    rows, channels, size = layout
    end = start + size
    if end > len(payload):
        return None
    numbers = np.frombuffer(payload[start:end], _FLOAT32)  # of a copy, so that they are aligned
    if first_not_finite(numbers) is not None:
        return None
    try:
        return _with_fields(numbers.reshape(rows, channels), payload, end)
    except (_NotPlain, IndexError, struct.error, UnicodeDecodeError):
        return None


@lru_cache(maxsize=256)
def _layout(head: bytes) -> tuple[int, int, int] | None:
    """Rows, channels and bytes of the numbers, from the bytes between `_OPENING` and the numbers.

    Cached: a fleet sends few different shapes, and a head has at most 17 bytes.
    """
    try:
        rows, at = _argument(head, 0, _UNSIGNED)
        channels, at = _argument(head, at, _UNSIGNED)
        size, end = _argument(head, at + len(_FLOAT32_LE), _BYTES)
    except (_NotPlain, IndexError, struct.error):
        return None
    good = head[at:].startswith(_FLOAT32_LE) and end == len(head)
    return (rows, channels, size) if good and 0 < size == rows * channels * 4 else None


def _argument(payload: bytes, at: int, major: int) -> tuple[int, int]:
    """Argument of the item at `at`, which must be of this major type, and where its content or the next item starts.

    RFC 8949 section 3: the low five bits of the first byte are the argument, or say how many bytes it has.
    """
    low = payload[at] - major
    if low == 26:
        return _uint32(payload, at + 1)[0], at + 5
    if low == 25:
        return _uint16(payload, at + 1)[0], at + 3
    if low == 24:
        return payload[at + 1], at + 2
    if 0 <= low < 24:
        return low, at + 1
    raise _NotPlain


def _with_fields(values: Rows, payload: bytes, at: int) -> Observation | None:
    seq = epoch = t = dt = lane = receipt = None
    for _ in range(payload[0] - _FIRST):
        head = at
        at += payload[at] - 0x5F  # behind the key, if it is a short text: the comparisons cover its first byte
        key = payload[head:at]
        if key == _SEQ and seq is None:
            seq, at = _argument(payload, at, _UNSIGNED)
        elif key == _EPOCH and epoch is None:
            length, start = _argument(payload, at, _TEXT)
            at = start + length
            epoch = payload[start:at].decode()
        elif key == _T and t is None and payload[at] == _FLOAT64:
            t = _float64(payload, at + 1)[0]
            at += 9
        elif key == _DT and dt is None and payload[at] == _FLOAT64:
            dt = _float64(payload, at + 1)[0]
            at += 9
        elif key == _RECEIPT and receipt is None and _FALSE <= payload[at] <= _TRUE:
            receipt = payload[at] == _TRUE
            at += 1
        elif key == _LANE and lane is None:
            length, start = _argument(payload, at, _TEXT)
            at = start + length
            lane = payload[start:at].decode()
        else:
            return None
    if at != len(payload):  # bytes missing or left over
        return None
    return good_observation(values, seq, epoch, t, dt, lane, receipt)
