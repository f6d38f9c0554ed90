"""Messages of several questions: replies together, one acknowledgement, what is cancelled, what would be too late."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import cbor2
import pytest

from bridge import topics
from bridge.errors import ModelError
from bridge.wire.offload import MOST, Asking, Question, decode_replies, encode_asking, encode_question
from cloud_agent.forecast import TRUSTED
from cloud_agent.service import LONGEST_ERROR
from tests.support.cloud_service import REPLY_TO, WINDOW, Bench, delivery, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.mqtt.messages import Delivery

TIMES = ((1, 1.0), (8, 2.0))  # seconds of a batch of "activity"


@pytest.fixture
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with served(**getattr(request, "param", {})) as bench:
        yield bench


def asking(
    *names: str,
    cancel: tuple[str, ...] = (),
    patience: float = 20.0,
    model: str = "activity",
    reply_to: str = REPLY_TO,
    agent: str | None = None,
    correlation: bytes | None = None,
) -> Delivery:
    questions = [Question(name, model, WINDOW, patience) for name in names]
    payload = encode_asking(Asking(questions, list(cancel)))
    found = delivery(payload, topic=topics.escalate(model, agent), reply_to=reply_to)
    found.correlation = correlation
    return found


async def busy(bench: Bench, *, reply_to: str = REPLY_TO) -> None:
    """The engine is held back with one question."""
    bench.go.clear()
    bench.ask(asking("first", reply_to=reply_to))
    async with asyncio.timeout(10):
        while not bench.fake.batches:  # noqa: ASYNC110 - a thread computes
            await asyncio.sleep(0.001)


def messages(bench: Bench) -> list[tuple[str, list[str]]]:
    return [
        (message.topic, [reply.id for reply in decode_replies(message.payload)]) for message in bench.line.published
    ]


async def test_replies_of_one_run_to_one_asker_travel_together(bench: Bench) -> None:
    await busy(bench)
    bench.ask(asking("a", "b"), asking("c", reply_to=topics.reply("gw-2")), asking("d", agent="gpu-1"))
    bench.go.set()
    await bench.replies(5)
    assert bench.fake.batches == [1, 4]
    assert messages(bench) == [
        (REPLY_TO, ["first"]), (REPLY_TO, ["a", "b", "d"]), (topics.reply("gw-2"), ["c"]),
    ]  # fmt: skip


async def test_a_message_is_acknowledged_when_the_last_of_its_replies_has_been(bench: Bench) -> None:
    await busy(bench)
    asked = asking(*(f"w{i}" for i in range(10)))
    bench.ask(asked)
    bench.go.set()
    await bench.replies(11)
    first, eight, two = (message.done for message in bench.line.published)
    assert first is not None
    assert eight is not None
    assert two is not None
    first(0)
    two(0)
    assert asked not in bench.line.acknowledged
    eight(0)
    assert bench.line.acknowledged[1:] == [asked]


async def test_one_bad_question_is_refused_and_the_others_are_answered(bench: Bench) -> None:
    good = {"id": "good", "model": "activity", "values": WINDOW.tolist(), "patience": 5.0}
    bad = [{**good, "id": "shape", "values": [[1.0]]}, {**good, "id": "model", "model": "other"}, {}]
    asked = delivery(cbor2.dumps({"ask": [*bad, good]}))
    bench.ask(asked)
    found = {reply.id: reply.error for reply in await bench.replies(4)}
    assert found.pop("good") is None
    assert {name: str(why).partition(":")[0] for name, why in found.items()} == {
        "shape": "shape", "model": "malformed", "": "malformed",
    }  # fmt: skip
    assert len(bench.line.published) == 2
    assert bench.line.acknowledged == []
    bench.line.settle()
    assert bench.line.acknowledged == [asked]


async def test_replies_to_bare_questions_are_bare_and_each_repeats_its_correlation(bench: Bench) -> None:
    await busy(bench)
    bench.ask(delivery(name="a"), delivery(name="b"), delivery(name="a"))
    bench.go.set()
    await bench.replies(3)
    assert [message.correlation for message in bench.line.published] == [None, b"a", b"b"]
    assert messages(bench)[1:] == [(REPLY_TO, ["a"]), (REPLY_TO, ["b"])], "a window asked twice is answered once"
    bench.line.settle()
    assert len(bench.line.acknowledged) == 4


@pytest.mark.parametrize("bench", [{"queue": 400}], indirect=True)
async def test_no_message_holds_more_replies_than_the_asker_takes(bench: Bench) -> None:
    bench.service.stopping = True
    bench.ask(*(asking(*(f"{part}-{i}" for i in range(40))) for part in range(4)))
    assert [len(names) for _, names in messages(bench)] == [MOST, MOST, 32]
    bench.line.settle()
    assert len(bench.line.acknowledged) == 4


async def test_a_reply_tells_how_long_the_question_waited_and_ran(bench: Bench) -> None:
    await busy(bench)
    bench.ask(asking("a", "b"))
    bench.now += 0.75
    bench.took = 0.125
    bench.go.set()
    first, a, b = await bench.replies(3)
    assert (first.wait_ms, first.run_ms, first.batch, first.queue) == (0.0, 875.0, 1, 2)
    assert (a.wait_ms, a.run_ms, a.batch, a.queue) == (b.wait_ms, b.run_ms, 2, 0) == (875.0, 250.0, 2, 0)


# ---- cancel


async def test_what_is_cancelled_while_it_waits_is_not_run_and_not_replied_to(bench: Bench) -> None:
    await busy(bench)
    asked = asking("a", "b", "c")
    bench.ask(asked)
    cancel = asking(cancel=("a", "c", "first", "never asked"))
    bench.ask(cancel)
    assert bench.line.acknowledged == [cancel]
    bench.go.set()
    assert [reply.id for reply in await bench.replies(2)] == ["first", "b"]
    assert (bench.fake.batches, bench.service.cancelled) == ([1, 1], 2)
    bench.line.settle()
    assert bench.line.acknowledged[2:] == [asked]


async def test_an_idle_agent_forgets_without_a_word_what_is_cancelled_before_it_ran(bench: Bench) -> None:
    asked, cancel = asking("a"), asking(cancel=("a",))
    bench.ask(asked, cancel)  # in one read of the socket
    bench.ask(asking("b"))
    assert [reply.id for reply in await bench.replies(1)] == ["b"]
    assert bench.line.acknowledged == [asked, cancel]


async def test_a_message_cancelled_as_a_whole_is_acknowledged_and_leaves_nothing_to_drain(bench: Bench) -> None:
    await busy(bench)
    asked, cancel = asking("a", "b"), asking(cancel=("a", "b"))
    bench.ask(asked, cancel)
    assert bench.line.acknowledged == [asked, cancel]
    bench.go.set()
    await bench.service.drain(5.0)
    assert [reply.id for reply in bench.line.replies] == ["first"]


async def test_nobody_cancels_what_another_asked(bench: Bench) -> None:
    await busy(bench)
    bench.ask(asking("a"), asking(cancel=("a",), reply_to=topics.reply("gw-2")))
    bench.go.set()
    assert [reply.id for reply in await bench.replies(2)] == ["first", "a"]


async def test_cancels_come_before_the_questions_of_the_same_message(bench: Bench) -> None:
    await busy(bench)
    bench.ask(asking("a"), asking("a", cancel=("a",)))
    bench.go.set()
    await bench.replies(2)
    assert (bench.fake.batches, bench.service.cancelled) == ([1, 1], 1)


# ---- too late


@pytest.mark.parametrize("bench", [{"times": TIMES}], indirect=True)
async def test_what_cannot_be_answered_in_time_is_refused_when_it_comes(bench: Bench) -> None:
    await busy(bench)
    bench.ask(asking("a", patience=1.9))
    assert [reply.error for reply in bench.line.replies] == ["too late: predicted 2.000 s, patience 1.900 s"]
    bench.now += 0.5
    bench.ask(asking("b", patience=2.6), asking(*(f"w{i}" for i in range(8)), "c", patience=4.4))
    words = "too late: predicted 4.500 s, patience 4.400 s"  # the rest of the run, a full batch and what fills the next
    assert {reply.id: reply.error for reply in bench.line.replies[1:]} == {"w7": words, "c": words}
    bench.go.set()
    replies = await bench.replies(12)
    assert {reply.id for reply in replies if reply.error is None} == {"first", "b", *(f"w{i}" for i in range(7))}


@pytest.mark.parametrize("bench", [{"times": TIMES}], indirect=True)
async def test_an_urgent_question_overtakes_and_is_not_judged_by_what_it_overtakes(bench: Bench) -> None:
    await busy(bench)
    bench.ask(asking("slow", "slower", patience=50.0), asking("urgent", patience=2.0))
    assert bench.line.published == []
    bench.now += 1.0
    bench.go.set()
    assert [reply.id for reply in await bench.replies(4)] == ["first", "urgent", "slow", "slower"]
    assert bench.fake.batches == [1, 1, 2], "by company the urgent one would be too late"


@pytest.mark.parametrize("bench", [{"times": ((1, 1.0), (8, 1.0))}], indirect=True)
async def test_under_load_batches_stay_full_and_who_would_be_late_by_them_is_told(bench: Bench) -> None:
    await busy(bench)
    bench.ask(asking("short", patience=2.0), asking(*(f"w{i}" for i in range(8)), patience=9.0))
    bench.now += 1.5  # longer than predicted
    bench.go.set()
    replies = {reply.id: reply.error for reply in await bench.replies(10)}
    assert replies.pop("short") == "too late: predicted to run 1.000 s, longer than its patience lasts"
    assert set(replies.values()) == {None}
    assert bench.fake.batches == [1, 8]


@pytest.mark.parametrize("bench", [{"times": TIMES}], indirect=True)
async def test_run_times_are_learned(bench: Bench) -> None:
    bench.took = 0.25
    for i in range(20):
        bench.ask(asking(f"w{i}"))
        await bench.replies(i + 1)
    bench.ask(asking("quick", patience=0.3), asking("quicker", patience=0.2))
    replies = {reply.id: reply.error for reply in await bench.replies(22)}
    assert replies["quick"] is None
    assert str(replies["quicker"]).startswith("too late: predicted 0.2")


@pytest.mark.parametrize("bench", [{"times": TIMES}], indirect=True)
async def test_times_of_long_ago_refuse_nobody(bench: Bench) -> None:
    """A bad spell would stick: what is refused is not run, and what is not run is not measured."""
    bench.ask(asking("a", patience=0.5))
    bench.now += TRUSTED + 0.1
    bench.ask(asking("b", patience=0.5))
    a, b = await bench.replies(2)
    assert (a.error, b.error) == ("too late: predicted 1.000 s, patience 0.500 s", None)
    for i in range(20):  # by now it is measured: it took no time
        bench.ask(asking(f"w{i}"))
        await bench.replies(3 + i)
    bench.ask(asking("c", patience=0.5))
    assert (await bench.replies(23))[-1].error is None


@pytest.mark.parametrize("bench", [{"times": TIMES}], indirect=True)
async def test_a_neighbour_s_flood_does_not_make_another_too_late(bench: Bench) -> None:
    await busy(bench)
    bench.ask(*(asking(*(f"{part}-{i}" for i in range(50)), patience=60.0) for part in range(4)))
    bench.ask(asking("polite", patience=5.1, reply_to=topics.reply("gw-2")))
    assert bench.line.replies == [], "two hundred wait, but one of them at most comes first"
    bench.go.set()
    replies = await bench.replies(202)
    assert "polite" in [reply.id for reply in replies[:9]]


async def test_models_take_turns_and_each_has_its_own_batch(bench: Bench) -> None:
    await busy(bench)
    bench.ask(asking("a", "b", "c"), asking("d", "e", "f", model="other", reply_to=topics.reply("gw-2")))
    bench.go.set()
    replies = {reply.id: reply for reply in await bench.replies(7)}
    assert bench.fake.batches == [1, 3]
    assert sorted(bench.other.batches) == [1, 2]
    assert all(reply.error is None for reply in replies.values())


async def test_an_engine_s_long_words_are_cut(bench: Bench) -> None:
    bench.fake.failure = ModelError("x" * 5_000)
    bench.ask(asking("a", "b"))
    a, _ = await bench.replies(2)
    assert len(str(a.error)) == LONGEST_ERROR
    assert len(bench.line.published) == 1


async def test_a_broker_that_takes_no_replies_is_told_of_a_whole_message_at_once(bench: Bench) -> None:
    bench.line.full = True
    asked = delivery(cbor2.dumps({"ask": [{}] * MOST}), qos=0)
    bench.ask(asked)
    assert bench.line.acknowledged == [asked]
    assert bench.line.published == []


async def test_bytes_that_are_nothing_get_one_refusal_and_are_acknowledged(bench: Bench) -> None:
    asked = delivery(cbor2.dumps({"ask": [None] * (MOST + 1)}))
    bench.ask(asked)
    (reply,) = bench.line.replies
    assert str(reply.error).startswith("too_large: ask: 65")
    bench.line.settle()
    assert bench.line.acknowledged == [asked]


async def test_patience_is_judged_by_each_question_s_own(bench: Bench) -> None:
    questions = [Question("dead", "activity", WINDOW, -1.0), Question("alive", "activity", WINDOW, math.pi)]
    bench.ask(delivery(encode_asking(Asking(questions))))
    dead, alive = await bench.replies(2)
    assert (dead.id, dead.error) == ("dead", "too late: its patience ran out")
    assert (alive.id, alive.error) == ("alive", None)
    assert [message.expiry for message in bench.line.published] == [30, 4]


async def test_the_bare_form_may_be_given_no_correlation(bench: Bench) -> None:
    await busy(bench)
    bare = [delivery(encode_question(Question(name, "activity", WINDOW, 9.0))) for name in "ab"]
    for one in bare:
        one.correlation = None
    bench.ask(*bare)
    bench.go.set()
    await bench.replies(3)
    assert messages(bench)[1:] == [(REPLY_TO, ["a", "b"])]
