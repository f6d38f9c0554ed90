"""Bytes parse or are refused with a reason of the contract; what is sent arrives. No third outcome."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import cbor2
import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bridge.errors import REASONS, Reason, Refused
from bridge.messages import Error, Observation, Receipt, Result
from bridge.wire.answers import decode_answer, decode_status, encode_answer, encode_status
from bridge.wire.fields import MAX_DT, MAX_SEQ, MAX_TIME
from bridge.wire.foreign import Decoding, decode_foreign
from bridge.wire.formats import Format, of_payload
from bridge.wire.observation import decode_observation, encode_observation
from bridge.wire.offload import Question, Reply, decode_question, decode_reply, encode_question, encode_reply
from tests.support.damage import damaged

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.messages import Rows
    from bridge.wire.arrays import Packing

steady = settings(deadline=None)  # the machine may be busy

FINITE = st.floats(allow_nan=False, allow_infinity=False)
KEYS = st.sampled_from(["values", "seq", "epoch", "t", "dt", "lane", "receipt", "scale", "zero"])
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 4))
ROWS = SHAPES.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=st.floats(-(2.0**100), 2.0**100, width=32)))


def containers(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4),
        max_leaves=12,
    )


PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(["live", "backlog"])
)
NUMBERS = st.lists(st.lists(st.floats(width=32) | st.integers(-9, 9), max_size=3), max_size=3)
TAGGED = st.builds(
    lambda outer, dims, inner, body: cbor2.CBORTag(outer, [dims, cbor2.CBORTag(inner, body)]),
    st.sampled_from([40, 1040, 0]),
    st.lists(st.integers(-1, 4), max_size=3),
    st.sampled_from([85, 84, 72, 86, 24]),
    st.binary(max_size=24),
)
MAPS = st.dictionaries(KEYS, containers(PLAIN) | NUMBERS | TAGGED, max_size=6)
CBOR_BYTES = MAPS.map(cbor2.dumps)
JSON_BYTES = st.dictionaries(KEYS, containers(PLAIN) | NUMBERS, max_size=6).map(
    lambda value: json.dumps(value).encode()
)


ANY_BYTES = st.binary(max_size=60) | damaged(CBOR_BYTES) | damaged(JSON_BYTES)


def refused(decode: Callable[[], object]) -> Refused | None:
    """None if it decodes; anything but `Refused` with a reason and a place fails the test."""
    why: Refused | None = None
    try:
        decode()
    except Refused as caught:
        why = caught
    assert why is None or (why.reason in REASONS and why.detail)
    return why


def is_observation(seen: Observation) -> None:
    assert seen.values.dtype == np.float32
    assert seen.values.ndim == 2
    assert min(seen.values.shape) >= 1
    assert np.isfinite(seen.values).all()
    assert seen.seq is None or 0 <= seen.seq <= MAX_SEQ
    assert seen.lane in {"live", "backlog"}
    assert seen.dt is None or 0 < seen.dt <= MAX_DT
    seen.epoch.encode()
    assert "\0" not in seen.epoch


@settings(steady, max_examples=600)
@given(ANY_BYTES, st.sampled_from(Format))
@example(b"[" * 100_000, Format.JSON)
@example(b"\x81" * 100_000, Format.CBOR)
@example(b"\xd8\x28\x82" * 100_000, Format.CBOR)
@example(b'{"values": [[1e400]]}', Format.JSON)
def test_any_bytes_are_an_observation_or_refused(payload: bytes, form: Format) -> None:
    with contextlib.suppress(Refused):
        is_observation(decode_observation(payload, form))
    refused(lambda: decode_observation(payload, form))


DECODINGS = st.builds(
    Decoding,
    format=st.sampled_from(["json", "cbor", "csv", "float32"]),
    values=st.sampled_from([None, "values", "t.0", "seq"]),
    fields=st.none() | st.just(("t", "seq")),
    seq=st.sampled_from([None, "seq", "lane"]),
    t=st.sampled_from([None, "t", "epoch.0"]),
    t_unit=st.sampled_from(["s", "ms", "us"]),
    scale=st.sampled_from([1.0, 0.001, 1e38, 1e300]),
)


@settings(steady, max_examples=400)
@given(ANY_BYTES | st.text("0123456789.,;-+e\nnai_", max_size=20).map(str.encode), DECODINGS, st.integers(1, 3))
@example(b'{"t": 1' + b"0" * 400 + b', "values": [1]}', Decoding(t="t", t_unit="us"), 1)
def test_any_foreign_bytes_are_an_observation_or_refused(payload: bytes, how: Decoding, channels: int) -> None:
    with contextlib.suppress(Refused):
        is_observation(decode_foreign(payload, how, channels))
    refused(lambda: decode_foreign(payload, how, channels))


@settings(steady, max_examples=300)
@given(ANY_BYTES)
def test_any_other_bytes_are_their_message_or_refused(payload: bytes) -> None:
    for kind in (Result, Receipt, Error):
        refused(lambda kind=kind: decode_answer(payload, kind))  # type: ignore[misc] # one of three
    refused(lambda: decode_status(payload))
    refused(lambda: decode_question(payload))
    refused(lambda: decode_reply(payload))


OBSERVATIONS = st.builds(
    Observation,
    values=ROWS,
    seq=st.none() | st.integers(0, MAX_SEQ),
    epoch=st.just("") | st.from_regex(r"[A-Za-z0-9 é_.-]{1,64}", fullmatch=True),
    t=st.none() | st.floats(0, MAX_TIME, exclude_max=True),
    dt=st.none() | st.floats(0, MAX_DT, exclude_min=True),
    lane=st.sampled_from(["live", "backlog"]),
    receipt=st.booleans(),
)


def same_but_values(one: Observation, other: Observation) -> bool:
    names = ("seq", "epoch", "t", "dt", "lane", "receipt")
    return all(getattr(one, name) == getattr(other, name) for name in names)


@steady
@given(OBSERVATIONS, st.sampled_from(Format))
def test_float32_arrives_exactly(sent: Observation, form: Format) -> None:
    payload = encode_observation(sent, form)
    assert of_payload(payload) is form
    got = decode_observation(payload, form)
    assert np.array_equal(got.values, sent.values)
    assert same_but_values(got, sent)


def step(values: Rows, packing: Packing) -> Any:
    """The largest error of the packing, a channel: half a step, and what float32 itself loses."""
    size = np.abs(values).astype(np.float64)
    if packing == "float16":
        return np.where(size.max() < 65_520, np.maximum(size * 2.0**-11, 2.0**-25), 0.0)
    wide = values.astype(np.float64)
    steps = {"int8": 254, "int4": 14}[packing]
    return (wide.max(axis=0) - wide.min(axis=0)) / steps * 0.501 + size * 2.0**-22 + 1e-44


@steady
@given(OBSERVATIONS, st.sampled_from(["float16", "int8", "int4"]))
@example(Observation(np.array([[1e-38, -1e-45, 0.0]], np.float32)), "int8")
def test_smaller_packings_arrive_within_their_step(sent: Observation, packing: Packing) -> None:
    got = decode_observation(encode_observation(sent, Format.CBOR, packing=packing), Format.CBOR)
    assert got.values.shape == sent.values.shape
    assert (np.abs(got.values.astype(np.float64) - sent.values) <= step(sent.values, packing)).all()
    assert same_but_values(got, sent)


@steady
@given(MAPS.filter(lambda fields: "values" in fields), st.integers(0, MAX_SEQ))
def test_a_refusal_carries_a_good_row_number(fields: dict[str, Any], seq: int) -> None:
    why = refused(lambda: decode_observation(cbor2.dumps({**fields, "seq": seq}), Format.CBOR))
    assert why is None or why.detail.startswith("not CBOR") or why.seq == seq


@steady
@given(ROWS, st.data())
def test_one_bad_number_is_found_where_it_is(values: Rows, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, values.shape[0] - 1))
    channel = data.draw(st.integers(0, values.shape[1] - 1))
    number = data.draw(st.sampled_from([float("nan"), float("inf"), float("-inf"), 1e39]))
    lists = values.tolist()
    lists[row][channel] = number
    why = refused(lambda: decode_observation(cbor2.dumps({"values": lists}), Format.CBOR))
    assert why is not None
    assert (why.reason, why.detail) == ("not_finite", f"values[{row}][{channel}] is not a finite float32")


@steady
@given(OBSERVATIONS, st.binary(min_size=1, max_size=3))
def test_bytes_after_the_message_are_refused(sent: Observation, rest: bytes) -> None:
    assert refused(lambda: decode_observation(encode_observation(sent, Format.CBOR) + rest, Format.CBOR)) is not None
    if rest.strip(b" \t\r\n"):
        assert (
            refused(lambda: decode_observation(encode_observation(sent, Format.JSON) + rest, Format.JSON)) is not None
        )


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
COUNTS = st.integers(0, MAX_SEQ)
RESULTS = st.builds(
    Result,
    id=TEXT, device=TEXT, stream=TEXT, seq=COUNTS, epoch=TEXT, t=FINITE, model=TEXT, version=TEXT, label=TEXT,
    score=FINITE, tier=st.sampled_from(["bridge", "cloud"]), provisional=st.booleans(), rev=st.integers(0, 1),
    latency_ms=FINITE, reason=TEXT, lane=st.sampled_from(["live", "backlog"]), t_source=TEXT,
    local=st.none() | st.dictionaries(TEXT, FINITE | TEXT, max_size=2),
)  # fmt: skip
RANGES = st.tuples(COUNTS, COUNTS).map(lambda ends: (min(ends), max(ends)))
RECEIPTS = st.builds(Receipt, epoch=TEXT, safe=st.lists(RANGES, max_size=5))
ERRORS = st.builds(Error, reason=st.sampled_from(REASONS), detail=TEXT, stream=st.none() | TEXT, seq=st.none() | COUNTS)


@steady
@given(RESULTS | RECEIPTS | ERRORS)
def test_answers_arrive_as_sent(sent: Result | Receipt | Error) -> None:
    kind: Any = type(sent)
    assert decode_answer(encode_answer(sent), kind) == sent
    assert decode_answer(cbor2.dumps(msgspec.to_builtins(sent)), kind) == sent


@steady
@given(
    st.booleans(),
    FINITE,
    st.dictionaries(TEXT.filter(lambda key: key not in {"online", "t"}), FINITE | TEXT, max_size=3),
)
def test_statuses_arrive_as_sent(online: bool, t: float, facts: dict[str, Any]) -> None:
    assert decode_status(encode_status(online=online, t=t, **facts)) == {"online": online, "t": t, **facts}


@steady
@given(TEXT, TEXT, ROWS, FINITE)
def test_questions_arrive_as_sent(window: str, model: str, values: Rows, patience: float) -> None:
    got = decode_question(encode_question(Question(window, model, values, patience)))
    assert (got.id, got.model, got.patience) == (window, model, patience)
    assert np.array_equal(got.values, values)


@steady
@given(
    st.builds(
        Reply, id=TEXT, cloud=TEXT, label=st.none() | TEXT, score=st.none() | FINITE, version=TEXT, variant=TEXT,
        engine=TEXT, run_ms=FINITE, batch=COUNTS, queue=COUNTS, error=st.none() | TEXT,
    )
)  # fmt: skip
def test_replies_arrive_as_sent(sent: Reply) -> None:
    assert decode_reply(encode_reply(sent)) == sent


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_of_the_contract_can_be_told(reason: Reason) -> None:
    assert decode_answer(encode_answer(Error(reason, "why", "wrist", 0)), Error).reason == reason
