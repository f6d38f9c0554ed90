"""What an Observation may be, and with which reason and place everything else is refused."""

from __future__ import annotations

import math
from typing import Any

import cbor2
import numpy as np
import pytest

from bridge.errors import Refused
from bridge.messages import Observation
from bridge.wire.formats import Format, of_content_format, of_content_type, of_payload
from bridge.wire.observation import decode_observation, encode_observation

JSON, CBOR = Format.JSON, Format.CBOR


def refusal(payload: bytes, form: Format = JSON) -> Refused:
    with pytest.raises(Refused) as caught:
        decode_observation(payload, form)
    return caught.value


def tag(rows: Any, channels: Any, body: Any, number: int = 85, outer: int = 40) -> cbor2.CBORTag:
    return cbor2.CBORTag(outer, [[rows, channels], cbor2.CBORTag(number, body)])


F4 = np.array([[1.5, -2.0], [3.25, 4.0]], dtype="<f4")


@pytest.mark.parametrize("form", list(Format))
def test_all_keys_arrive(form: Format) -> None:
    sent = Observation(F4, seq=7, epoch="boot 3", t=1.5e9, dt=0.02, lane="backlog", receipt=True)
    got = decode_observation(encode_observation(sent, form), form)
    assert (got.seq, got.epoch, got.t, got.dt, got.lane, got.receipt) == (7, "boot 3", 1.5e9, 0.02, "backlog", True)
    assert got.values.dtype == np.float32
    assert np.array_equal(got.values, F4)


def test_only_values_are_needed_and_unknown_keys_are_left_alone() -> None:
    got = decode_observation(b'{"values": [[1, 2.5]], "firmware": {"a": [null, "x"]}}', JSON)
    assert (got.seq, got.epoch, got.t, got.dt, got.lane, got.receipt) == (None, "", None, None, "live", False)
    assert got.values.tolist() == [[1.0, 2.5]]


def test_null_counts_as_left_out() -> None:
    got = decode_observation(b'{"values": [[1]], "seq": null, "epoch": null, "t": null, "dt": null}', JSON)
    assert (got.seq, got.epoch, got.t, got.dt) == (None, "", None, None)


