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
_SEQ, _EPOCH, _LANE, _RECEIPT = b"\x63seq", b"\x65epoch", b"\x64lane", b"\x67receipt"
_SEQ_UINT32 = _SEQ + b"\x1a"
_T_FLOAT64, _DT_FLOAT64, _FALSE, _TRUE = b"\x61t\xfb", b"\x62dt\xfb", _RECEIPT + b"\xf4", _RECEIPT + b"\xf5"
_UNSIGNED, _BYTES, _TEXT = 0x00, 0x40, 0x60  # major types, in the high three bits
_LENGTH_BYTES = {0x58: 1, 0x59: 2, 0x5A: 4}  # behind the first byte of a byte string

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
    if depth < LEVELS:
        return None
    try:
        tag = payload.find(_FLOAT32_LE, 14, 24)
        start = tag + 3 + _LENGTH_BYTES.get(payload[tag + 2], 0)
        layout = _layout(payload[:start])
        if layout is None:
            return None
        shape, size, aligned = layout
        end = start + size
        if end > len(payload):
            return None
        # Where they are not aligned, of a copy: numpy takes three times as long else.
        values = np.ndarray(shape, _FLOAT32, payload if aligned else payload[start:end], start if aligned else 0)
        if first_not_finite(values) is not None:
            return None
        return _with_fields(values, payload, end)
    except (_NotPlain, IndexError, struct.error, UnicodeDecodeError):
        return None


@lru_cache(maxsize=256)
def _layout(head: bytes) -> tuple[tuple[int, int], int, bool] | None:
    """(rows, channels), bytes of the numbers, and whether those are aligned, from the bytes before them.

    Cached: a fleet sends few different shapes, and a head has at most 29 bytes.
    """
    if head[1:12] != _OPENING or not _FIRST <= head[0] <= _LAST:
        return None
    try:
        rows, at = _argument(head, 12, _UNSIGNED)
        channels, at = _argument(head, at, _UNSIGNED)
        size, end = _argument(head, at + len(_FLOAT32_LE), _BYTES)
    except (_NotPlain, IndexError, struct.error):
        return None
    good = head[at:].startswith(_FLOAT32_LE) and end == len(head)
    return ((rows, channels), size, end % 4 == 0) if good and 0 < size == rows * channels * 4 else None


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


def _row(payload: bytes, at: int) -> tuple[int, int]:
    """The `seq` at `at`, and where the next entry starts."""
    if payload[at : at + 5] == _SEQ_UINT32:
        return _uint32(payload, at + 5)[0], at + 9
    if payload[at : at + 4] == _SEQ:
        return _argument(payload, at + 4, _UNSIGNED)
    raise _NotPlain


def _text(payload: bytes, at: int, key: bytes) -> tuple[str, int]:
    """The definite text of this key at `at`, and where the next entry starts."""
    start = at + len(key)
    if payload[at:start] != key:
        raise _NotPlain
    length = payload[start] - _TEXT
    start += 1
    if not 0 <= length < 24:
        length, start = _argument(payload, start - 1, _TEXT)
    end = start + length
    return payload[start:end].decode(), end


def _float(payload: bytes, at: int, key: bytes) -> tuple[float, int]:
    """The 64-bit float of this key at `at`, and where the next entry starts."""
    start = at + len(key)
    if payload[at:start] != key:
        raise _NotPlain
    return _float64(payload, start)[0], start + 8


def _with_fields(values: Rows, payload: bytes, at: int) -> Observation | None:
    seq = epoch = t = dt = lane = receipt = None
    for _ in range(payload[0] - _FIRST):
        first = payload[at]  # of the key: how long it is, and so which it can be
        if first == 0x63 and seq is None:
            seq, at = _row(payload, at)
        elif first == 0x65 and epoch is None:
            epoch, at = _text(payload, at, _EPOCH)
        elif first == 0x61 and t is None:
            t, at = _float(payload, at, _T_FLOAT64)
        elif first == 0x62 and dt is None:
            dt, at = _float(payload, at, _DT_FLOAT64)
        elif first == 0x67 and receipt is None:
            receipt = payload[at : at + 9] == _TRUE
            if not receipt and payload[at : at + 9] != _FALSE:
                return None
            at += 9
        elif first == 0x64 and lane is None:
            lane, at = _text(payload, at, _LANE)
        else:
            return None
    if at != len(payload):  # bytes missing or left over
        return None
    return good_observation(values, seq, epoch, t, dt, lane, receipt)
