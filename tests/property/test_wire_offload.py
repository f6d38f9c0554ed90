"""Bytes between bridge and cloud agent parse or are refused; what is sent arrives, however it was divided."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

import cbor2
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bridge.errors import REASONS, Refused
from bridge.wire.offload import (
    LONGEST_ID,
    MAX_BYTES,
    MOST,
    Asking,
    BadQuestion,
    Question,
    Reply,
    decode_asking,
    decode_replies,
    encode_asking,
    encode_replies,
    pack_asking,
)
from tests.support.damage import damaged

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")
steady = settings(deadline=None)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 4))
ROWS = SHAPES.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=st.floats(-1e9, 1e9, width=32)))
QUESTIONS = st.builds(Question, TEXT, TEXT, ROWS, FINITE)
ASKINGS = st.builds(Asking, st.lists(QUESTIONS, max_size=4), st.lists(TEXT, max_size=4))
REPLIES = st.builds(
    Reply, id=TEXT, cloud=TEXT, label=st.none() | TEXT, score=st.none() | FINITE, version=TEXT, variant=TEXT,
    engine=TEXT, run_ms=FINITE, batch=st.integers(0, 99), queue=st.integers(0, 99), error=st.none() | TEXT,
    wait_ms=FINITE,
)  # fmt: skip

KEYS = st.sampled_from(["ask", "cancel", "replies", "id", "cloud", "model", "values", "patience", "scale", "zero"])
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=9)
    | st.builds(cbor2.CBORTag, st.sampled_from([40, 72, 84, 85, 2, 1040]), st.lists(st.integers(1, 3), max_size=3))
)  # fmt: skip
TREES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | TEXT | st.integers(), inner, max_size=6),
    max_leaves=16,
)
WHOLE = (
    st.dictionaries(KEYS, TREES, max_size=5).map(cbor2.dumps)
    | ASKINGS.map(encode_asking)
    | st.lists(REPLIES, min_size=1, max_size=4).map(encode_replies)
)


def is_good(one: Question | BadQuestion) -> None:
    assert len(one.id) <= LONGEST_ID
    if isinstance(one, BadQuestion):
        assert one.why.reason in REASONS
        assert one.why.detail
    else:
        assert math.isfinite(one.patience)
        assert one.values.dtype == np.float32
        assert one.values.ndim == 2
        assert np.isfinite(one.values).all()


def outcome(decode: Callable[[], _T]) -> _T | None:
    """What was decoded; None if it was refused with a reason and words. Anything else fails the test."""
    caught: Refused | None = None
    try:
        return decode()
    except Refused as why:
        caught = why
    assert caught.reason in REASONS
    assert caught.detail
    return None


@settings(steady, max_examples=800)
@given(st.binary(max_size=60) | damaged(WHOLE))
@example(b"\xa1\x63ask" + b"\x81" * 100_000)
@example(b"\xa1\x63ask\x9b" + b"\xff" * 8)
@example(b"\xa1\x63ask\x9f" + b"\xf6" * 300_000 + b"\xff")
@example(b"\xa1\x66cancel\x81\x7b" + b"\xff" * 8)
def test_any_bytes_are_a_message_or_refused(payload: bytes) -> None:
    asked = outcome(lambda: decode_asking(payload))
    if asked is not None:
        questions, cancel = asked
        assert max(len(questions), len(cancel)) <= MOST
        assert all(len(name) <= LONGEST_ID for name in cancel)
        for one in questions:
            is_good(one)
    replies = outcome(lambda: decode_replies(payload))
    if replies is not None:
        assert len(replies) <= MOST
        assert all(math.isfinite(reply.wait_ms) and math.isfinite(reply.run_ms) for reply in replies)


def same(one: Question | BadQuestion, other: Question) -> bool:
    return (
        isinstance(one, Question)
        and (one.id, one.model, one.patience) == (other.id, other.model, other.patience)
        and np.array_equal(one.values, other.values)
    )


@steady
@given(ASKINGS.filter(lambda asking: asking.questions or asking.cancel))
def test_what_is_asked_arrives(sent: Asking) -> None:
    questions, cancel = decode_asking(encode_asking(sent))
    assert cancel == sent.cancel
    assert all(same(one, other) for one, other in zip(questions, sent.questions, strict=True))


LENGTHS = st.lists(st.integers(1, 40_000) | st.integers(1, 9), max_size=8)


@steady
@given(
    LENGTHS, st.integers(0, 3), st.integers(0, 200), st.sampled_from(["float32", "int8", "int4"]), st.booleans(),
    st.just(MAX_BYTES) | st.integers(-99, 300_000),
)  # fmt: skip
def test_however_divided_everything_arrives_in_its_order(
    rows: list[int], times: int, cancel: int, packing: Any, zstd: bool, most: int
) -> None:
    few = [Question(f"w{i}", "m", np.ones((n, 2), np.float32), 1.0) for i, n in enumerate(rows)]
    many = [Question("same", "m", np.ones((1, 1), np.float32), 1.0)] * (30 * times)
    names = [f"{i:0256}" for i in range(cancel)]
    messages = pack_asking(Asking([*few, *many], names), packing=packing, zstd=zstd, most=most)
    arrived = [decode_asking(message.payload) for message in messages]
    assert [one.id for questions, _ in arrived for one in questions] == [one.id for one in (*few, *many)]
    assert [name for _, cancelled in arrived for name in cancelled] == names
    several = [message.payload for message in messages if len(message.questions) > 1]
    assert all(len(payload) <= min(most, MAX_BYTES) for payload in several)
    assert all(len(message.payload) <= MAX_BYTES or len(message.questions) == 1 for message in messages)


@steady
@given(st.lists(REPLIES, min_size=1, max_size=5))
def test_replies_arrive_as_sent(sent: list[Reply]) -> None:
    assert decode_replies(encode_replies(sent)) == sent
