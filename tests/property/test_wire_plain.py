"""The short ways of decoding give what the strict way gives, or step aside: on every payload, also on damaged ones."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bridge.errors import Refused
from bridge.messages import Observation
from bridge.wire import plain_json as plain_json_module
from bridge.wire.fields import MAX_DT, MAX_SEQ, MAX_TIME
from bridge.wire.formats import Format
from bridge.wire.observation import decode_observation, encode_observation, observation_of, opened
from bridge.wire.parse import DEPTH, parse
from bridge.wire.plain_cbor import plain_cbor
from bridge.wire.plain_json import plain_json
from bridge.wire.written_cbor import written_cbor
from bridge.wire.zstd import MAGIC, MOST

if TYPE_CHECKING:
    from collections.abc import Callable

steady = settings(deadline=None, max_examples=400)  # the machine may be busy


def outcome(decode: Callable[[], Observation]) -> tuple[object, ...]:
    """Each field to the bit, or how it was refused; any other exception fails the test."""
    try:
        seen = decode()
    except Refused as why:
        return why.reason, why.detail, why.seq
    fields = (seen.seq, seen.epoch, seen.t, seen.dt, seen.lane, seen.receipt)
    return seen.values.shape, seen.values.dtype, seen.values.tobytes(), repr(fields)


def agree(payload: bytes, form: Format, depth: int = DEPTH) -> None:
    def strictly() -> Observation:  # what begins as a zstd frame is one, or is refused as one
        content, really = opened(payload, form, MOST)
        return observation_of(parse(content, really, depth=depth))

    strict = outcome(strictly)
    assert outcome(lambda: decode_observation(payload, form, depth=depth)) == strict
    plain = (plain_json if form is Format.JSON else plain_cbor)(payload, depth)
    event("the short way" if plain is not None else "the strict way")
    assert plain is None or outcome(lambda: plain) == strict
    if form is Format.JSON:
        with patch.object(plain_json_module, "FEW", -len(payload)):  # as if it were all exponents
            scanned = plain_json(payload, depth)
            assert outcome(lambda: decode_observation(payload, form, depth=depth)) == strict
        event("scanned" if scanned is not None else "not scanned")
        assert scanned is None or outcome(lambda: scanned) == strict


@settings(deadline=None)
@given(
    values=hnp.arrays(np.float32, st.tuples(st.integers(1, 70), st.integers(1, 30)), elements=st.floats(width=32)),
    seq=st.none() | st.sampled_from([0, 23, 24, 255, 256, 65_535, 65_536, 2**32, 2**53]) | st.integers(0, MAX_SEQ),
    epoch=st.text(max_size=64),
    t=st.none() | st.floats(),
    dt=st.none() | st.floats(),
    lane=st.sampled_from(["live", "live", "live", "backlog"]),
    receipt=st.booleans(),
    live_from=st.none() | st.none() | st.integers(0, MAX_SEQ),
)
def test_what_is_joined_is_what_the_library_writes(values: Any, **fields: Any) -> None:
    observation = Observation(values, **fields)
    joined = encode_observation(observation, Format.CBOR)
    event("the short way" if written_cbor(observation) is not None else "the library")
    with patch("bridge.wire.observation.written_cbor", return_value=None):
        assert joined == encode_observation(observation, Format.CBOR)


ANY_NUMBER = st.floats(width=32) | st.sampled_from([0.0, -0.0, 1e-45, -3.4e38, 3.4e38, 2e19])
SHAPES = st.tuples(st.integers(1, 30), st.integers(1, 9))
VALUES = SHAPES.flatmap(
    lambda shape: hnp.arrays(np.float32, shape, elements=st.floats(-1e6, 1e6, width=32) | ANY_NUMBER)
)
OBSERVATIONS = st.builds(
    Observation,
    values=VALUES,
    seq=st.none() | st.sampled_from([0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, MAX_SEQ]),
    epoch=st.sampled_from(["", "e1"]) | st.text(max_size=70),
    t=st.none() | st.floats(0, MAX_TIME) | st.sampled_from([-1.0, float("nan"), float("inf")]),
    dt=st.none() | st.floats(0, MAX_DT) | st.sampled_from([-1.0, float("nan"), float("inf")]),
    lane=st.sampled_from(["live", "backlog"]),
    receipt=st.booleans(),
)


@steady
@given(OBSERVATIONS, st.sampled_from(["float32", "float16"]))
@example(Observation(np.full((10, 6), 3e38, np.float32)), "float32")
def test_cbor_of_any_observation(sent: Observation, packing: Any) -> None:
    agree(encode_observation(sent, Format.CBOR, packing=packing), Format.CBOR)


@steady
@given(OBSERVATIONS)
@example(Observation(np.full((10, 6), 3e38, np.float32)))
def test_json_of_any_observation(sent: Observation) -> None:
    agree(encode_observation(sent, Format.JSON), Format.JSON)


def head(major: int, argument: int, width: int) -> bytes:
    """An item's first bytes; `width` 0 is the shortest form, else so many bytes for the argument."""
    if width == 0 and argument < 24:
        return bytes([major << 5 | argument])
    shortest = next(size for size in (1, 2, 4, 8) if argument < 1 << 8 * size)
    size = max(width, shortest)
    return bytes([major << 5 | {1: 24, 2: 25, 4: 26, 8: 27}[size]]) + argument.to_bytes(size, "big")


