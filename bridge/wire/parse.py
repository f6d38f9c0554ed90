"""Strict parsing of untrusted JSON and CBOR into plain Python values.

Strict means: duplicate keys, NaN and ±∞ in JSON, trailing bytes, invalid UTF-8, deep nesting and CBOR tags that would
build anything but an array of numbers are refused; nothing is guessed. CBOR can say NaN: whoever reads a number there
checks it (`finite`, `decode_rows`).
"""

from __future__ import annotations

import io
import json
import math
from typing import Any, NoReturn, TypeVar

import cbor2
import msgspec

from bridge.errors import Refused
from bridge.wire.formats import Format

DEPTH = 32  # nested containers; an Observation needs four

_T = TypeVar("_T", bound=msgspec.Struct)


def parse(payload: bytes, form: Format, *, depth: int = DEPTH) -> Any:
    """The value that the payload encodes.

    Args:
        payload: untrusted bytes.
        form: their format.
        depth: deepest nesting of containers that is taken.

    Raises:
        Refused: `malformed`, `not_finite` or `too_deep`.
    """
    return _parse_json(payload, depth) if form is Format.JSON else _parse_cbor(payload, depth)


def finite(message: _T) -> _T:
    """The message, if each number in its own fields is finite.

    Raises:
        Refused: `not_finite`, naming the field.
    """
    for name in message.__struct_fields__:
        value = getattr(message, name)
        if isinstance(value, float) and not math.isfinite(value):
            raise Refused("not_finite", f"{name} is not finite")
    return message


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value] # set.add returns None, which is the point
        raise Refused("malformed", f"duplicate key {twice[:80]!r}")
    return found


def _constant(text: str) -> NoReturn:
    raise Refused("not_finite", f"{text} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise Refused("not_finite", f"{text[:40]} is beyond a 64-bit float")
    return number


_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant, parse_float=_finite)


def _parse_json(payload: bytes, depth: int) -> Any:
    try:
        value = _JSON.decode(payload.decode("utf-8"))
    except UnicodeDecodeError as why:
        raise Refused("malformed", f"not UTF-8 at byte {why.start}") from why
    except json.JSONDecodeError as why:
        raise Refused("malformed", f"not JSON: {why.msg} at byte {why.pos}") from why
    except RecursionError as why:
        raise Refused("too_deep", f"nested deeper than {depth} levels") from why
    except ValueError as why:  # an integer with more digits than Python converts
        raise Refused("malformed", f"not JSON: {str(why)[:80]}") from why
    if payload.count(b"[") + payload.count(b"{") > depth and _deeper(value, depth):
        raise Refused("too_deep", f"nested deeper than {depth} levels")
    return value


def _deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _no_tag(_value: Any, _immutable: bool) -> NoReturn:  # cbor2 calls it so
    raise ValueError("tags other than RFC 8746 arrays are not taken")


# Tags that cbor2 would turn into objects: dates, big numbers, shared references, regular expressions, addresses …
# A bignum or a bigfloat of ten bytes can cost seconds; none of them belongs into sensor data.
_BUILT_IN_TAGS = (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)
_NO_TAGS = dict.fromkeys(_BUILT_IN_TAGS, _no_tag)


def _parse_cbor(payload: bytes, depth: int) -> Any:
    stream = io.BytesIO(payload)
    try:
        value = cbor2.CBORDecoder(
            stream,
            semantic_decoders=_NO_TAGS,
            max_depth=depth,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        ).decode()
    except cbor2.CBORDecodeError as why:
        text = str(why)
        if "nesting depth" in text:
            raise Refused("too_deep", f"nested deeper than {depth} levels") from why
        cause = f": {why.__cause__}" if why.__cause__ is not None else ""
        raise Refused("malformed", f"not CBOR: {text[:160]}{cause[:80]}") from why
    if stream.tell() != len(payload):
        raise Refused("malformed", f"{len(payload) - stream.tell()} bytes after the CBOR item")
    return value
