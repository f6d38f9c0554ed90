"""Which payloads go the short way, and that one wrong byte anywhere leads to what the strict way says of it."""

from __future__ import annotations

import itertools
from typing import NoReturn

import cbor2
import msgspec
import numpy as np
import pytest

from bridge.errors import Refused
from bridge.messages import Observation
from bridge.wire import plain_cbor as plain_cbor_module
from bridge.wire import plain_json as plain_json_module
from bridge.wire.arrays import first_not_finite
from bridge.wire.formats import Format
from bridge.wire.observation import decode_observation, encode_observation, observation_of
from bridge.wire.parse import parse
from bridge.wire.plain_cbor import plain_cbor
from bridge.wire.plain_json import FEW, PER, _Fields, plain_json

WHOLE = Observation(np.ones((3, 2), np.float32), seq=70_000, epoch="b 1", t=1.7e9, dt=0.5, lane="backlog", receipt=True)
VALUES = b"\x66values\xd8\x28\x82\x82\x01\x01\xd8\x55\x44\0\0\x80\x3f"


def told(payload: bytes, form: Format, *, strict: bool) -> object:
    try:
        seen = observation_of(parse(payload, form)) if strict else decode_observation(payload, form)
    except Refused as why:
        return why.reason, why.detail, why.seq
    fields = msgspec.structs.asdict(seen)
    return fields.pop("values").tolist(), repr(fields)


@pytest.mark.parametrize(
    "sent",
    [
        WHOLE,
        Observation(np.ones((1, 1), np.float32)),
        Observation(np.ones((128, 6), np.float32), seq=0, epoch="e" * 36),
        Observation(np.ones((300, 30), np.float32), seq=2**32 - 1, epoch="x" * 64),
        Observation(np.ones((2, 2), np.float32), seq=300, t=0.0, receipt=True),
    ],
)
def test_what_encode_observation_writes_goes_the_short_way(sent: Observation) -> None:
    payload = encode_observation(sent, Format.CBOR)
    assert plain_cbor(payload, 4) is not None
    assert plain_cbor(payload, 3) is None
    text = encode_observation(sent, Format.JSON)
    assert plain_json(text, 3) is not None
    assert plain_json(text, 2) is None
    assert told(payload, Format.CBOR, strict=False) == told(payload, Format.CBOR, strict=True)
    assert told(text, Format.JSON, strict=False) == told(text, Format.JSON, strict=True)


@pytest.mark.parametrize("rows", [1, 23, 24, 255, 256, 66_000])
def test_numbers_are_aligned_and_not_to_be_written_wherever_they_begin(rows: int) -> None:
    sent = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    seen = plain_cbor(encode_observation(Observation(sent), Format.CBOR), 4)
    assert seen is not None
    assert np.array_equal(seen.values, sent)
    assert (seen.values.flags.aligned, seen.values.flags.writeable) == (True, False)


def test_keys_come_in_any_order() -> None:
    fields = [b"\x63seq\x05", b"\x65epoch\x62e1", b"\x61t\xfb" + bytes(8), b"\x67receipt\xf4", b"\x64lane\x64live"]
    for some in itertools.permutations(fields):
        seen = plain_cbor(b"\xa6" + VALUES + b"".join(some), 4)
        assert seen is not None
        assert (seen.seq, seen.epoch, seen.t, seen.lane, seen.receipt) == (5, "e1", 0.0, "live", False)


def test_what_is_as_long_as_a_known_form_is_read_by_its_own_bytes() -> None:
    seq, t, text = b"\x63seq\x19\x01\x00", b"\x61t\xfb" + bytes(8), b"\x65epoch\x62e1"
    known = b"\xa4" + VALUES + seq + t + text
    for payload in (known, b"\xa4" + VALUES + text + t + seq, known[:-1] + b"2"):
        seen = plain_cbor(payload, 4)
        assert seen is not None
        assert (seen.seq, seen.t, seen.epoch) == (256, 0.0, "e2" if payload.endswith(b"2") else "e1")
    for at in range(len(known) - len(seq + t + text)):
        wrong = bytearray(known)
        wrong[at] ^= 0xFF
        assert told(bytes(wrong), Format.CBOR, strict=False) == told(bytes(wrong), Format.CBOR, strict=True)
    assert plain_cbor(known[:-9] + b"\x66" + known[-8:], 4) is None


def test_forms_of_equal_length_are_remembered_beside_each_other() -> None:
    fields = [b"\x63seq\x19\x01\x00", b"\x61t\xfb" + bytes(8), b"\x65epoch\x62e1"]
    orders = [b"\xa4" + VALUES + b"".join(some) for some in itertools.permutations(fields)]
    for payload in orders * 2:
        seen = plain_cbor(payload, 4)
        assert seen is not None
        assert (seen.seq, seen.t, seen.epoch) == (256, 0.0, "e1")
        assert 0 < len(plain_cbor_module._forms[len(payload)]) <= plain_cbor_module.MOST_ALIKE