@pytest.mark.parametrize(
    ("payload", "reason", "place"),
    [
        (b"", "malformed", "byte 0"),
        (b'{"values": [[1]]} x', "malformed", "byte 18"),
        (b'{"values": [[1]]}{}', "malformed", "Extra data"),
        (b'{"values": [[1]],}', "malformed", "byte"),
        (b'\xff{"values": [[1]]}', "malformed", "not UTF-8 at byte 0"),
        (b'{"values": [[1]], "n": "\xc3\x28"}', "malformed", "not UTF-8 at byte 24"),
        (b"\xef\xbb\xbf{}", "malformed", "byte 0"),
        (b"[[1]]", "malformed", "not an array"),
        (b'"values"', "malformed", "not a string"),
        (b"5", "malformed", "not a number"),
        (b"null", "malformed", "not null"),
        (b"true", "malformed", "not a boolean"),
        (b"{}", "missing_key", "values"),
        (b'{"values": null}', "shape", "values"),
        (b'{"values": []}', "shape", "no row"),
        (b'{"values": [[]]}', "shape", "no channel"),
        (b'{"values": [1, 2]}', "shape", "$[0]"),
        (b'{"values": [[1], [[2]]]}', "shape", "$[1][0]"),
        (b'{"values": [[1, 2], [3]]}', "shape", "values[1] has 1 channels, values[0] has 2"),
        (b'{"values": [[1], []]}', "shape", "values[1] has 0"),
        (b'{"values": [[1, true]]}', "shape", "$[0][1]"),
        (b'{"values": [[1], ["2"]]}', "shape", "$[1][0]"),
        (b'{"values": [[1], [null]]}', "shape", "$[1][0]"),
        (b'{"values": [[NaN]]}', "not_finite", "NaN"),
        (b'{"values": [[1, -Infinity]]}', "not_finite", "-Infinity"),
        (b'{"values": [[1e999]]}', "not_finite", "1e999"),
        (b'{"values": [[-1E999]]}', "not_finite", "-1E999"),
        (b'{"values": [[0], [1e39]]}', "not_finite", "values[1][0]"),
        (b'{"values": [[0, 1' + b"0" * 40 + b"]]}", "not_finite", "values[0][1]"),
        (b'{"values": [[1' + b"0" * 400 + b"]]}", "shape", "$[0][0]"),
        (b'{"values": [[1' + b"0" * 5000 + b"]]}", "malformed", "digits"),
        (b'{"values": [[1]], "x": 1' + b"0" * 400 + b".0}", "not_finite", "beyond a 64-bit float"),
        (b'{"values": [[1]], "x": Infinity}', "not_finite", "Infinity"),
        (b'{"values": [[1]], "values": [[1]]}', "malformed", "duplicate key 'values'"),
        (b'{"values": [[1]], "x": {"a": 1, "b": 2, "a": 1}}', "malformed", "duplicate key 'a'"),
        (b"[" * 10_000 + b"]" * 10_000, "too_deep", "32"),
        (b"[" * 10_000, "too_deep", "32"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "too_deep", "32"),
        (b'{"values": [[1]], "x": ' + b"[" * 32 + b"]" * 32 + b"}", "too_deep", "32"),
        (b'{"values": [[1]], "seq": -1}', "malformed", "seq"),
        (b'{"values": [[1]], "seq": 1.0}', "malformed", "seq"),
        (b'{"values": [[1]], "seq": true}', "malformed", "seq"),
        (b'{"values": [[1]], "seq": "1"}', "malformed", "seq"),
        (b'{"values": [[1]], "seq": 9007199254740992}', "malformed", "seq"),
        (b'{"values": [[1]], "epoch": ""}', "malformed", "epoch"),
        (b'{"values": [[1]], "epoch": 3}', "malformed", "epoch"),
        (b'{"values": [[1]], "epoch": "a\\u0000b"}', "malformed", "epoch"),
        (b'{"values": [[1]], "epoch": "\\ud800"}', "malformed", "epoch"),
        (b'{"values": [[1]], "epoch": "' + b"e" * 65 + b'"}', "malformed", "epoch"),
        (b'{"values": [[1]], "lane": "fast"}', "malformed", "'fast'"),
        (b'{"values": [[1]], "lane": null}', "malformed", "lane"),
        (b'{"values": [[1]], "t": "now"}', "malformed", "t must be a number"),
        (b'{"values": [[1]], "t": false}', "malformed", "t must be a number"),
        (b'{"values": [[1]], "t": 1' + b"0" * 400 + b"}", "not_finite", "t is beyond"),
        (b'{"values": [[1]], "t": 1.7e12}', "malformed", "milliseconds"),
        (b'{"values": [[1]], "t": -1}', "malformed", "seconds since 1970"),
        (b'{"values": [[1]], "dt": 0}', "malformed", "dt"),
        (b'{"values": [[1]], "dt": -0.1}', "malformed", "dt"),
        (b'{"values": [[1]], "dt": 1e308}', "malformed", "dt"),
        (b'{"values": [[1]], "dt": [1]}', "malformed", "dt"),
        (b'{"values": [[1]], "receipt": 1}', "malformed", "receipt"),
        (b'{"values": [[1]], "receipt": null}', "malformed", "receipt"),
    ],
)
def test_bad_json_is_refused_with_reason_and_place(payload: bytes, reason: str, place: str) -> None:
    why = refusal(payload)
    assert why.reason == reason
    assert place in why.detail


def _map(**fields: Any) -> bytes:
    return cbor2.dumps({"values": [[1.0]], **fields})