WIDTHS = st.sampled_from([0] * 28 + [1, 2, 4, 8])


@st.composite
def texts(draw: st.DrawFn, text: str) -> bytes:
    body = text.encode(errors="surrogateescape")
    if draw(st.integers(0, 31)) == 31:
        return b"\x7f" + head(3, len(body), 0) + body + b"\xff"
    return head(3, len(body), draw(WIDTHS)) + body


ODD = st.sampled_from(
    [b"\xf6", b"\xf7", b"\xf4", b"\x20", b"\x80", b"\xa0", b"\x81\x81\x01", b"\xc1\x01", b"\xf9\x7c\x00"]
)
COUNTS = st.integers(0, 30) | st.integers(0, 2**34)


@st.composite
def field(draw: st.DrawFn) -> bytes:
    """One entry of the map, mostly a good one."""
    name = draw(st.sampled_from(["seq", "epoch", "t", "dt", "lane", "receipt"] * 4 + ["scale", "x", "values"]))
    key = draw(texts(name))
    if draw(st.integers(0, 15)) == 15:
        return key + draw(ODD)
    if name == "seq":
        return key + head(0, draw(COUNTS), draw(WIDTHS))
    if name in {"epoch", "lane"}:
        text = draw(
            st.sampled_from(["live", "backlog"] * 4 + ["boot-3", "é", "", "\x01", "x" * 64, "x" * 65, "\udcff"])
        )
        return key + draw(texts(text))
    if name in {"t", "dt"}:
        number = draw(
            st.sampled_from([0.02, 0.5, 1e9] * 4 + [0.0, -0.0, 1.7e9, 1e11, -1.0, float("nan"), float("inf")])
        )
        return key + draw(st.sampled_from([b"\xfb" + struct.pack(">d", number), b"\xfa" + struct.pack(">f", number)]))
    return key + draw(st.sampled_from([b"\xf4", b"\xf5"]))


@st.composite
def maps(draw: st.DrawFn) -> bytes:
    """A map with `values` first, and each part of it mostly right."""
    rows, channels = draw(st.integers(1, 30)), draw(st.integers(1, 9))
    numbers = np.arange(rows * channels, dtype="<f4")
    if draw(st.integers(0, 4)) == 4:
        numbers[draw(st.integers(0, numbers.size - 1))] = draw(ANY_NUMBER)
    body = numbers.tobytes() if draw(st.integers(0, 7)) < 7 else draw(st.binary(max_size=40))
    tag = head(6, draw(st.sampled_from([85] * 12 + [84, 72, 81])), draw(WIDTHS))
    said = rows if draw(st.integers(0, 9)) < 9 else draw(COUNTS)
    dims = head(0, said, draw(WIDTHS)) + head(0, channels, draw(WIDTHS))
    array = b"\xd8\x28\x82\x82" + dims + tag + head(2, len(body), draw(WIDTHS)) + body
    fields = draw(st.lists(field(), max_size=6))
    count = 1 + len(fields) + (0 if draw(st.integers(0, 9)) < 9 else draw(st.integers(-1, 1)))
    first = b"\xbf" if draw(st.integers(0, 15)) == 15 else head(5, count, 0)
    return first + b"\x66values" + array + b"".join(fields) + (b"\xff" if first == b"\xbf" else b"")


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes replaced, put in, taken out or repeated, the end cut off or something added."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(
            st.integers(0, len(data))
            | st.integers(0, min(26, len(data)))
            | st.integers(max(0, len(data) - 40), len(data))
        )
        end = min(len(data), at + draw(st.integers(0, 4)))
        new = draw(
            st.binary(max_size=4) | st.sampled_from([b"\x18", b"\x00", b"\xff", b'"', b",", b"null", b"-0", b"1e999"])
        )
        data[at:end] = draw(st.sampled_from([new, bytes(data[at:end]) * 2]))
    return bytes(data)


