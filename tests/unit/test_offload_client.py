"""Every question to the cloud ends in one event, whatever agents and brokers do."""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bridge import topics
from bridge.mqtt.connection import Connection
from bridge.mqtt.endpoint import Endpoint
from bridge.mqtt.messages import Delivery, Publish, Settings
from bridge.offload.client import MOST_AGAIN, Answered, CloudClient, Unanswered
from bridge.wire.answers import encode_status
from bridge.wire.offload import Question, Reply, decode_question, encode_reply
from tests.support.brokers import HOST, RunningBroker
from tests.support.paho_client import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

VALUES = np.ones((4, 2), np.float32)


class Cloud:
    """A cloud agent by hand, and the bridge's client beside it."""

    def __init__(self, port: int) -> None:
        self.events: list[Answered | Unanswered] = []
        self.asked: list[tuple[Question, Delivery]] = []
        endpoint = Endpoint(HOST, port)
        self.client = CloudClient(endpoint, "gw-1", self.events.append, max_open=3)
        self.agent = Connection(
            endpoint, Settings("agent", subscriptions=(topics.ESCALATE_FILTER,), session_expiry=0), self._received
        )
        self.running = [asyncio.ensure_future(one.run()) for one in (self.client.connection, self.agent)]

    def _received(self, deliveries: list[Delivery]) -> None:
        self.agent.acknowledge(deliveries)
        self.asked += [(decode_question(delivery.payload), delivery) for delivery in deliveries]

    def tell(self, topic: str, payload: bytes) -> None:
        self.agent.publish([Publish(topic, payload, retain=topics.parse_cloud_status(topic) is not None)])

    def status(self, *models: str, name: str = "gpu-1", online: bool = True) -> None:
        self.tell(topics.cloud_status(name), encode_status(online=online, t=0.0, models=dict.fromkeys(models, "1")))

    def reply(self, reply: Reply) -> None:
        self.tell(topics.reply("gw-1"), encode_reply(reply))

    def ask(self, window: str, patience: float = 5.0) -> None:
        self.client.ask(window, "m", VALUES, time.monotonic() + patience)

    def was_asked(self, times: int) -> bool:
        return len(self.asked) >= times

    def why(self, model: str = "m", **planned: int) -> str:
        view = self.client.view(model, time.monotonic(), **planned)
        assert view.there == (not view.why)
        return view.why


@pytest.fixture
async def cloud(embedded: RunningBroker) -> AsyncIterator[Cloud]:
    cloud = Cloud(embedded.port)
    async with asyncio.timeout(10):
        await cloud.client.connection.ready()
        await cloud.agent.ready()
    yield cloud
    for connection in (cloud.client.connection, cloud.agent):
        await connection.close()
    for task in cloud.running:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_the_cloud_is_there_for_the_models_that_agents_serve(cloud: Cloud) -> None:
    assert cloud.why() == "no cloud agent serves m"
    cloud.status("m", "n")
    await until(lambda: not cloud.why())
    assert cloud.why("other") == "no cloud agent serves other"
    cloud.status("m", online=False)
    await until(lambda: cloud.why() == "no cloud agent serves m")
    cloud.status("m")
    await until(lambda: not cloud.why())
    cloud.tell(topics.cloud_status("gpu-1"), b"")  # the retained status was deleted
    await until(lambda: cloud.why() == "no cloud agent serves m")


