"""Messages of several questions and of several replies: what they hold, their bounds, and how they are divided."""

from __future__ import annotations

import math
from typing import Any

import cbor2
import numpy as np
import pytest

from bridge.errors import Refused
from bridge.wire import zstd
from bridge.wire.offload import (
    LONGEST_ID,
    MAX_BYTES,
    MOST,
    Asking,
    BadQuestion,
    Question,
    Reply,
    decode_asking,
    decode_question,
    decode_replies,
    encode_asking,
    encode_question,
    encode_replies,
    encode_reply,
    pack_asking,
)

WINDOW = np.array([[0.0, 1.0], [2.0, -3.0]], np.float32)
GOOD = {"id": "good", "model": "m", "values": [[1.0]], "patience": 1.0}


def question(name: str = "w", rows: int = 2) -> Question:
    return Question(name, "activity", np.ones((rows, 2), np.float32), 0.75)


def ids(payload: bytes) -> tuple[list[str], list[str]]:
    questions, cancel = decode_asking(payload)
    return [one.id for one in questions], cancel


@pytest.mark.parametrize("packing", ["float32", "float16", "int8"])
@pytest.mark.parametrize("count", [1, 23, 24, MOST])
def test_questions_and_what_is_cancelled_arrive_as_sent(packing: Any, count: int) -> None:
    asked = [Question(f"w{i}", "activity", WINDOW + i, 0.5 + i) for i in range(count)]
    payload = encode_asking(Asking(asked, ["a", "b"]), packing=packing)
    assert cbor2.loads(payload).keys() == {"ask", "cancel"}
    got, cancel = decode_asking(payload)
    assert cancel == ["a", "b"]
    for one, sent in zip(got, asked, strict=True):
        assert isinstance(one, Question)
        assert (one.id, one.model, one.patience) == (sent.id, sent.model, sent.patience)
        assert one.values == pytest.approx(sent.values, abs=0.02)


WAVE = np.sin(np.arange(768, dtype=np.float32).reshape(128, 6))


def test_a_frame_holds_the_same_and_is_smaller() -> None:
    asked = [Question(f"w{i}", "activity", WAVE, 0.5) for i in range(3)]
    (plain,) = pack_asking(Asking(asked, ["a"]), packing="int4")
    (framed,) = pack_asking(Asking(asked, ["a"]), packing="int4", zstd=True)
    assert framed.payload.startswith(zstd.MAGIC)
    assert len(framed.payload) < 0.7 * len(plain.payload)
    assert ids(framed.payload) == (["w0", "w1", "w2"], ["a"])
    assert framed.questions == plain.questions
    assert ids(encode_question(asked[0], packing="int4", zstd=True)) == (["w0"], [])


def test_what_is_only_cancelled_or_too_large_for_company_is_in_no_frame() -> None:
    (only,) = pack_asking(Asking(cancel=["a"]), zstd=True)
    assert not only.payload.startswith(zstd.MAGIC)
    large = question(rows=40_000)
    (alone,) = pack_asking(Asking([large]), zstd=True)
    assert (len(alone.payload) > MAX_BYTES, ids(alone.payload)) == (True, (["w"], []))


@pytest.mark.parametrize(
    ("content", "why"), [(b"\0" * (MAX_BYTES + 1), "too_large: 262145 bytes in a zstd"), (b"\xff" * 99, "malformed: ")]
)
def test_a_frame_is_trusted_no_more_than_what_is_in_it(content: bytes, why: str) -> None:
    frame = zstd.library.compress(content)
    with pytest.raises(Refused) as caught:
        decode_asking(frame)
    assert str(caught.value).startswith(why)


def test_either_may_be_left_out() -> None:
    assert ids(encode_asking(Asking([question()]))) == (["w"], [])
    assert ids(encode_asking(Asking(cancel=["a"]))) == ([], ["a"])
    assert ids(cbor2.dumps({"ask": [], "cancel": []})) == ([], [])