def test_however_many_forms_come_only_the_newest_are_remembered() -> None:
    for rows in range(1, 3 * plain_cbor_module.MOST_FORMS):
        assert plain_cbor(encode_observation(Observation(np.ones((rows, 1), np.float32)), Format.CBOR), 4) is not None
        assert 0 < len(plain_cbor_module._forms) <= plain_cbor_module.MOST_FORMS


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xa1",
        b"\xa0" + VALUES[:-4],
        b"\xbf" + VALUES + b"\xff",
        b"\xa1" + VALUES[:-1],
        b"\xa1" + VALUES + b"\0",
        b"\xa2" + VALUES,
        b"\xa2" + VALUES + b"\x63seq",
        b"\xa2" + VALUES + b"\x63seq\x19\x01",
        b"\xa2" + VALUES + b"\x63seq\x1a\x01\x02",
        b"\xa2" + VALUES + b"\x63seq\x20",
        b"\xa2" + VALUES + b"\x61t\xfb\0",
        b"\xa2" + VALUES + b"\x61t\x05",
        b"\xa2" + VALUES + b"\x65epoch\x62e",
        b"\xa2" + VALUES + b"\x65epoch\x61\xff",
        b"\xa2" + VALUES + b"\x65epoch\x60",
        b"\xa2" + VALUES + b"\x64lane\x64dead",
        b"\xa3" + VALUES + b"\x63seq\x05\x63seq\x05",
        b"\xa2" + VALUES + VALUES,
        b"\xa1" + VALUES[:11] + b"\0\1" + VALUES[13:],
        b"\xa1" + VALUES[:11] + b"\x01" + VALUES[11:],
        b"\xa1" + VALUES[:-4] + b"\0\0\x80\x7f",
        b"\xa1" + VALUES[:-4] + b"\1\0\x80\x7f",
        cbor2.dumps({"values": [[1.0]]}),
    ],
)
def test_anything_else_in_cbor_goes_the_strict_way(payload: bytes) -> None:
    assert plain_cbor(b"\xa1" + VALUES, 4) is not None
    assert plain_cbor(payload, 4) is None
    assert told(payload, Format.CBOR, strict=False) == told(payload, Format.CBOR, strict=True)


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b'{"values": [[1]]',
        b'{"values": [[1]]} x',
        b'{"values": []}',
        b'{"values": [[]]}',
        b'{"values": [[1], [1, 2]]}',
        b'{"values": [[true]]}',
        b'{"values": [[1e39]]}',
        b'{"values": [[1e999]]}',
        b'{"values": [[1]], "values": [[2]]}',
        b'{"values": [[1]], "epoch": "a", "epoch": null}',
        b'{"values": [[1]], "lane": "live", "seq": 1, "seq": 1}',
        b'{"values": [[1]], "seq": null}',
        b'{"values": [[1]], "receipt": null}',
        b'{"values": [[1]], "seq": 1.0}',
        b'{"values": [[1]], "seq": -1}',
        b'{"values": [[1]], "epoch": "\\u0041"}',
        b'{"values": [[1]], "epoch": "\xc3\xa9"}',
        b'{"values": [[1]], "scale": 1}',
    ],
)
def test_anything_else_in_json_goes_the_strict_way(payload: bytes) -> None:
    assert plain_json(b'{"values": [[1]]}', 3) is not None
    assert plain_json(payload, 3) is None
    assert told(payload, Format.JSON, strict=False) == told(payload, Format.JSON, strict=True)


class Untouched:
    """A decoder that must not be asked."""

    def decode(self, payload: bytes) -> NoReturn:
        raise AssertionError(payload[:80])


SLOW = ["1e-320", "3e-308", "1e-300", "-2.2250738585072011e-308", "1E+30", "0e0"]


