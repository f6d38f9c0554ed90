"""Result, Receipt, Error and status ↔ bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from bridge.errors import Refused
from bridge.messages import Error, Receipt, Result
from bridge.wire.fields import MAX_SEQ
from bridge.wire.formats import Format
from bridge.wire.parse import finite, parse

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T", Result, Receipt, Error)
_encoder = msgspec.json.Encoder()

encode_answer: Callable[[Result | Receipt | Error], bytes] = _encoder.encode
"""JSON of an answer, its keys as in the contract."""


def encode_status(*, online: bool, t: float, **facts: Any) -> bytes:
    """JSON of a retained status.

    Args:
        online: whether its publisher is there.
        t: seconds since 1970.
        facts: what else the publisher tells.
    """
    return _encoder.encode({"online": online, "t": t, **facts})


def decode_answer(payload: bytes, kind: type[_T]) -> _T:
    """The Result, Receipt or Error that JSON or CBOR bytes encode; keys added by later versions are ignored.

    Raises:
        Refused: `malformed`, `not_finite` or what `parse` refuses.
    """
    form = Format.JSON if payload[:1] == b"{" else Format.CBOR
    try:
        found = finite(msgspec.convert(parse(payload, form), kind))
    except msgspec.ValidationError as why:
        raise Refused("malformed", f"not a {kind.__name__}: {why}") from why
    if isinstance(found, Receipt):
        _check_rows(found)
    return found


def _check_rows(receipt: Receipt) -> None:
    for first, last in receipt.safe:
        if not 0 <= first <= last <= MAX_SEQ:
            raise Refused("malformed", f"not a Receipt: rows {first} to {last}; rows are numbers from 0 to {MAX_SEQ}")


def decode_status(payload: bytes) -> dict[str, Any]:
    """The keys of a status; `online` is there and a boolean.

    Raises:
        Refused: `malformed` or what `parse` refuses.
    """
    value = parse(payload, Format.JSON)
    if not isinstance(value, dict) or not isinstance(value.get("online"), bool):
        raise Refused("malformed", "a status is an object with the boolean `online`")
    return value