async def test_a_question_carries_window_and_patience_and_is_answered(cloud: Cloud) -> None:
    cloud.ask("w1")
    await until(lambda: cloud.asked)
    question, delivery = cloud.asked[0]
    assert (question.id, question.model, question.values.tolist()) == ("w1", "m", VALUES.tolist())
    assert 4.5 < question.patience <= 5.0
    assert (delivery.topic, delivery.response_topic, delivery.correlation) == (
        "edge/v1/_escalate/m",
        "edge/v1/_reply/gw-1/cloud",
        b"w1",
    )
    reply = Reply("w1", "gpu-1", "sit", 0.9)
    cloud.reply(reply)
    cloud.reply(reply)  # an agent may answer both copies
    cloud.reply(Reply("never asked", "gpu-1", "sit", 0.9))
    cloud.ask("w2")
    cloud.reply(Reply("w2", "gpu-1", error="shape"))
    await until(lambda: len(cloud.events) == 2)
    assert cloud.events == [Answered("w1", reply), Unanswered("w2", "gpu-1 refused: shape")]
    assert cloud.client.open == 0
    cloud.status("m")
    await until(lambda: not cloud.why())
    assert 0 < cloud.client.view("m", time.monotonic()).round_trip < 5


async def test_a_question_without_an_answer_is_asked_twice_and_ends_at_its_deadline(cloud: Cloud) -> None:
    cloud.ask("w", patience=0.3)
    await until(lambda: len(cloud.asked) == 2)
    assert [question.id for question, _ in cloud.asked] == ["w", "w"]
    assert cloud.asked[1][0].patience < 0.2
    await until(lambda: cloud.events)
    (event,) = cloud.events
    assert isinstance(event, Unanswered)
    assert event.why == "the cloud did not answer within 0.3 s"


async def test_a_silent_cloud_is_left_alone_until_it_is_asked_again(cloud: Cloud) -> None:
    cloud.status("m")
    await until(lambda: not cloud.why())
    for number in range(5):
        cloud.ask(f"w{number}", patience=0.0)
    await until(lambda: len(cloud.events) == 5)
    assert cloud.why() == "the cloud did not answer lately"


async def test_questions_under_way_are_bounded_also_those_decided_on(cloud: Cloud) -> None:
    cloud.status("m")
    await until(lambda: not cloud.why())
    cloud.ask("a")
    assert cloud.why(planned=1) == ""
    assert cloud.why(planned=2) == "3 questions are under way"


async def test_nonsense_is_logged_and_harms_nobody(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    cloud.tell(topics.reply("gw-1"), b"\xff")
    cloud.tell(topics.cloud_status("gpu-1"), b"[]")
    cloud.ask("w")
    cloud.reply(Reply("w", "gpu-1", "sit", 0.9))
    await until(lambda: cloud.events)
    assert isinstance(cloud.events[0], Answered)
    assert caplog.text.count("malformed") == 2


async def test_a_lost_broker_is_told(cloud: Cloud, embedded: RunningBroker) -> None:
    cloud.status("m")
    await until(lambda: not cloud.why())
    embedded.kill()
    await until(lambda: cloud.why() == "the cloud's broker is not there")
    cloud.ask("w", patience=0.05)
    await until(lambda: cloud.events)
    assert isinstance(cloud.events[0], Unanswered)


@pytest.mark.parametrize("refusal", ["stopping: goes away, ask again", "overload: too much waits"])
async def test_a_refusal_that_may_not_be_repeated_is_asked_again(cloud: Cloud, refusal: str) -> None:
    cloud.status("m")
    await until(lambda: cloud.why() == "")
    cloud.ask("w")
    await until(lambda: len(cloud.asked) == 1)
    cloud.reply(Reply("w", "gpu-1", error=refusal))
    await until(lambda: len(cloud.asked) == 2)
    assert cloud.events == []
    cloud.reply(Reply("w", "gpu-2", label="x", score=0.5))
    await until(lambda: len(cloud.events) == 1)
    assert isinstance(cloud.events[0], Answered)


async def test_a_refusal_repeated_for_ever_ends(cloud: Cloud) -> None:
    cloud.status("m")
    await until(lambda: cloud.why() == "")
    cloud.ask("w")
    for n in range(1, MOST_AGAIN + 2):
        await until(partial(cloud.was_asked, n))
        cloud.reply(Reply("w", "gpu-1", error="stopping"))
    await until(lambda: len(cloud.events) == 1)
    assert cloud.events == [Unanswered("w", "gpu-1 refused: stopping")]