@pytest.mark.parametrize("number", SLOW)
def test_many_exponents_go_another_way_equally_right(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = f"[{number},16777217,-0,1.00000000000000011102230246251565]".encode()
    many = b'{"values": [' + b",".join([row] * 50) + b'], "seq": 7, "t": 0.5, "epoch": "e", "receipt": true}'
    strict = told(many, Format.JSON, strict=True)
    assert told(many, Format.JSON, strict=False) == strict
    monkeypatch.setattr(plain_json_module, "_decoder", Untouched())
    assert told(many, Format.JSON, strict=False) == strict
    assert plain_json(many, 3) is not None


def test_few_exponents_are_of_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    few = b'{"values": [' + b",".join([b"[1e-5, 0.25]"] * FEW + [b"[0.125, 0.25]"] * (FEW * PER // 8)) + b"]}"
    for at, wants in ((0, True), (len(few), False)):
        monkeypatch.setattr(plain_json_module, "_decoder", msgspec.json.Decoder(_Fields) if wants else Untouched())
        payload = few if wants else few.replace(b"0.25", b"1e-5")
        assert plain_json(payload, 3) is not None, at


@pytest.mark.parametrize(
    "wrong",
    [
        b'{"values": [ROWS]',
        b'{"values": [ROWS]} x',
        b'{"values": [ROWS, [1, 2]]}',
        b'{"values": [ROWS, []]}',
        b'{"values": [ROWS, [[1]]]}',
        b'{"values": [ROWS, [true]]}',
        b'{"values": [ROWS, ["1"]]}',
        b'{"values": [ROWS, [null]]}',
        b'{"values": [ROWS, [1e39]]}',
        b'{"values": [ROWS, [1e999]]}',
        b'{"values": [ROWS, [NaN]]}',
        b'{"values": [ROWS, [-Infinity]]}',
        b'{"values": [ROWS, [1e]]}',
        b'{"values": [ROWS, [01e1]]}',
        b'{"values": [ROWS, [1' + b"0" * 400 + b"]]}",
        b'{"values": [ROWS, [1' + b"0" * 5_000 + b"]]}",
        b'{"values": [ROWS], "values": [[2]]}',
        b'{"values": [ROWS], "epoch": "a", "epoch": null}',
        b'{"values": [ROWS], "seq": 1.0}',
        b'{"values": [ROWS], "seq": 1e1}',
        b'{"values": [ROWS], "seq": NaN}',
        b'{"values": [ROWS], "t": Infinity}',
        b'{"values": [ROWS], "dt": NaN}',
        b'{"values": [ROWS], "t": 1e400}',
        b'{"values": [ROWS], "epoch": "\\ud800"}',
        b'{"values": [ROWS], "epoch": "\xc3\xa9"}',
        b'{"values": [ROWS], "epoch": "\x01"}',
        b'{"values": [ROWS], "scale": 1}',
        b'{"skip": [[1, 2]], "why": "' + b"e" * 100 + b'"}',
        b'{"values": ' + b"[" * 40 + b"ROWS" + b"]" * 40 + b"}",
        b'{"values": ' + b"[" * 20_000 + b"ROWS",
        b"[ROWS]",
    ],
)
def test_many_exponents_and_anything_else_go_the_strict_way(wrong: bytes) -> None:
    rows = b",".join([b"[1e-320]"] * 1_000)
    payload = wrong.replace(b"ROWS", rows)
    assert plain_json(b'{"values": [' + rows + b"]}", 3) is not None
    assert plain_json(payload, 3) is None
    assert told(payload, Format.JSON, strict=False) == told(payload, Format.JSON, strict=True)


def test_any_one_byte_of_cbor_replaced_taken_out_or_cut_off() -> None:
    payload = encode_observation(WHOLE, Format.CBOR)
    others = [
        wrong
        for at in range(len(payload))
        for wrong in (
            payload[:at],
            payload[:at] + payload[at + 1 :],
            *(payload[:at] + bytes([byte]) + payload[at + 1 :] for byte in range(256)),
        )
    ]
    for wrong in others:
        assert told(wrong, Format.CBOR, strict=False) == told(wrong, Format.CBOR, strict=True), wrong


@pytest.mark.parametrize("few", [FEW, -1])
def test_every_short_run_of_number_characters_in_json(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_json_module, "FEW", few)
    for length in range(1, 5):
        for letters in itertools.product("019-+.eE", repeat=length):
            payload = b'{"values": [[' + "".join(letters).encode() + b"]]}"
            seen = plain_json(payload, 3)
            assert seen is None or seen.values.tobytes() == observation_of(parse(payload, Format.JSON)).values.tobytes()


def test_numbers_whose_squares_leave_float32_are_taken() -> None:
    large = Observation(np.full((2, 2), -3e38, np.float32))
    for form in Format:
        assert np.array_equal(decode_observation(encode_observation(large, form), form).values, large.values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_number_that_is_not_finite_is_found(bad: float) -> None:
    numbers = np.full(5, -3e38, np.float32)
    assert first_not_finite(numbers) is None
    for at in (4, 2, 0):
        numbers[at] = bad
        assert first_not_finite(numbers) == at


def test_of_rows_it_is_found_row_by_row() -> None:
    rows = np.zeros((3, 2), np.float32)
    rows[2, 0] = rows[1, 1] = np.nan
    assert first_not_finite(rows) == 3
    assert first_not_finite(rows.T) == 2