def test_a_bare_question_is_one_question() -> None:
    assert ids(encode_question(question())) == (["w"], [])
    (bad,), cancel = decode_asking(cbor2.dumps({**GOOD, "values": []}))
    assert isinstance(bad, BadQuestion)
    assert (bad.id, bad.why.reason, cancel) == ("good", "shape", [])


@pytest.mark.parametrize(
    ("bad", "name", "why"),
    [
        ({**GOOD, "id": "b", "values": [[1.0], []]}, "b", "shape: "),
        ({**GOOD, "id": "b", "values": [[math.nan]]}, "b", "not_finite: values[0][0]"),
        ({**GOOD, "id": "b", "patience": math.inf}, "b", "malformed: patience"),
        ({**GOOD, "id": "b", "patience": math.nan}, "b", "malformed: patience"),
        ({"id": "b"}, "b", "malformed: not a Question"),
        ({**GOOD, "id": 7}, "", "malformed: not a Question"),
        ({**GOOD, "id": "x" * (LONGEST_ID + 1)}, "", "malformed: id"),
        ({b"id": "b"}, "", "malformed: not a Question"),
        (None, "", "malformed: not a Question"),
        ([GOOD], "", "malformed: not a Question"),
    ],
)
def test_one_bad_question_does_not_spoil_the_others(bad: Any, name: str, why: str) -> None:
    (first, second, third), _ = decode_asking(cbor2.dumps({"ask": [GOOD, bad, GOOD]}))
    assert isinstance(second, BadQuestion)
    assert second.id == name
    assert str(second.why).startswith(why)
    assert isinstance(first, Question)
    assert isinstance(third, Question)


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "malformed: "),
        (cbor2.dumps([GOOD]), "malformed: a message between"),
        (cbor2.dumps({"ask": GOOD}), "malformed: ask: an array"),
        (cbor2.dumps({"ask": None}), "malformed: ask: an array"),
        (cbor2.dumps({"cancel": "abc"}), "malformed: cancel: an array"),
        (cbor2.dumps({"cancel": [3]}), "malformed: cancel: ids"),
        (cbor2.dumps({"cancel": ["x" * (LONGEST_ID + 1)]}), "malformed: cancel: ids"),
        (cbor2.dumps({"ask": [None] * (MOST + 1)}), f"too_large: ask: {MOST + 1} in one message"),
        (cbor2.dumps({"cancel": ["a"] * (MOST + 1)}), f"too_large: cancel: {MOST + 1} in one message"),
        (cbor2.dumps({"ask": [], "more": b"\0" * MAX_BYTES}), "too_large: 262160 bytes"),
        (cbor2.dumps({"ask": []}) + b"\0", "malformed: 1 bytes after"),
        (b"\xa1\x63ask" + b"\x81" * 99 + b"\x80", "too_deep: "),
    ],
)
def test_what_cannot_be_told_apart_or_is_over_a_bound_is_refused(payload: bytes, why: str) -> None:
    with pytest.raises(Refused) as caught:
        decode_asking(payload)
    assert str(caught.value).startswith(why)


def test_more_than_a_message_holds_is_not_encoded() -> None:
    for asking in (Asking([question()] * (MOST + 1)), Asking(cancel=["a"] * (MOST + 1))):
        with pytest.raises(ValueError, match="at most 64 each"):
            encode_asking(asking)
    with pytest.raises(ValueError, match="at most 262144"):
        encode_asking(Asking([question(rows=40_000)]))


def packed(asking: Asking, most: int = MAX_BYTES) -> list[tuple[list[str], list[str]]]:
    messages = pack_asking(asking, most=most)
    for message in messages:
        bare = "ask" not in (found := cbor2.loads(message.payload)) and "cancel" not in found
        assert len(message.payload) <= min(most, MAX_BYTES) or bare
        assert [one.id for one in message.questions] == ids(message.payload)[0]
    return [ids(message.payload) for message in messages]