CBOR_PAYLOADS = maps() | OBSERVATIONS.map(lambda seen: encode_observation(seen, Format.CBOR))


@settings(steady, max_examples=1500)
@given(maps() | damaged(CBOR_PAYLOADS), st.sampled_from([DEPTH] * 6 + [3, 4]))
@example(b"\xa2\x66values\xd8\x28\x82\x82\x01\x01\xd8\x55\x44\0\0\0\0\x63seq\x5b" + b"\xff" * 8, DEPTH)
def test_any_cbor(payload: bytes, depth: int) -> None:
    agree(payload, Format.CBOR, depth)


@steady
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=40), st.sampled_from("eE"))
@example([5e-324, 2.2250738585072011e-308, 1.7976931348623157e308], "e")
def test_json_of_any_doubles_written_with_exponents(numbers: list[float], letter: str) -> None:
    """Each as short as is exact, and with 25 digits, which are more than any double needs."""
    for spec in (".16e", ".24e"):
        rows = ",".join(f"[{number:{spec}}]" for number in numbers)
        agree(f'{{"values":[{rows}]}}'.replace("e+", letter).encode(), Format.JSON)


SPACE = st.sampled_from(["", "", "", " ", "\n\t", "\r", "\x0b", "\xa0"])
NUMBERS = st.one_of(
    st.floats().map(repr),
    st.integers().map(str),
    st.integers(-(2**1030), 2**1030).map(str),
    st.text("0123456789", min_size=15, max_size=40).map(lambda digits: f"1.{digits}"),
    st.text("019-+.eE", min_size=1, max_size=6),
    st.sampled_from(["-0", "-0.0", "1e400", "1e-400", "3.4028235677973366e38", "true", "null", '"1"', "16777217"]),
)
MEMBERS = st.one_of(
    st.builds('"{}":{}'.format, st.sampled_from(["seq", "t", "dt", "values", "scale"]), NUMBERS),
    st.builds(
        '"{}":"{}"'.format,
        st.sampled_from(["epoch", "epoch", "lane"]),
        st.sampled_from(["live", "backlog", "b-1", "", "é", "\\u0041", "\x7f", "x" * 65, "a\tb"]),
    ),
    st.builds('"{}":{}'.format, st.just("receipt"), st.sampled_from(["true", "false", "null", "1"])),
    st.builds('"{}":{}'.format, st.sampled_from(["seq", "epoch", "lane", "t"]), st.just("null")),
)


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """An object with `values`, and each part of it mostly right."""
    good = st.floats(-1e6, 1e6).map(repr) | st.integers(-9, 9).map(str)
    rows, channels = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    lists = [[draw(good) for _ in range(channels)] for _ in range(rows)]
    if draw(st.booleans()):
        lists[draw(st.integers(0, rows - 1))][draw(st.integers(0, channels - 1))] = draw(NUMBERS)
    if draw(st.integers(0, 9)) == 0:
        del lists[draw(st.integers(0, rows - 1))][0]
    members = draw(st.lists(MEMBERS, max_size=4))
    if draw(st.booleans()):
        members = list({text[:4]: text for text in members}.values())
    place = draw(st.integers(0, len(members)))
    members.insert(place, '"values":[' + ",".join(f"[{','.join(row)}]" for row in lists) + "]")
    space = draw(SPACE)
    return (space + "{" + f",{space}".join(members) + "}" + draw(SPACE)).encode()


JSON_PAYLOADS = objects() | OBSERVATIONS.map(lambda seen: encode_observation(seen, Format.JSON))


@settings(steady, max_examples=1500)
@given(objects() | damaged(JSON_PAYLOADS), st.sampled_from([DEPTH] * 6 + [2, 3]))
@example(MAGIC + b'{"values":[[]]}', DEPTH)
def test_any_json(payload: bytes, depth: int) -> None:
    agree(payload, Format.JSON, depth)
