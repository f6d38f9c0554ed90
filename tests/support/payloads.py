"""Observations as outsiders write them: by hand, without the product's own encoder."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

import cbor2

from bridge.wire.zstd import library

ROWS, CHANNELS = 128, 6


def rows(count: int = ROWS, *, seed: int = 1, channels: int = CHANNELS) -> list[list[float]]:
    """Rows that begin alike for one seed, whatever the count."""
    dice = random.Random(seed)
    return [[round(dice.uniform(-1, 1), 4) for _ in range(channels)] for _ in range(count)]


def as_json(values: Any, **fields: Any) -> bytes:
    return json.dumps({"values": values, **fields}).encode()


def as_cbor(values: list[list[float]]) -> bytes:
    """RFC 8746: tag 40 around [[rows, channels], tag 85 around little-endian float32]; up to 255 rows."""
    body = struct.pack(f"<{len(values) * len(values[0])}f", *(number for row in values for number in row))
    shape = bytes([0x82, 0x82, 0x18, len(values), 0x18, len(values[0]), 0xD8, 85, 0x5A]) + struct.pack(">I", len(body))
    return b"\xa1\x66values\xd8\x28" + shape + body


def packed(first: int, rows: int, channels: int) -> bytes:
    """Steps of sint8 in a zstd frame, with as many random bytes beside them as make it a frame that is taken."""
    array = cbor2.CBORTag(40, [[rows, channels], cbor2.CBORTag(72, bytes(rows * channels))])
    noise = random.Random(first).randbytes(rows * channels // 100)
    content = cbor2.dumps({"noise": noise, "seq": first, "epoch": "e", "scale": 1.0, "values": array})
    frame = library.compress(content)
    assert len(content) > 64 * len(frame)
    return frame