def test_as_many_messages_as_needed() -> None:
    names = [f"w{i}" for i in range(MOST + 1)]
    assert packed(Asking()) == []
    assert packed(Asking(cancel=["a"])) == [([], ["a"])]
    assert packed(Asking([question()], ["a"])) == [(["w"], ["a"])]
    assert packed(Asking([question(name) for name in names])) == [(names[:MOST], []), (names[MOST:], [])]
    assert packed(Asking([question()], names)) == [([], names[:MOST]), (["w"], names[MOST:])]
    asking = Asking([question(name, rows=12_000) for name in "abcd"], ["x"])
    assert packed(asking) == [(["a", "b"], ["x"]), (["c", "d"], [])]


def test_a_broker_that_takes_less_gets_smaller_messages() -> None:
    asking = Asking([question(name, rows=100) for name in "abc"], ["x"])  # each about 850 bytes
    assert packed(asking, 3_000) == [(["a", "b", "c"], ["x"])]
    assert packed(asking, 2_000) == [(["a", "b"], ["x"]), (["c"], [])]
    assert packed(asking, 1_000) == [(["a"], ["x"]), (["b"], []), (["c"], [])]
    assert packed(asking, 100) == [([], ["x"]), (["a"], []), (["b"], []), (["c"], [])]
    assert packed(Asking([question(name, rows=12_000) for name in "abcd"]), 9 * MAX_BYTES) == [
        (["a", "b"], []), (["c", "d"], []),
    ]  # fmt: skip


def test_a_question_too_large_for_company_travels_bare() -> None:
    large = question("large", rows=MAX_BYTES // 8)
    assert packed(Asking([question("a"), large, question("b")], ["x"])) == [
        (["a"], ["x"]), (["large"], []), (["b"], []),
    ]  # fmt: skip
    assert packed(Asking([large, question("b")], ["x"])) == [([], ["x"]), (["large"], []), (["b"], [])]
    assert decode_question(pack_asking(Asking([large]))[0].payload).id == "large"


REPLIES = [Reply(f"w{i}", "gpu-1", "sit", 0.5, "1", "big", "CUDA", 1.5, 4, 2, wait_ms=0.25 * i) for i in range(MOST)]


@pytest.mark.parametrize("count", [1, 2, MOST])
def test_replies_arrive_together(count: int) -> None:
    assert decode_replies(encode_replies(REPLIES[:count])) == REPLIES[:count]


def test_a_reply_alone_is_bare() -> None:
    assert encode_replies(REPLIES[:1]) == encode_reply(REPLIES[0])


@pytest.mark.parametrize("replies", [[], [*REPLIES, REPLIES[0]]])
def test_too_few_and_too_many_replies_are_not_encoded(replies: list[Reply]) -> None:
    with pytest.raises(ValueError, match="1 to 64"):
        encode_replies(replies)


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "malformed: "),
        (cbor2.dumps("ok"), "malformed: a message between"),
        (cbor2.dumps({"id": "i"}), "malformed: not a Reply"),
        (cbor2.dumps({"replies": {}}), "malformed: replies: an array"),
        (cbor2.dumps({"replies": [{"id": "i"}]}), "malformed: not a Reply"),
        (cbor2.dumps({"replies": [{"id": "i", "cloud": "c", "wait_ms": math.inf}]}), "not_finite: wait_ms"),
        (cbor2.dumps({"replies": [{}] * (MOST + 1)}), "too_large: replies: 65 in one message"),
        (cbor2.dumps({"replies": [], "more": b"\0" * MAX_BYTES}), "too_large: "),
    ],
)
def test_what_are_no_replies_is_refused(payload: bytes, why: str) -> None:
    with pytest.raises(Refused) as caught:
        decode_replies(payload)
    assert str(caught.value).startswith(why)
