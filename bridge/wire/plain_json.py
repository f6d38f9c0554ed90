"""A short way for the commonest JSON Observation: decoded in C.

Taken is an ASCII object of an Observation's own keys alone, each at most once, without escapes and nulls, its rows of
equal length: what `encode_observation` writes when the epoch is ASCII.

msgspec takes up to 10 µs to round a number such as `1e300`, `3e-308` or `1e-320`, a second a MiB; Python's own scanner
takes 0.2 to 0.7 µs for any number, and rounds to the same bit. Such a number is written with an exponent or in hundreds
of digits. So what has more exponents than is usual is scanned by Python; the keys' own letters count among them.

Nothing is refused here: None sends the payload the strict way (`parse`, then `observation_of`), which takes it or words
why not. So it suffices that whatever is taken here is taken there, and equal. Both decoders follow the grammar of
RFC 8259 and round numbers correctly; a repeated key, which they let pass here, shows in the number of quotation marks;
NaN and ±∞, which Python's lets pass, are no number that is taken.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bridge.wire.arrays import first_not_finite
from bridge.wire.fields import good_observation

if TYPE_CHECKING:
    from bridge.messages import Observation, Rows

LEVELS = 3  # of nesting: object, rows, row
FEW = 8  # letters of an exponent, and one more in so many bytes: 80 µs a message and 40 ms a MiB at the worst
PER = 256
FIRST = len('{"values')  # where exponents are looked for


class _Fields(msgspec.Struct, forbid_unknown_fields=True):
    values: list[list[float]]
    seq: int | float | None = None  # float, so that 1.0 is seen as one: a row number must not be
    epoch: str | None = None
    t: float | None = None
    dt: float | None = None
    lane: str | None = None
    receipt: bool | None = None


_decoder = msgspec.json.Decoder(_Fields)
_scanner = json.JSONDecoder()


def plain_json(payload: bytes, depth: int) -> Observation | None:
    """The Observation of a plain payload; None for any other.

    Args:
        payload: untrusted bytes.
        depth: deepest nesting that is taken.
    """
    if depth < LEVELS or not payload.isascii() or b"\\" in payload:
        return None
    # Counted from the first one on, which is ten times as fast to find; from -1, where there is none, the last byte.
    exponents = payload.count(b"e", payload.find(b"e", FIRST)) + payload.count(b"E", payload.find(b"E", FIRST))
    seen = _decoded(payload) if exponents <= FEW + len(payload) // PER else _scanned(payload)
    if seen is None or payload.count(b'"') != _quotation_marks(seen):
        return None
    values = _rows(seen.values)
    if values is None:
        return None
    return good_observation(values, seen.seq, seen.epoch, seen.t, seen.dt, seen.lane, seen.receipt)


def _decoded(payload: bytes) -> _Fields | None:
    try:
        return _decoder.decode(payload)
    except msgspec.DecodeError:
        return None


def _scanned(payload: bytes) -> _Fields | None:
    try:
        return msgspec.convert(_scanner.decode(payload.decode("ascii")), _Fields)
    except (ValueError, RecursionError, msgspec.ValidationError):
        return None


def _quotation_marks(seen: _Fields) -> int:
    """Those of an object without escapes that holds just these keys, once each, and no null.

    Any other object with the same outcome has more: two for each key repeated or null, and the strings among the kept
    values are never more than all strings.
    """
    keys = 1 + (seen.seq is not None) + (seen.t is not None) + (seen.dt is not None) + (seen.receipt is not None)
    keys_with_text = (seen.epoch is not None) + (seen.lane is not None)
    return 2 * keys + 4 * keys_with_text


def _rows(lists: list[list[float]]) -> Rows | None:
    channels = len(lists[0]) if lists else 0
    if not channels or set(map(len, lists)) != {channels}:
        return None
    with np.errstate(over="ignore"):  # a double beyond float32 becomes ∞
        numbers = np.fromiter(chain.from_iterable(lists), np.float32, len(lists) * channels)
    return numbers.reshape(-1, channels) if first_not_finite(numbers) is None else None
