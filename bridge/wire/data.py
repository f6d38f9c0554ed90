"""What devices publish ↔ bytes: an Observation, or a Skip, told apart by the key `skip`."""

from __future__ import annotations

from typing import Annotated, Any

import cbor2
import msgspec
from msgspec import Meta

from bridge.errors import Refused
from bridge.messages import Observation, Skip
from bridge.wire.fields import MAX_EPOCH, MAX_SEQ
from bridge.wire.formats import Format
from bridge.wire.observation import observation_of, opened, short_way
from bridge.wire.parse import DEPTH, parse
from bridge.wire.plain_cbor import plain_cbor
from bridge.wire.zstd import MOST

MAX_RANGES = 64  # of one Skip, as of a Receipt
MAX_WHY = 128  # characters

_Row = Annotated[int, Meta(ge=0, le=MAX_SEQ)]


class _Wire(msgspec.Struct, frozen=True):
    skip: Annotated[list[tuple[_Row, _Row]], Meta(min_length=1, max_length=MAX_RANGES)]
    why: Annotated[str, Meta(min_length=1, max_length=MAX_WHY)] = "not said"
    epoch: Annotated[str, Meta(min_length=1, max_length=MAX_EPOCH)] | None = None
    receipt: bool = False


def decode_data(payload: bytes, form: Format, *, depth: int = DEPTH, most: int = MOST) -> Observation | Skip:
    """What the payload encodes; the arguments are those of `decode_observation`.

    Raises:
        Refused: with a reason of the contract; carries `seq` where that could still be read.
    """
    if form is Format.CBOR and (plain := plain_cbor(payload, depth)) is not None:  # most of what comes, so it is first
        return plain
    content, form = opened(payload, form, most)
    if content is not payload or form is Format.JSON:
        plain = short_way(content, form, depth)
        if plain is not None:
            return plain
    value = parse(content, form, depth=depth)
    return _skip_of(value) if isinstance(value, dict) and "skip" in value else observation_of(value)


def _skip_of(value: dict[str, Any]) -> Skip:
    if "values" in value:
        raise Refused("malformed", "either `values` or `skip`, not both")
    try:
        found = msgspec.convert(value, _Wire)
    except msgspec.ValidationError as why:
        raise Refused("malformed", f"not a skip: {why}") from why
    for text in (found.why, found.epoch or ""):
        if not text.isprintable():
            raise Refused("malformed", "not a skip: `why` and `epoch` are of printable characters")
    for first, last in found.skip:
        if last < first:
            raise Refused("malformed", f"not a skip: row {last} comes before row {first}", seq=first)
    return Skip(found.skip, found.why, found.epoch or "", found.receipt)


def encode_skip(skip: Skip, form: Format) -> bytes:
    """Bytes of a Skip of at most `MAX_RANGES` ranges."""
    fields: dict[str, Any] = {"skip": skip.ranges, "why": skip.why[:MAX_WHY]}
    if skip.epoch:
        fields["epoch"] = skip.epoch
    if skip.receipt:
        fields["receipt"] = True
    return msgspec.json.encode(fields) if form is Format.JSON else cbor2.dumps(fields)
