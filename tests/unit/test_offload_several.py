"""Questions to several cloud agents: who is asked next, and who is told that it need not answer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from bridge.offload.client import Answered, Unanswered
from bridge.wire.offload import Reply
from tests.support.hand_cloud import Cloud, clouds
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


async def test_an_agent_that_refuses_is_followed_by_the_other(cloud: Cloud) -> None:
    await cloud.there("gpu-1", "gpu-2", direct=True)
    cloud.ask("w")
    refusals = ("too late: predicted 9 s, patience 5 s", "engine failed: out of memory")
    for times, refusal in enumerate(refusals, 1):
        await until(partial(cloud.was_asked, times))
        name = cloud.asked[-1][0]
        assert name is not None
        cloud.reply(Reply("w", name, error=refusal))
    await until(lambda: cloud.events)
    assert {name for name, _ in cloud.asked} == {"gpu-1", "gpu-2"}
    assert cloud.events == [Unanswered("w", f"{cloud.asked[1][0]} refused: {refusals[1]}")]


async def test_a_late_question_is_put_to_another_agent_and_the_loser_is_told(cloud: Cloud) -> None:
    await cloud.there("gpu-1", "gpu-2", direct=True)
    cloud.ask("w", patience=1.0)
    await until(lambda: len(cloud.asked) == 2)
    (first, _), (second, question) = cloud.asked
    assert {first, second} == {"gpu-1", "gpu-2"}
    assert question.patience <= 0.5
    reply = Reply("w", str(second), "sit", 0.9)
    cloud.reply(reply)
    await until(lambda: cloud.cancelled)
    assert cloud.cancelled == [(first, "w")]
    cloud.reply(Reply("w", str(first), "run", 0.9))  # it had answered already
    cloud.ask("after")
    await until(partial(cloud.was_asked, 3))
    assert cloud.events == [Answered("w", reply, "a second agent was asked")]


async def test_without_budget_no_second_agent_is_asked(make: Callable[..., Cloud]) -> None:
    cloud = make(hedge=0.0)
    await cloud.ready()
    await cloud.there("gpu-1", "gpu-2", direct=True)
    cloud.ask("w", patience=0.2)
    await until(lambda: cloud.events)
    assert len(cloud.asked) == 1


async def test_what_an_agent_had_that_went_away_goes_to_another_whatever_the_budget(make: Callable[..., Cloud]) -> None:
    cloud = make(hedge=0.0)
    await cloud.ready()
    await cloud.there("gpu-1", "gpu-2", direct=True)
    cloud.ask("w", patience=60.0)
    await until(lambda: cloud.asked)
    first = str(cloud.asked[0][0])
    cloud.status("m", name=first, online=False)
    await until(lambda: len(cloud.asked) == 2)
    second = str(cloud.asked[1][0])
    assert {first, second} == {"gpu-1", "gpu-2"}
    cloud.status("m", name=second, direct=True, instance="another process")
    await until(lambda: cloud.events)
    assert cloud.events == [Unanswered("w", f"{second} went away")]


async def test_one_of_a_group_that_went_away_has_its_questions_asked_again(cloud: Cloud) -> None:
    await cloud.there("gpu-1", "gpu-2")
    cloud.ask("w", patience=60.0)
    await until(lambda: cloud.asked)
    cloud.status("m", name="gpu-1", online=False)
    await until(lambda: len(cloud.asked) == 2)
    cloud.status("m", name="gpu-2", online=False)
    await until(lambda: cloud.events)
    (event,) = cloud.events
    assert isinstance(event, Unanswered)
    assert event.why in {"gpu-2 went away", "no cloud agent serves m"}  # the latter while others may still be told
