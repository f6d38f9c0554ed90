"""Payloads of devices that keep their own format, as a route declares it."""

from __future__ import annotations

import json
import struct
from typing import Any

import cbor2
import pytest

from bridge.errors import Refused
from bridge.settings import InvalidKey
from bridge.wire.foreign import Decoding, decode_foreign


def rows(payload: bytes, channels: int = 2, **how: Any) -> list[list[float]]:
    values: list[list[float]] = decode_foreign(payload, Decoding(**how), channels).values.tolist()
    return values


def test_a_dotted_path_leads_through_objects_and_arrays() -> None:
    payload = json.dumps({"d": [{"acc": [[1, 2], [3, 4]]}], "n": 5, "at": {"ms": 1500}}).encode()
    seen = decode_foreign(payload, Decoding(values="d.0.acc", seq="n", t="at.ms", t_unit="ms"), 2)
    assert (seen.values.tolist(), seen.seq, seen.t) == ([[1, 2], [3, 4]], 5, 1.5)


def test_values_may_be_one_row() -> None:
    assert rows(b'{"values": [1, 2]}') == [[1, 2]]


def test_fields_gather_one_row() -> None:
    assert rows(b'{"x": 1, "y": {"v": 2.5}}', fields=("x", "y.v")) == [[1, 2.5]]


@pytest.mark.parametrize(("unit", "t"), [("s", 2_000_000.0), ("ms", 2_000.0), ("us", 2.0)])
def test_times_have_units(unit: str, t: float) -> None:
    seen = decode_foreign(b'{"values": [1], "ts": 2000000}', Decoding(t="ts", t_unit=unit), 1)  # type: ignore[arg-type] # parametrised
    assert seen.t == t


def test_cbor_may_hold_a_typed_array() -> None:
    array = cbor2.CBORTag(40, [[2, 1], cbor2.CBORTag(85, struct.pack("<2f", 1.5, 2.5))])
    assert rows(cbor2.dumps({"v": array}), 1, format="cbor", values="v") == [[1.5], [2.5]]


def test_csv_is_one_row_a_line_with_commas_or_semicolons() -> None:
    assert rows(b"1, 2\r\n\n3;4.5\n", format="csv") == [[1, 2], [3, 4.5]]


def test_raw_float32_is_row_by_row() -> None:
    assert rows(struct.pack("<4f", 1, 2, 3, 4), format="float32") == [[1, 2], [3, 4]]


def test_numbers_are_scaled() -> None:
    assert rows(b"1000,-500", format="csv", scale=0.001) == [[1.0, -0.5]]


@pytest.mark.parametrize(
    ("payload", "how", "reason", "place"),
    [
        (b"{}", {}, "missing_key", "values"),
        (b'{"d": [1]}', {"values": "d.1"}, "missing_key", "d.1"),
        (b'{"d": [1]}', {"values": "d.-1"}, "missing_key", "d.-1"),
        (b'{"d": [1]}', {"values": "d.\u00b2"}, "missing_key", "d."),
        (b'{"d": "abc"}', {"values": "d.0"}, "missing_key", "d.0"),
        (b"[]", {}, "missing_key", "values"),
        (b'{"values": []}', {}, "shape", "no row"),
        (b'{"values": [1, "2"]}', {}, "shape", "$[0][1]"),
        (b'{"x": 1, "y": true}', {"fields": ("x", "y")}, "shape", "$[0][1]"),
        (b'{"x": 1}', {"fields": ("x", "y")}, "missing_key", "y"),
        (b'{"values": [1, 2], "n": -1}', {"seq": "n"}, "malformed", "seq"),
        (b'{"values": [1, 2]}', {"seq": "n"}, "missing_key", "n"),
        (b'{"values": [1, 2], "ts": "now"}', {"t": "ts"}, "malformed", "ts is not a number of s"),
        (b'{"values": [1, 2], "ts": true}', {"t": "ts", "t_unit": "us"}, "malformed", "number of us"),
        (b'{"values": [1, 2], "ts": 1' + b"0" * 400 + b"}", {"t": "ts", "t_unit": "ms"}, "not_finite", "ts is beyond"),
        (b'{"values": [1e999]}', {}, "not_finite", "1e999"),
        (b'{"values": [1], "values": [1]}', {}, "malformed", "duplicate"),
        (b"\xff", {"format": "cbor"}, "malformed", "CBOR"),
        (b"", {"format": "csv"}, "shape", "no row"),
        (b"\n \n", {"format": "csv"}, "shape", "no row"),
        (b"1,2\nx,3", {"format": "csv"}, "malformed", "line 2"),
        (b"1,2\n3,", {"format": "csv"}, "malformed", "line 2"),
        (b"1,2\n3", {"format": "csv"}, "shape", "values[1]"),
        (b"1,nan", {"format": "csv"}, "not_finite", "values[0][1]"),
        (b"-inf,1", {"format": "csv"}, "not_finite", "values[0][0]"),
        (b"1,1e39", {"format": "csv"}, "not_finite", "values[0][1]"),
        (b"1,\xff", {"format": "csv"}, "malformed", "not UTF-8 at byte 2"),
        (b"", {"format": "float32"}, "shape", "0 bytes"),
        (b"\0" * 12, {"format": "float32"}, "shape", "12 bytes"),
        (b"\0" * 4 + b"\0\0\xc0\x7f", {"format": "float32"}, "not_finite", "values[0][1]"),
        (b"\0" * 10 + b"\x81\x7f" + b"\0" * 4, {"format": "float32"}, "not_finite", "values[1][0]"),  # signalling
        (b"1e30,1", {"format": "csv", "scale": 1e30}, "not_finite", "values[0][0]"),
        (b"0,1", {"format": "csv", "scale": 1e300}, "not_finite", "values[0][1]"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path_or_line(
    payload: bytes, how: dict[str, Any], reason: str, place: str
) -> None:
    with pytest.raises(Refused) as caught:
        decode_foreign(payload, Decoding(**how), 2)
    assert caught.value.reason == reason
    assert place in caught.value.detail


def test_a_row_that_leaves_float32_when_scaled_is_told_by_its_number() -> None:
    with pytest.raises(Refused, match="once multiplied by 1e") as caught:
        decode_foreign(b'{"values": [1e30], "n": 9}', Decoding(seq="n", scale=1e30), 1)
    assert caught.value.seq == 9


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_scale_that_is_no_number_is_an_invalid_key(scale: float) -> None:
    with pytest.raises(InvalidKey, match="not a finite number"):
        Decoding(scale=scale)
