"""Payloads of devices that keep their own format → Observation, as a route declares it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from bridge.errors import Refused
from bridge.settings import InvalidKey
from bridge.wire.arrays import all_finite
from bridge.wire.formats import Format
from bridge.wire.observation import observation_of
from bridge.wire.parse import parse

if TYPE_CHECKING:
    from bridge.messages import Observation


class Decoding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a foreign payload is read.

    Attributes:
        format: "json" or "cbor" text with named fields, "csv" numbers (one row a line), or "float32" raw little-endian
            numbers, row by row.
        values: dotted path to the rows (rows × channels, or one row) in json and cbor.
        fields: instead of `values`: dotted paths to one number a channel; the message is one row.
        seq: dotted path to the row number of the first row.
        t: dotted path to the time of the first row.
        t_unit: unit of that time since 1970.
        scale: the numbers are multiplied by it, for devices that send other units.
    """

    format: Literal["json", "cbor", "csv", "float32"] = "json"
    values: str | None = None
    fields: tuple[str, ...] | None = None
    seq: str | None = None
    t: str | None = None
    t_unit: Literal["s", "ms", "us"] = "s"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise InvalidKey("scale", f"{self.scale} is not a finite number")


_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6}


def decode_foreign(payload: bytes, decoding: Decoding, channels: int) -> Observation:
    """The Observation that a foreign payload stands for.

    Args:
        payload: untrusted bytes.
        decoding: how to read them.
        channels: channels of a row.

    Raises:
        Refused: with a reason of the contract, naming the path or line.
    """
    if decoding.format == "csv":
        fields: dict[str, Any] = {"values": _csv(payload)}
    elif decoding.format == "float32":
        fields = {"values": _raw(payload, channels)}
    else:
        fields = _named(parse(payload, Format.JSON if decoding.format == "json" else Format.CBOR), decoding)
    seen = observation_of(fields)
    if decoding.scale == 1.0:
        return seen
    with np.errstate(over="ignore", invalid="ignore"):  # what leaves float32 is refused as such
        values = (seen.values.astype(np.float64) * decoding.scale).astype(np.float32)
    try:
        return msgspec.structs.replace(seen, values=all_finite(values))
    except Refused as why:
        raise Refused(why.reason, f"{why.detail} once multiplied by {decoding.scale}", seq=seen.seq) from why


def _named(value: Any, decoding: Decoding) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if decoding.fields is not None:
        found["values"] = [[_at(value, path) for path in decoding.fields]]
    else:
        rows = _at(value, decoding.values or "values")
        one_row = isinstance(rows, list) and bool(rows) and not isinstance(rows[0], list)
        found["values"] = [rows] if one_row else rows
    if decoding.seq is not None:
        found["seq"] = _at(value, decoding.seq)
    if decoding.t is not None:
        t = _at(value, decoding.t)
        if isinstance(t, bool) or not isinstance(t, int | float):
            raise Refused("malformed", f"{decoding.t} is not a number of {decoding.t_unit}")
        try:
            found["t"] = t / _PER_SECOND[decoding.t_unit]
        except OverflowError as why:
            raise Refused("not_finite", f"{decoding.t} is beyond a 64-bit float") from why
    return found


def _at(value: Any, path: str) -> Any:
    here = value
    for key in path.split("."):
        if isinstance(here, dict) and key in here:
            here = here[key]
        elif isinstance(here, list) and key.isdecimal() and int(key) < len(here):
            here = here[int(key)]
        else:
            raise Refused("missing_key", path)
    return here


def _csv(payload: bytes) -> list[list[float]]:
    try:
        lines = payload.decode("utf-8").split("\n")
    except UnicodeDecodeError as why:
        raise Refused("malformed", f"not UTF-8 at byte {why.start}") from why
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append([float(text) for text in line.replace(";", ",").split(",")])
        except ValueError as why:
            raise Refused("malformed", f"line {number}: {str(why)[:80]}") from why
    return rows


def _raw(payload: bytes, channels: int) -> list[list[float]]:
    if not payload or len(payload) % (4 * channels):
        raise Refused("shape", f"{len(payload)} bytes are no whole rows of {channels} float32")
    with np.errstate(invalid="ignore"):  # a signalling NaN, refused as any other
        rows: list[list[float]] = np.frombuffer(payload, dtype="<f4").reshape(-1, channels).astype(np.float64).tolist()
    return rows
