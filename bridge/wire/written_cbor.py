"""A short way to write the commonest CBOR Observation, float32: joined from bytes that are the same in every message.

What it writes is what `cbor2.dumps` writes, to the byte; None where that is to be asked.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.messages import Observation

_UNSIGNED, _BYTES, _TEXT, _MAP = 0x00, 0x40, 0x60, 0xA0  # major types, RFC 8949 section 3.1
_ROWS = b"\x66values\xd8\x28\x82\x82"  # the key, tag 40, an array of two, the first of them the dimensions
_FLOAT32_LE = b"\xd8\x55"
_SEQ, _EPOCH, _RECEIPT = b"\x63seq", b"\x65epoch", b"\x67receipt\xf5"
_T, _DT = b"\x61t\xfb", b"\x62dt\xfb"  # each with the first byte of a 64-bit float
_WIDTHS = ((1 << 8, 24, "B"), (1 << 16, 25, "H"), (1 << 32, 26, "I"), (1 << 64, 27, "Q"))
_KINDS = 64  # of messages whose bytes are kept

_times = struct.Struct(f">{len(_T)}sd{len(_DT)}sd").pack


def written_cbor(observation: Observation) -> bytes | None:
    """The Observation with its rows as float32, as an agent writes it: numbered, timed, live; None for any other."""
    values, seq, t, dt = observation.values, observation.seq, observation.t, observation.dt
    if seq is None or t is None or dt is None or not (isfinite(t) and isfinite(dt)):
        return None
    if observation.lane != "live" or observation.live_from is not None:
        return None
    head, epoch, end = _same(*values.shape, observation.epoch, observation.receipt)
    rows = values.astype("<f4", copy=False).tobytes()
    return b"".join((head, rows, _SEQ, _item(_UNSIGNED, seq), epoch, _times(_T, t, _DT, dt), end))


@lru_cache(_KINDS)
def _same(rows: int, channels: int, epoch: str, receipt: bool) -> tuple[bytes, bytes, bytes]:
    """What is before the rows, between `seq` and `t`, and behind `dt`."""
    name = epoch.encode()
    size = _item(_BYTES, 4 * rows * channels)
    entries = 4 + bool(epoch) + receipt
    head = bytes((_MAP | entries,)) + _ROWS + _item(_UNSIGNED, rows) + _item(_UNSIGNED, channels) + _FLOAT32_LE + size
    return head, _EPOCH + _item(_TEXT, len(name)) + name if name else b"", _RECEIPT if receipt else b""


def _item(major: int, number: int) -> bytes:
    """First bytes of an item: its major type and its argument, as short as can be."""
    if number < 24:
        return bytes((major | number,))
    low, code = next((low, code) for end, low, code in _WIDTHS if number < end)
    return struct.pack(">B" + code, major | low, number)