@pytest.mark.parametrize(
    ("payload", "reason", "place"),
    [
        (b"", "malformed", "premature end"),
        (b"\xf6", "malformed", "not null"),
        (b"\x81\x01", "malformed", "not an array"),
        (_map() + b"\x00", "malformed", "1 bytes after"),
        (b"\xd9\xd9\xf7" + _map(), "malformed", "tags other than"),
        (b"\xa2\x61a\x01\x61a\x02", "malformed", "Duplicate map key: 'a'"),
        (b"\xa1\x61x\xa2\x61a\x01\x61a\x02", "malformed", "Duplicate map key: 'a'"),
        (b"\xa1\x01\x02", "malformed", "map key"),
        (b"\x81" * 10_000 + b"\x01", "too_deep", "32"),
        (b"\xa1\x61a" * 10_000 + b"\x01", "too_deep", "32"),
        (b"\xd8\x28" * 10_000 + b"\x01", "too_deep", "32"),
        (b"\x9f" * 10_000, "too_deep", "32"),
        (b"\x9b" + b"\xff" * 8, "malformed", "premature end"),
        (b"\x5b" + b"\x7f" * 8, "malformed", "premature end"),
        (_map(x=2**80), "malformed", "tags other than"),
        (_map(x=-(2**80)), "malformed", "tags other than"),
        (_map(seq=2**64), "malformed", "tags other than"),
        (b"\xa1\x61x\xc4\x82\x1b" + b"\x7f" * 8 + b"\x01", "malformed", "tags other than"),  # a bigfloat
        (b"\xa1\x61x\xd8\x1c\x81\xd8\x1d\x00", "malformed", "tags other than"),  # a list that holds itself
        (cbor2.dumps({"values": [[math.nan]]}), "not_finite", "values[0][0]"),
        (cbor2.dumps({"values": [[1.0], [math.inf]]}), "not_finite", "values[1][0]"),
        (cbor2.dumps({"values": [[1e39]]}), "not_finite", "values[0][0]"),
        (cbor2.dumps({"values": [b"\x01"]}), "shape", "$[0]"),
        (_map(t=math.nan), "not_finite", "t is not finite"),
        (_map(t=-math.inf), "not_finite", "t is not finite"),
        (_map(dt=math.inf), "not_finite", "dt is not finite"),
        (_map(epoch=b"boot"), "malformed", "epoch"),
        (_map(lane=cbor2.undefined), "malformed", "lane"),
        (cbor2.dumps({"values": cbor2.CBORTag(85, b"\0" * 4)}), "shape", "tag 85; give tag 40"),
        (cbor2.dumps({"values": cbor2.CBORTag(40, [[1, 1]])}), "shape", "tag 40"),
        (cbor2.dumps({"values": cbor2.CBORTag(40, 7)}), "shape", "tag 40"),
        (cbor2.dumps({"values": tag(2, 2, F4.tobytes(), outer=1040)}), "shape", "tag 1040"),
        (cbor2.dumps({"values": tag(0, 2, b"")}), "shape", "positive"),
        (cbor2.dumps({"values": tag(-1, -4, F4.tobytes())}), "shape", "positive"),
        (cbor2.dumps({"values": tag(True, 4, F4.tobytes())}), "shape", "positive"),
        (cbor2.dumps({"values": cbor2.CBORTag(40, [[4], cbor2.CBORTag(85, F4.tobytes())])}), "shape", "two dimensions"),
        (cbor2.dumps({"values": tag(2, 2, F4.tobytes(), number=86)}), "shape", "tag 85 (float32)"),
        (cbor2.dumps({"values": tag(2, 2, [1, 2, 3, 4])}), "shape", "byte string"),
        (cbor2.dumps({"values": cbor2.CBORTag(40, [[2, 2], [1, 2, 3, 4]])}), "shape", "tag 40 must hold"),
        (cbor2.dumps({"values": tag(3, 2, F4.tobytes())}), "shape", "24 bytes, not 16"),
        (cbor2.dumps({"values": tag(2**63, 2**63, F4.tobytes())}), "shape", "bytes, not 16"),
        (cbor2.dumps({"values": tag(1, 2, b"\0\0\0\0\0\0\x80\x7f")}), "not_finite", "values[0][1]"),
        (cbor2.dumps({"values": tag(1, 1, b"\x01\0\x80\x7f")}), "not_finite", "values[0][0]"),  # a signalling NaN
        (cbor2.dumps({"values": tag(1, 2, b"\0\0\x01\x7c", number=84)}), "not_finite", "values[0][1]"),
        (cbor2.dumps({"values": tag(1, 2, b"\1\2", number=72)}), "missing_key", "scale"),
        (cbor2.dumps({"values": tag(1, 2, b"\1\2", number=72), "scale": "1"}), "malformed", "scale"),
        (cbor2.dumps({"values": tag(1, 2, b"\1\2", number=72), "scale": True}), "malformed", "scale"),
        (cbor2.dumps({"values": tag(1, 2, b"\1\2", number=72), "scale": [1.0]}), "shape", "scale has 1"),
        (cbor2.dumps({"values": tag(1, 2, b"\1\2", number=72), "scale": []}), "shape", "scale has 0"),
        (cbor2.dumps({"values": tag(1, 2, b"\1\2", number=72), "scale": math.nan}), "not_finite", "scale"),
        (cbor2.dumps({"values": tag(1, 2, b"\1\2", number=72), "scale": 1.0, "zero": math.inf}), "not_finite", "zero"),
        (cbor2.dumps({"values": tag(1, 2, b"\0\2", number=72), "scale": 1e300}), "not_finite", "values[0][1]"),
    ],
)
def test_bad_cbor_is_refused_with_reason_and_place(payload: bytes, reason: str, place: str) -> None:
    why = refusal(payload, CBOR)
    assert why.reason == reason
    assert place in why.detail


