"""Observation ↔ bytes."""

from __future__ import annotations

import math
from typing import Any

import cbor2
import msgspec

from bridge.errors import Refused
from bridge.messages import Lane, Observation, Rows
from bridge.wire import zstd as zstandard
from bridge.wire.arrays import Packing, decode_rows, dump_cbor, encode_rows
from bridge.wire.fields import MAX_DT, MAX_EPOCH, MAX_SEQ, MAX_TIME
from bridge.wire.formats import Format, of_payload
from bridge.wire.parse import DEPTH, parse
from bridge.wire.plain_cbor import plain_cbor
from bridge.wire.plain_json import plain_json
from bridge.wire.written_cbor import written_cbor


def decode_observation(payload: bytes, form: Format, *, depth: int = DEPTH, most: int = zstandard.MOST) -> Observation:
    """The Observation that the payload encodes.

    Args:
        payload: untrusted bytes; if they are a zstd frame, its content decides by itself what it is.
        form: their format.
        depth: deepest nesting that is taken.
        most: bytes of a zstd frame's content that are taken.

    Raises:
        Refused: with a reason of the contract; carries `seq` where that could still be read.
    """
    payload, form = opened(payload, form, most)
    plain = short_way(payload, form, depth)
    return observation_of(parse(payload, form, depth=depth)) if plain is None else plain


def short_way(payload: bytes, form: Format, depth: int) -> Observation | None:
    """The Observation of a plain payload; None for any other."""
    return plain_json(payload, depth) if form is Format.JSON else plain_cbor(payload, depth)


def opened(payload: bytes, form: Format, most: int) -> tuple[bytes, Format]:
    """The payload and its format; of a zstd frame its content, whose first byte tells, as without a label.

    Raises:
        Refused: the frame cannot be taken.
    """
    if not payload.startswith(zstandard.MAGIC):
        return payload, form
    content = zstandard.expand(payload, most=most)
    return content, of_payload(content)


def observation_of(value: Any) -> Observation:
    """The Observation that a parsed value stands for.

    Raises:
        Refused: with a reason of the contract; carries `seq` where that could still be read.
    """
    if not isinstance(value, dict):
        raise Refused("malformed", f"an Observation is a map with the key `values`, not {_kind(value)}")
    seq = _seq(value.get("seq"))
    try:
        return Observation(
            values=_values(value),
            seq=seq,
            epoch=_epoch(value.get("epoch")),
            t=_time(value.get("t")),
            dt=_positive("dt", value.get("dt")),
            lane=_lane(value.get("lane", "live")),
            receipt=_flag("receipt", value.get("receipt", False)),
            live_from=_seq(value.get("live_from"), "live_from"),
        )
    except Refused as why:
        raise Refused(why.reason, why.detail, seq=seq) from why


def _values(value: dict[str, Any]) -> Rows:
    if "values" not in value:
        raise Refused("missing_key", "values")
    return decode_rows(value["values"], scale=value.get("scale"), zero=value.get("zero"))


def _kind(value: Any) -> str:
    names = {list: "an array", tuple: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)


def _seq(value: Any, name: str = "seq") -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= MAX_SEQ:
        raise Refused("malformed", f"{name} must be a row number from 0 to {MAX_SEQ}, not {str(value)[:40]!r}")
    return value


def _epoch(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_EPOCH or not value.isprintable():
        raise Refused("malformed", f"epoch must be a name of 1 to {MAX_EPOCH} printable characters")
    return value


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused("malformed", f"{name} must be a number of seconds")
    try:
        number = float(value)
    except OverflowError as why:
        raise Refused("not_finite", f"{name} is beyond a 64-bit float") from why
    if not math.isfinite(number):
        raise Refused("not_finite", f"{name} is not finite")
    return number


def _time(value: Any) -> float | None:
    number = _number("t", value)
    if number is not None and not 0 <= number < MAX_TIME:
        raise Refused(
            "malformed", f"t must be seconds since 1970, not {number:g}; milliseconds are to be divided by 1000"
        )
    return number


def _positive(name: str, value: Any) -> float | None:
    number = _number(name, value)
    if number is not None and not 0 < number <= MAX_DT:
        raise Refused("malformed", f"{name} must be above 0 s and at most {MAX_DT:.0e} s, not {number}")
    return number


def _lane(value: Any) -> Lane:
    if value == "live":
        return "live"
    if value == "backlog":
        return "backlog"
    raise Refused("malformed", f"lane must be 'live' or 'backlog', not {str(value)[:40]!r}")


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise Refused("malformed", f"{name} must be true or false")
    return value


def encode_observation(
    observation: Observation, form: Format, *, packing: Packing = "float32", zstd: bool = False
) -> bytes:
    """Bytes of an Observation.

    Args:
        observation: what to encode.
        form: JSON writes rows as lists; CBOR as an RFC 8746 array.
        packing: number type of that array; JSON ignores it.
        zstd: put the message into a zstd frame, where that is smaller.
    """
    payload = _encoded(observation, form, packing)
    return zstandard.compress(payload) if zstd else payload


def _encoded(observation: Observation, form: Format, packing: Packing) -> bytes:
    if form is Format.JSON:
        return msgspec.json.encode({"values": observation.values.tolist(), **_fields(observation)})
    if packing == "float32" and (plain := written_cbor(observation)) is not None:
        return plain
    array, beside = encode_rows(observation.values, packing)
    if packing == "float32":  # there is a short way to read it, which wants 64-bit floats behind the rows
        return cbor2.dumps({"values": array, **_fields(observation)})
    # What is alike in all messages comes first, so that one reference to the dictionary of zstd stands for it.
    return dump_cbor({**dict(reversed(_fields(observation).items())), **beside, "values": array})


def _fields(observation: Observation) -> dict[str, Any]:
    """What goes beside the rows."""
    fields: dict[str, Any] = {}
    if observation.seq is not None:
        fields["seq"] = observation.seq
    if observation.epoch:
        fields["epoch"] = observation.epoch
    if observation.t is not None:
        fields["t"] = observation.t
    if observation.dt is not None:
        fields["dt"] = observation.dt
    if observation.lane != "live":
        fields["lane"] = observation.lane
    if observation.receipt:
        fields["receipt"] = True
    if observation.live_from is not None:
        fields["live_from"] = observation.live_from
    return fields
