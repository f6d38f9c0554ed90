"""Every question to the cloud ends in one event, whatever agents and brokers do."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING

import cbor2
import pytest

from bridge import topics
from bridge.offload.agents import MAX_AGENTS
from bridge.offload.client import NEWS, UNREADABLE, Answered, Ask, Unanswered
from bridge.offload.desk import MOST_AGAIN
from bridge.offload.judge import LONGEST_WORDS
from bridge.wire.offload import Reply
from tests.support.hand_cloud import VALUES, Cloud, clouds
from tests.support.paho_client import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.brokers import RunningBroker


@pytest.fixture
async def make(embedded: RunningBroker) -> AsyncIterator[Callable[..., Cloud]]:
    async with clouds(embedded.port) as make:
        yield make


@pytest.fixture
async def cloud(make: Callable[..., Cloud]) -> Cloud:
    cloud = make(hedge=1.0)
    await cloud.ready()
    return cloud


async def test_the_cloud_is_there_for_the_models_that_agents_serve(cloud: Cloud) -> None:
    assert cloud.why() == "no cloud agent serves m"
    cloud.status("m", "n")
    await until(lambda: not cloud.why())
    assert cloud.why("other") == "no cloud agent serves other"
    cloud.status("m", online=False)
    await until(lambda: cloud.why() == "no cloud agent serves m")
    cloud.status("m", direct=True)
    await until(lambda: not cloud.why())
    cloud.tell(topics.cloud_status("gpu-1"), b"")  # the retained status was deleted
    await until(lambda: cloud.why() == "no cloud agent serves m")


async def test_a_question_carries_window_and_patience_and_is_answered(cloud: Cloud) -> None:
    await cloud.there()
    cloud.ask("w1")
    await until(lambda: cloud.asked)
    (_, question), delivery = cloud.asked[0], cloud.messages[0]
    assert (question.id, question.model, question.values.tolist()) == ("w1", "m", VALUES.tolist())
    assert 4.5 < question.patience <= 5.0
    assert (delivery.topic, delivery.response_topic) == ("edge/v1/_escalate/m", "edge/v1/_reply/gw-1/cloud")
    reply = Reply("w1", "gpu-1", "sit", 0.9)
    cloud.reply(reply)
    cloud.reply(reply, Reply("never asked", "gpu-1", "sit", 0.9))  # an agent may answer both copies
    cloud.ask("w2")
    cloud.reply(Reply("w2", "gpu-1", error="shape"))
    cloud.ask("w3")
    cloud.reply(Reply("w3", "gpu-1"))
    await until(lambda: len(cloud.events) == 3)
    assert cloud.events == [
        Answered("w1", reply),
        Unanswered("w2", "gpu-1 refused: shape"),
        Unanswered("w3", "gpu-1 refused: no label"),
    ]
    assert cloud.client.open == 0
    assert 0 < cloud.view().expected < 5
    assert cloud.cancelled == []


async def test_agents_beyond_those_that_are_remembered_are_told_of_once(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(MAX_AGENTS + 2):
        cloud.status("m", name=f"gpu-{n}")
    cloud.status("n", name="gpu-0")
    await until(lambda: not cloud.why("n"))
    assert caplog.text.count("nor are further ones") == 1


async def test_the_questions_of_a_turn_leave_together(cloud: Cloud) -> None:
    await cloud.there("gpu-1", direct=True)
    until_then = time.monotonic() + 5.0
    cloud.client.ask_all([Ask(f"w{n}", "m", VALUES + n, until_then) for n in range(3)])
    await until(lambda: len(cloud.asked) == 3)
    assert [message.topic for message in cloud.messages] == ["edge/v1/_escalate/m/gpu-1"]
    cloud.reply(*(Reply(f"w{n}", "gpu-1", "sit", 0.9) for n in range(3)))
    await until(lambda: len(cloud.events) == 3)
    assert {event.id for event in cloud.events if isinstance(event, Answered)} == {"w0", "w1", "w2"}


async def test_a_question_without_an_answer_ends_at_its_deadline(cloud: Cloud) -> None:
    await cloud.there()
    began = time.monotonic()
    cloud.ask("w", patience=0.2)
    await until(lambda: cloud.events)
    assert time.monotonic() - began < 1.0
    assert cloud.events == [Unanswered("w", "the cloud did not answer within 0.2 s")]
    assert len(cloud.asked) == 1, "there was nobody else to ask"


async def test_an_answer_that_comes_late_is_learned_from_and_told_to_nobody(cloud: Cloud) -> None:
    await cloud.there("gpu-1", direct=True)
    cloud.ask("w", patience=0.2)
    await until(lambda: cloud.events)
    assert cloud.view().in_time < 0.5
    cloud.reply(Reply("w", "gpu-2", "sit", 0.9), Reply("w", "gpu-1", "sit", 0.9), Reply("w", "gpu-1", "sit", 0.9))
    await until(lambda: cloud.view().in_time > 0.9)
    assert cloud.view().expected >= 0.2
    assert len(cloud.events) == 1


async def test_a_silent_agent_is_left_alone_and_what_waits_for_it_ends_at_once(make: Callable[..., Cloud]) -> None:
    cloud = make()
    cloud.client._max_open = 10
    await cloud.ready()
    await cloud.there()
    cloud.ask("patient", patience=60.0)
    for number in range(5):
        cloud.ask(f"w{number}", patience=0.05)
    await until(lambda: len(cloud.events) == 6)
    assert cloud.events[5] == Unanswered("w4", "the cloud did not answer within 0.1 s") or cloud.events[4].id == "w4"
    assert Unanswered("patient", "the cloud did not answer lately") in cloud.events
    assert cloud.why() == "the cloud did not answer lately"
    cloud.ask("late", patience=60.0)  # decided on before the breaker opened
    assert cloud.events[6] == Unanswered("late", "the cloud did not answer lately")


async def test_an_agent_left_alone_is_tried_again_by_a_shadow(make: Callable[..., Cloud]) -> None:
    cloud = make()
    cloud.client._max_open = 10
    await cloud.ready()
    await cloud.there("gpu-1", direct=True)
    for number in range(5):
        cloud.ask(f"w{number}", patience=0.3)
    await until(lambda: len(cloud.events) == 5)
    assert cloud.why() == "the cloud did not answer lately"  # so it is wished for
    await until(lambda: len(cloud.asked) == 6)
    name, shadow = cloud.asked[5]
    assert (name, shadow.model, shadow.values.tolist()) == ("gpu-1", "m", VALUES.tolist())
    assert shadow.id not in {event.id for event in cloud.events}
    cloud.reply(Reply(shadow.id, "gpu-1", "sit", 0.9))
    await until(lambda: not cloud.why())
    assert len(cloud.events) == 5, "nobody is told of a shadow"


async def test_questions_under_way_are_bounded_also_those_decided_on(cloud: Cloud) -> None:
    await cloud.there()
    cloud.ask("a")
    assert cloud.why(planned=1) == ""
    assert cloud.why(planned=2) == "3 questions are under way"
    for window in "bcd":
        cloud.ask(window)
    assert cloud.events == [Unanswered("d", "3 questions are under way")]


async def test_nonsense_is_logged_and_harms_nobody(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    await cloud.there()
    cloud.tell(topics.reply("gw-1"), b"\xff")
    cloud.tell(topics.cloud_status("gpu-1"), b"[]")
    cloud.ask("w")
    cloud.reply(Reply("w", "gpu-1", "sit", 0.9))
    await until(lambda: cloud.events)
    assert isinstance(cloud.events[0], Answered)
    assert caplog.text.count("malformed") == 2


async def test_who_says_much_does_not_fill_the_log(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bridge.offload")
    page = "\n" + "x" * 10_000
    for n in range(100):
        cloud.tell(topics.reply("gw-1"), cbor2.dumps({"id": "w", page: page}))
        cloud.tell(topics.reply("gw-1"), cbor2.dumps({"id": "w", "cloud": "c", "label": [page]}))
        cloud.tell(f"edge/v1/_cloud/{page}/status", b"\xff")
        cloud.status("n", page, name="gpu-2", engine=page, instance=n)
        cloud.status(name="gpu-2", online=False)
    await cloud.there()
    cloud.ask("w")
    cloud.reply(Reply("w", "gpu-1", "sit", 0.9))
    await until(lambda: cloud.events)
    assert isinstance(cloud.events[0], Answered)
    lines = [record.getMessage() for record in caplog.records if record.name == "bridge.offload"]
    assert len([line for line in lines if line.startswith("cloud: edge/")]) == UNREADABLE
    assert len([line for line in lines if line.startswith("cloud agent ")]) == NEWS
    assert max(map(len, lines)) < 3 * LONGEST_WORDS
    assert all(line.isprintable() for line in lines)


async def test_a_lost_broker_is_told(cloud: Cloud, embedded: RunningBroker) -> None:
    await cloud.there()
    cloud.ask("under way", patience=1.0)
    embedded.kill()
    await until(lambda: cloud.why() == "the cloud's broker is not there")
    cloud.ask("w", patience=60.0)
    assert cloud.events == [Unanswered("w", "the cloud's broker is not there")]
    await until(lambda: len(cloud.events) == 2)
    assert cloud.events[1] == Unanswered("under way", "the cloud did not answer within 1.0 s")


async def test_what_an_earlier_life_asked_waits_for_the_first_agent(make: Callable[..., Cloud]) -> None:
    cloud = make()
    cloud.ask("taken up")
    cloud.ask("too late", patience=-1.0)
    assert [event.id for event in cloud.events] == ["too late"]
    await cloud.ready()
    cloud.status("m")
    await until(lambda: cloud.asked)
    cloud.reply(Reply("taken up", "gpu-1", "sit", 0.9))
    await until(lambda: len(cloud.events) == 2)
    assert isinstance(cloud.events[1], Answered)


@pytest.mark.parametrize("refusal", ["stopping: goes away, ask again", "overload: too much waits"])
async def test_a_refusal_that_may_not_be_repeated_is_asked_again(cloud: Cloud, refusal: str) -> None:
    await cloud.there("gpu-1", "gpu-2")
    cloud.ask("w")
    await until(lambda: len(cloud.asked) == 1)
    cloud.reply(Reply("w", "gpu-1", error=refusal))
    await until(lambda: len(cloud.asked) == 2)
    assert cloud.events == []
    cloud.reply(Reply("w", "gpu-2", label="x", score=0.5))
    await until(lambda: len(cloud.events) == 1)
    assert isinstance(cloud.events[0], Answered)


async def test_a_refusal_repeated_for_ever_ends(cloud: Cloud) -> None:
    await cloud.there()
    cloud.ask("w")
    for n in range(1, MOST_AGAIN + 2):
        await until(partial(cloud.was_asked, n))
        cloud.reply(Reply("w", "gpu-1", error="stopping"))
    await until(lambda: len(cloud.events) == 1)
    assert cloud.events == [Unanswered("w", "gpu-1 refused: stopping")]


async def test_nobody_is_told_of_a_question_that_was_cancelled(cloud: Cloud) -> None:
    await cloud.there("gpu-1", direct=True)
    cloud.ask("w")
    await until(lambda: cloud.asked)
    cloud.client.cancel("w")
    cloud.client.cancel("never asked")
    await until(lambda: cloud.cancelled)
    assert cloud.cancelled == [("gpu-1", "w")]
    assert (cloud.client.open, cloud.events) == (0, [])


async def test_a_question_that_never_left_is_not_cancelled_on_the_wire(cloud: Cloud) -> None:
    await cloud.there("gpu-1", direct=True)
    cloud.client.explore("m", VALUES, time.monotonic())
    (shadow,) = cloud.client._desk.open
    cloud.client.cancel(shadow)
    cloud.ask("w")
    await until(lambda: cloud.asked)
    assert [question.id for _, question in cloud.asked] == ["w"]
    assert cloud.cancelled == []
