"""The way of a question through the service, with a fake engine and a line that only remembers."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import cbor2
import numpy as np
import pytest

from bridge import topics
from bridge.errors import ModelError
from bridge.wire import zstd
from bridge.wire.offload import Question, encode_question
from cloud_agent.service import GIVE_UP
from tests.support.cloud_service import REPLY_TO, WINDOW, Bench, delivery, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.mqtt.messages import Delivery


@pytest.fixture
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with served(**getattr(request, "param", {})) as bench:
        yield bench


async def test_a_reply_tells_all_the_bridge_wants_to_know(bench: Bench) -> None:
    asked = delivery()
    bench.ask(asked)
    (reply,) = await bench.replies(1)
    assert (reply.id, reply.cloud, reply.label, reply.error) == ("w1", "gpu-1", "walk", None)
    assert reply.score == pytest.approx(1 / (1 + np.exp(-1.0)))
    assert (reply.version, reply.variant, reply.engine) == ("2.0.0", "fake", "FakeExecutionProvider")
    assert (reply.batch, reply.queue, reply.run_ms, reply.wait_ms) == (1, 0, 0.0, 0.0)
    (message,) = bench.line.published
    assert (message.topic, message.correlation, message.qos, message.expiry) == (REPLY_TO, b"w1", 1, 5)


async def test_a_question_in_a_frame_is_answered_as_any(bench: Bench) -> None:
    rows = np.tile(WINDOW[:1] * 0.1, (4, 1))
    framed = encode_question(Question("w1", "activity", rows, 5.0), packing="int4", zstd=True)
    assert framed.startswith(zstd.MAGIC)
    bench.ask(delivery(framed))
    (reply,) = await bench.replies(1)
    assert (reply.id, reply.error) == ("w1", None)


async def test_a_question_is_acknowledged_when_its_reply_has_been(bench: Bench) -> None:
    asked = delivery()
    bench.ask(asked)
    await bench.replies(1)
    assert bench.line.acknowledged == []
    bench.line.settle()
    assert bench.line.acknowledged == [asked]


async def test_what_waits_while_the_engine_runs_goes_together(bench: Bench) -> None:
    bench.go.clear()
    bench.ask(delivery(name="first"))
    await asyncio.sleep(0.05)
    bench.ask(*(delivery(name=f"w{i}", patience=20.0 - i) for i in range(10)))
    bench.go.set()
    replies = await bench.replies(11)
    assert bench.fake.batches == [1, 8, 2]
    assert [reply.id for reply in replies] == ["first", *(f"w{i}" for i in reversed(range(10)))]
    assert [reply.queue for reply in replies] == [10, *[2] * 8, 0, 0]


def cbor(**changes: object) -> bytes:
    fields = {"id": "w1", "model": "activity", "values": WINDOW.tolist(), "patience": 5.0}
    return cbor2.dumps({**fields, **changes})


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (delivery(b""), "malformed: "),
        (delivery(b"\xff"), "malformed: "),
        (delivery(b'{"json": true}'), "malformed: "),
        (delivery(cbor(id=7)), "malformed: "),
        (delivery(cbor(id="x" * 300)), "malformed: id"),
        (delivery(cbor(patience=float("nan"))), "malformed: patience"),
        (delivery(cbor(patience=float("inf"))), "malformed: patience"),
        (delivery(cbor(patience=-1)), "too late: "),
        (delivery(cbor(values=[[1.0, float("nan")]] * 4)), "not_finite: values[0][1]"),
        (delivery(cbor(values=[[1.0, 2.0]] * 3)), "shape: activity takes windows of 4 × 2, not 3 × 2"),
        (delivery(cbor(values=[])), "shape: "),
        (delivery(cbor(model="other")), "malformed: model"),
        (delivery(cbor(model="none"), topic="edge/v1/_escalate/none"), "no_route: no model 'none' here"),
        (delivery(topic="edge/v1/_escalate/no/name"), "malformed: model"),
        (delivery(cbor(values=[[[]]] * 4)), "shape: "),
        (delivery(b"\x81" * 5000), "too_deep: "),
        (delivery(zstd.library.compress(b"\0" * 2_000_000)), "too_large: 2000000 bytes in a zstd frame"),
        (delivery(zstd.MAGIC + b"?"), "malformed: not a zstd frame"),
    ],
)
async def test_what_cannot_be_taken_is_refused_in_words_and_the_next_is_unharmed(
    bench: Bench, asked: Delivery, error: str
) -> None:
    bench.ask(asked, delivery(name="good"))
    refusal, good = await bench.replies(2)
    assert refusal.error is not None
    assert refusal.error.startswith(error)
    assert (refusal.label, bench.line.published[0].correlation) == (None, b"w1")
    assert (good.id, good.error) == ("good", None)
    bench.line.settle()
    assert len(bench.line.acknowledged) == 2


@pytest.mark.parametrize(
    "reply_to",
    [None, "", "edge/v1/_reply", "edge/v1/_reply/#", "edge/v1/plant/a/result/m", "elsewhere/x", "$SYS/x"],
)
async def test_without_a_usable_response_topic_it_is_logged_and_acknowledged(
    bench: Bench, caplog: pytest.LogCaptureFixture, reply_to: str | None
) -> None:
    unusable = [delivery(reply_to=reply_to) for _ in range(50)]
    bench.ask(*unusable)
    assert bench.line.acknowledged == unusable
    assert bench.line.published == []
    assert len(caplog.messages) == 1


async def test_a_question_that_waited_too_long_is_told_so_and_not_computed(bench: Bench) -> None:
    bench.go.clear()
    bench.ask(delivery(name="first"))
    await asyncio.sleep(0.05)
    bench.ask(delivery(name="short", patience=1.0), delivery(name="long", patience=9.0))
    bench.now += 2.0
    bench.go.set()
    first, short, long = await bench.replies(3)
    assert (first.error, short.error, long.error) == (None, "too late: its patience ran out while it waited", None)
    assert sum(bench.fake.batches) == 2
    assert [message.expiry for message in bench.line.published] == [3, 30, 7]


@pytest.mark.parametrize("bench", [{"queue": 4}], indirect=True)
async def test_over_the_limit_the_flooding_bridge_is_told_overload(bench: Bench) -> None:
    bench.go.clear()
    bench.ask(delivery(name="first"))
    await asyncio.sleep(0.05)
    bench.ask(*(delivery(name=f"w{i}") for i in range(5)))
    assert [reply.error for reply in bench.line.replies] == ["overload: 4 questions wait at gpu-1"]
    bench.ask(delivery(name="other", reply_to=topics.reply("gw-2")))
    assert [reply.id for reply in bench.line.replies] == ["w4", "w3"]
    bench.now += 9.0
    bench.ask(delivery(name="late"))
    assert [reply.error for reply in bench.line.replies[2:]] == ["too late: its patience ran out"] * 4
    bench.go.set()
    assert [reply.id for reply in (await bench.replies(8))[6:]] == ["first", "late"]


async def test_when_the_broker_takes_no_replies_memory_does_not_grow(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.line.full = True
    asked = [delivery(b"bad", qos=0) for _ in range(100)]
    bench.ask(*asked)
    assert bench.line.published == []
    assert bench.line.acknowledged == asked
    assert len(caplog.messages) == 1


async def test_a_reply_that_the_broker_refuses_is_logged_and_the_question_acknowledged(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.ask(delivery())
    await bench.replies(1)
    bench.line.settle(0x87)
    assert "0x87" in caplog.text
    assert len(bench.line.acknowledged) == 1


async def test_scores_that_are_not_finite_are_refused_alone(bench: Bench) -> None:
    bench.fake._rule = lambda window: [0.0, float("inf") if window[0, 0] > 1e30 else 1.0]
    bad = Question("bad", "activity", np.full((4, 2), 3e38, np.float32), 5.0)
    bench.ask(delivery(encode_question(bad)), delivery(name="good"))
    replies = {reply.id: reply.error for reply in await bench.replies(2)}
    assert replies["good"] is None
    assert str(replies["bad"]).startswith("not_finite: ")


async def test_an_engine_that_fails_once_is_told_and_goes_on(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.fake.failure = ModelError("out of memory")
    bench.ask(delivery(name="a"))
    assert (await bench.replies(1))[0].error == "engine failed: out of memory"
    bench.fake.failure = None
    bench.ask(delivery(name="b"))
    assert (await bench.replies(2))[1].error is None
    assert "out of memory" in caplog.text


async def test_an_engine_that_keeps_failing_ends_the_service(bench: Bench) -> None:
    bench.fake.failure = ModelError("no device")
    for i in range(GIVE_UP):
        bench.ask(delivery(name=f"w{i}"))
        await bench.replies(i + 1)
    with pytest.raises(ModelError, match="no device"):
        await bench.serving


async def test_draining_answers_what_waits_and_turns_newcomers_away(bench: Bench) -> None:
    bench.go.clear()
    bench.ask(*(delivery(name=f"w{i}") for i in range(10)))
    await asyncio.sleep(0.05)
    draining = asyncio.create_task(bench.service.drain(10.0))
    await asyncio.sleep(0)
    bench.ask(delivery(name="new"))
    bench.go.set()
    await draining
    errors = {reply.id: reply.error for reply in bench.line.replies}
    assert errors.pop("new") == "stopping: gpu-1 goes away, ask again"
    assert errors == {f"w{i}": None for i in range(10)}
    assert (bench.service.answered, bench.service.refused) == (10, 1)


async def test_draining_ends_in_time_and_leaves_nobody_without_a_reply(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    bench.go.clear()
    bench.ask(*(delivery(name=f"w{i}") for i in range(10)))
    await asyncio.sleep(0.05)
    await bench.service.drain(0.01)
    assert "10 questions are still open" in caplog.text
    assert [reply.error for reply in bench.line.replies] == ["stopping: gpu-1 goes away, ask again"] * 10
    bench.go.set()
    await asyncio.sleep(0.05)
    assert len(bench.line.published) == 10
