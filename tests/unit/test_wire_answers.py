"""Results, Receipts, Errors, statuses, questions and replies on the wire."""

from __future__ import annotations

import json
import math
from typing import Any

import cbor2
import msgspec
import numpy as np
import pytest

from bridge.errors import Refused
from bridge.messages import Error, Receipt, Result
from bridge.wire.answers import decode_answer, decode_status, encode_answer, encode_status
from bridge.wire.offload import Question, Reply, decode_question, decode_reply, encode_question, encode_reply

RESULT = Result(
    id="ab" * 16,
    device="wrist-8",
    stream="wrist",
    seq=64,
    epoch="e1",
    t=1.5,
    model="activity",
    version="1.0.0",
    label="pendulum",
    score=0.75,
    tier="cloud",
    provisional=False,
    rev=0,
    latency_ms=12.5,
    reason="unsure: 0.500 < 0.700",
    lane="live",
)


def test_a_result_has_the_contract_s_keys() -> None:
    wanted = "id device stream seq epoch t model version label score tier provisional rev latency_ms reason lane"
    assert list(json.loads(encode_answer(RESULT))) == [*wanted.split(), "t_source", "local"]
    assert decode_answer(encode_answer(RESULT), Result) == RESULT


def test_answers_may_come_as_cbor_and_with_keys_of_later_versions() -> None:
    fields = {**msgspec.to_builtins(RESULT), "later": [1]}
    assert decode_answer(cbor2.dumps(fields), Result) == RESULT


def test_receipts_and_errors_have_the_contract_s_keys() -> None:
    assert json.loads(encode_answer(Receipt("e", [(0, 63), (70, 80)]))) == {"epoch": "e", "safe": [[0, 63], [70, 80]]}
    told = {"reason": "stale", "detail": "late", "stream": None, "seq": 3}
    assert json.loads(encode_answer(Error("stale", "late", None, 3))) == told


@pytest.mark.parametrize(
    ("payload", "kind", "reason"),
    [
        (b"{}", Result, "malformed"),
        (b"", Receipt, "malformed"),
        (b'{"epoch": "e", "safe": [[0]]}', Receipt, "malformed"),
        (b'{"epoch": "e", "safe": [[0, 1.5]]}', Receipt, "malformed"),
        (b'{"epoch": "e", "safe": [[0, 1], [0, 9223372036854775808]]}', Receipt, "malformed"),
        (b'{"epoch": "e", "safe": [[0, 9007199254740992]]}', Receipt, "malformed"),
        (b'{"epoch": "e", "safe": [[-1, 3]]}', Receipt, "malformed"),
        (b'{"epoch": "e", "safe": [[5, 3]]}', Receipt, "malformed"),
        (b'{"reason": "mood", "detail": "", "stream": null, "seq": null}', Error, "malformed"),
        (b'{"epoch": "e", "epoch": "f", "safe": []}', Receipt, "malformed"),
        (cbor2.dumps({**msgspec.to_builtins(RESULT), "score": math.nan}), Result, "not_finite"),
        (cbor2.dumps({**msgspec.to_builtins(RESULT), "t": -math.inf}), Result, "not_finite"),
    ],
)
def test_what_is_no_answer_is_refused(payload: bytes, kind: Any, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        decode_answer(payload, kind)
    assert caught.value.reason == reason


def test_a_status_says_at_least_whether_its_publisher_is_there() -> None:
    status = encode_status(online=True, t=1.0, models={"activity": "1.0.0"})
    assert decode_status(status) == {"online": True, "t": 1.0, "models": {"activity": "1.0.0"}}
    for bad in (b"{}", b'{"online": 1}', b"[]", b"", b'{"online": true, "t": NaN}', b"\xa1"):
        with pytest.raises(Refused):
            decode_status(bad)


@pytest.mark.parametrize("packing", ["float32", "float16", "int8"])
def test_a_question_arrives_as_asked(packing: Any) -> None:
    asked = Question("id", "activity", np.array([[0.0, 1.0], [2.0, -3.0]], np.float32), 0.75)
    got = decode_question(encode_question(asked, packing=packing))
    assert (got.id, got.model, got.patience) == ("id", "activity", 0.75)
    assert got.values == pytest.approx(asked.values, abs=0.02)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "malformed"),
        ({"id": 3, "model": "m", "values": [[1.0]], "patience": 1.0}, "malformed"),
        ({"id": "i", "model": "m", "values": [[1.0], []], "patience": 1.0}, "shape"),
        ({"id": "i", "model": "m", "values": [[math.inf]], "patience": 1.0}, "not_finite"),
        ({"id": "i", "model": "m", "values": [[1.0]], "patience": "long"}, "malformed"),
    ],
)
def test_what_is_no_question_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused) as caught:
        decode_question(cbor2.dumps(fields))
    assert caught.value.reason == reason
    assert "_" not in caught.value.detail.split(":")[0]


def test_replies_of_both_kinds_arrive_as_sent() -> None:
    answered = Reply("id", "gpu-1", "sit", 0.5, "1", "big", "CUDA", 1.5, 4, 2)
    refused = Reply("id", "gpu-1", error="shape")
    assert decode_reply(encode_reply(answered)) == answered
    assert decode_reply(encode_reply(refused)) == refused


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"id": "i"}, "malformed"),
        ({"id": "i", "cloud": "c", "score": "high"}, "malformed"),
        ({"id": "i", "cloud": "c", "score": math.nan}, "not_finite"),
        ({"id": "i", "cloud": "c", "run_ms": math.inf}, "not_finite"),
    ],
)
def test_what_is_no_reply_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused) as caught:
        decode_reply(cbor2.dumps(fields))
    assert caught.value.reason == reason