@pytest.mark.parametrize(
    "rest", [b'"values": [["x"]]', b'"values": [[1e39]]', b'"x": 1', b'"values": [[1]], "lane": 3']
)
def test_a_refusal_carries_the_row_number_where_it_could_be_read(rest: bytes) -> None:
    assert refusal(b'{"seq": 41, ' + rest + b"}").seq == 41


@pytest.mark.parametrize("payload", [b'{"seq": 41', b'{"seq": -41, "values": [[1]]}', b'{"values": []}'])
def test_a_refusal_carries_no_row_number_where_there_was_none_to_read(payload: bytes) -> None:
    assert refusal(payload).seq is None


def test_sint8_steps_are_scaled_a_channel_or_all_alike() -> None:
    body = np.array([[-128, 127], [0, 10]], dtype="i1").tobytes()
    alike = {"values": tag(2, 2, body, number=72), "scale": 0.5}
    assert decode_observation(cbor2.dumps(alike), CBOR).values.tolist() == [[-64.0, 63.5], [0.0, 5.0]]
    apart = {"values": tag(2, 2, body, number=72), "scale": [1, 0.5], "zero": [-128, 10]}
    assert decode_observation(cbor2.dumps(apart), CBOR).values.tolist() == [[0.0, 58.5], [128.0, 0.0]]


def test_a_number_beyond_float16_is_packed_as_float32_rather_than_as_infinity() -> None:
    for number in (65_519.0, 65_520.0, 1e30):
        payload = encode_observation(Observation(np.array([[number]], np.float32)), CBOR, packing="float16")
        assert decode_observation(payload, CBOR).values[0, 0] == pytest.approx(number, rel=1e-3)


@pytest.mark.parametrize(("depth", "taken"), [(3, True), (2, False)])
@pytest.mark.parametrize("payload", [(b'{"values": [[1]]}', JSON), (_map(), CBOR)], ids=["JSON", "CBOR"])
def test_nesting_is_taken_up_to_the_limit(payload: tuple[bytes, Format], depth: int, taken: bool) -> None:
    if taken:
        assert decode_observation(*payload, depth=depth).values.shape == (1, 1)
    else:
        with pytest.raises(Refused, match="too_deep"):
            decode_observation(*payload, depth=depth)


def test_many_rows_side_by_side_are_not_deep() -> None:
    assert decode_observation(b'{"values": [' + b", ".join([b"[1]"] * 500) + b"]}", JSON).values.shape == (500, 1)


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        ("application/json", JSON),
        ("Application/JSON; charset=UTF-8", JSON),
        (" application/cbor ;x=y", CBOR),
        ("APPLICATION/CBOR", CBOR),
    ],
)
def test_content_types_are_read_without_case_and_parameters(content_type: str, form: Format) -> None:
    assert of_content_type(content_type, b"") is form


@pytest.mark.parametrize("content_type", ["text/plain", "application/json+x", ";", "json", "application/senml+cbor"])
def test_other_content_types_are_an_unknown_format(content_type: str) -> None:
    with pytest.raises(Refused) as caught:
        of_content_type(content_type, b"{}")
    assert caught.value.reason == "unknown_format"
    assert content_type in caught.value.detail


def test_content_formats_are_those_of_rfc_7252() -> None:
    assert of_content_format(50, b"") is JSON
    assert of_content_format(60, b"") is CBOR
    assert {form: form.coap for form in Format} == {JSON: 50, CBOR: 60}
    for number in (0, 42, 112):
        with pytest.raises(Refused, match=f"unknown_format: Content-Format {number}"):
            of_content_format(number, b"{}")


@pytest.mark.parametrize(
    ("payload", "form"), [(b"{", JSON), (b"[1]", JSON), (b"\xa0", CBOR), (b" {}", CBOR), (b"", CBOR)]
)
def test_without_a_label_the_first_byte_tells(payload: bytes, form: Format) -> None:
    assert of_payload(payload) is form
    assert of_content_type(None, payload) is form
    assert of_content_type("", payload) is form
    assert of_content_format(None, payload) is form
