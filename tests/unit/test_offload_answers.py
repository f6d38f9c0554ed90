"""Which answers of the cloud are told, and for how long they are used again."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from bridge.offload.client import Answered, Unanswered
from bridge.offload.sending import Sending
from bridge.wire.offload import Reply
from tests.support.hand_cloud import VALUES, Cloud, clouds
from tests.support.paho_client import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.brokers import RunningBroker

KNOWN = {"m": Sending(labels=frozenset({"sit", "run"}))}


@pytest.fixture
async def make(embedded: RunningBroker) -> AsyncIterator[Callable[..., Cloud]]:
    async with clouds(embedded.port) as make:
        yield make


# ---- used again


@pytest.fixture
async def keeping(make: Callable[..., Cloud]) -> Cloud:
    cloud = make(cache=60.0)
    await cloud.ready()
    return cloud


async def answered_once(cloud: Cloud, **facts: Any) -> None:
    """There is an answer of version 1, used again, of gpu-1, which tells that version."""
    await cloud.there("gpu-1", models={"m": "1"}, **facts)
    cloud.ask("first")
    await until(lambda: cloud.asked)
    cloud.reply(Reply("first", "gpu-1", "sit", 0.9, "1"))
    await until(lambda: cloud.events)
    cloud.ask("repeat")
    assert isinstance(cloud.events[1], Answered)
    assert len(cloud.asked) == 1


async def goes_away(cloud: Cloud) -> None:
    cloud.status("m", online=False)
    await until(lambda: cloud.why() == "no cloud agent serves m")


@pytest.mark.parametrize("direct", [True, False])
async def test_an_answer_does_not_outlive_an_agent_that_comes_back_with_another_version(
    keeping: Cloud, direct: bool
) -> None:
    cloud = keeping
    await answered_once(cloud, direct=direct)
    await goes_away(cloud)
    await cloud.there("gpu-1", models={"m": "2"}, direct=direct)
    cloud.ask("upgraded")
    await until(lambda: len(cloud.asked) == 2)
    cloud.reply(Reply("upgraded", "gpu-1", "run", 0.9, "2"))
    await until(lambda: len(cloud.events) == 3)
    cloud.ask("again")
    event = cloud.events[3]
    assert isinstance(event, Answered)
    assert (event.reply.label, event.reply.version) == ("run", "2")


async def test_an_answer_lives_on_while_its_agent_comes_back_as_it_was(keeping: Cloud) -> None:
    cloud = keeping
    await answered_once(cloud)
    await goes_away(cloud)
    await cloud.there("gpu-1", models={"m": "1"}, instance="another process")
    cloud.ask("restarted")
    assert isinstance(cloud.events[2], Answered)


async def test_an_answer_of_another_version_ends_the_life_of_those_before(keeping: Cloud) -> None:
    cloud = keeping
    await answered_once(cloud)
    cloud.ask("other", values=VALUES * 2)
    await until(lambda: len(cloud.asked) == 2)
    cloud.reply(Reply("other", "gpu-1", "run", 0.9, "2"))
    await until(lambda: len(cloud.events) == 3)
    cloud.ask("first again")
    await until(lambda: len(cloud.asked) == 3)


async def test_an_answer_of_one_of_two_versions_ends_with_the_agent_that_served_it(keeping: Cloud) -> None:
    cloud = keeping
    await answered_once(cloud, direct=True)
    cloud.status("m", name="gpu-2", models={"m": "2"}, direct=True)
    await until(lambda: len(cloud.client._agents.serving("m")) == 2)
    cloud.ask("while both are there")
    assert isinstance(cloud.events[2], Answered)
    cloud.status("m", name="gpu-1", online=False)
    await until(lambda: len(cloud.client._agents.serving("m")) == 1)
    cloud.ask("without the first")
    await until(lambda: len(cloud.asked) == 2)


async def test_an_answer_to_what_was_asked_before_the_bridge_s_own_model_changed_is_not_kept(keeping: Cloud) -> None:
    cloud = keeping
    await cloud.there()
    cloud.ask("w1")
    cloud.ask("w2", values=VALUES * 2)
    await until(lambda: len(cloud.asked) == 2)
    cloud.client.swap("other", Sending())
    cloud.reply(Reply("w1", "gpu-1", "sit", 0.9, "1"))
    await until(lambda: len(cloud.events) == 1)
    assert len(cloud.client._cache) == 1
    cloud.client.swap("m", Sending())
    cloud.reply(Reply("w2", "gpu-1", "sit", 0.9, "1"))
    await until(lambda: len(cloud.events) == 2)
    assert isinstance(cloud.events[1], Answered)
    assert len(cloud.client._cache) == 0


# ---- refused


@pytest.mark.parametrize("lies", [{"label": "made-up"}, {"score": -1.0}, {"version": "9" * 65}, {"engine": "\n"}])
async def test_a_question_answered_with_nonsense_goes_to_another_agent(
    make: Callable[..., Cloud], lies: dict[str, Any]
) -> None:
    counts: Counter[str] = Counter()
    cloud = make(hedge=0.0, models=KNOWN, counts=counts)
    await cloud.ready()
    await cloud.there("gpu-1", "gpu-2", direct=True)
    cloud.ask("w", patience=60.0)
    await until(lambda: cloud.asked)
    liar = str(cloud.asked[0][0])
    cloud.reply(msgspec.structs.replace(Reply("w", liar, "sit", 0.9), **lies))
    await until(lambda: len(cloud.asked) == 2)
    other = str(cloud.asked[1][0])
    assert {liar, other} == {"gpu-1", "gpu-2"}
    good = Reply("w", other, "run", 0.8, "of another version")
    cloud.reply(good)
    await until(lambda: cloud.events)
    assert cloud.events == [Answered("w", good)]
    assert counts == {"cloud_answers_refused": 1}


async def test_nonsense_for_one_of_two_copies_leaves_the_other_alone(make: Callable[..., Cloud]) -> None:
    cloud = make(hedge=1.0, models=KNOWN)
    await cloud.ready()
    await cloud.there("gpu-1", "gpu-2", direct=True)
    cloud.ask("w", patience=4.0)
    await until(lambda: len(cloud.asked) == 2)
    (liar, _), (other, _) = cloud.asked
    good = Reply("w", str(other), "run", 0.8)
    cloud.reply(Reply("w", str(liar), "made-up", 0.9), good)
    await until(lambda: cloud.events)
    assert cloud.events == [Answered("w", good, "a second agent was asked")]
    assert len(cloud.asked) == 2


async def test_an_agent_that_answers_nothing_but_nonsense_is_left_alone(make: Callable[..., Cloud]) -> None:
    cloud = make(models=KNOWN, explore=0.0)
    await cloud.ready()
    await cloud.there("gpu-1", direct=True)
    for n in range(5):
        cloud.ask(f"w{n}", patience=60.0)
        await until(partial(cloud.was_asked, n + 1))
        cloud.reply(Reply(f"w{n}", "gpu-1", "made-up", 0.9))
        await until(lambda: cloud.client.open == 0)
    why = "the answer of gpu-1 is refused: 'made-up' is not a label of m"
    assert cloud.events == [Unanswered(f"w{n}", why) for n in range(5)]
    assert cloud.why() == "the cloud did not answer lately"


async def test_of_those_that_share_a_topic_another_may_answer_better(make: Callable[..., Cloud]) -> None:
    cloud = make(models=KNOWN)
    await cloud.ready()
    await cloud.there("gpu-1", "gpu-2")
    cloud.ask("w", patience=60.0)
    await until(lambda: cloud.asked)
    cloud.reply(Reply("w", "gpu-1", "made-up", 0.9))
    await until(lambda: len(cloud.asked) == 2)
    cloud.reply(Reply("w", "gpu-2", "sit", 0.9))
    await until(lambda: cloud.events)
    assert cloud.events == [Answered("w", Reply("w", "gpu-2", "sit", 0.9))]


@pytest.mark.parametrize("direct", [True, False])
async def test_an_answer_of_somebody_who_was_not_asked_changes_nothing(
    make: Callable[..., Cloud], direct: bool
) -> None:
    counts: Counter[str] = Counter()
    cloud = make(counts=counts)
    await cloud.ready()
    await cloud.there("gpu-1", direct=direct)
    cloud.ask("w", patience=60.0)
    await until(lambda: cloud.asked)
    cloud.reply(*(Reply("w", name, "run", 0.9) for name in ("someone-else", "", "x" * 10_000)))
    cloud.reply(Reply("w", "gpu-1", "sit", 0.9))
    await until(lambda: cloud.events)
    assert cloud.events == [Answered("w", Reply("w", "gpu-1", "sit", 0.9))]
    assert counts == {"cloud_answers_refused": 3}


async def test_who_was_asked_and_went_away_may_answer_all_the_same(make: Callable[..., Cloud]) -> None:
    cloud = make()
    await cloud.ready()
    await cloud.there("gpu-1", "gpu-2", direct=True)
    cloud.ask("w", patience=60.0)
    await until(lambda: cloud.asked)
    first = str(cloud.asked[0][0])
    cloud.status("m", name=first, online=False)
    await until(lambda: len(cloud.asked) == 2)
    cloud.reply(Reply("w", first, "sit", 0.9))
    await until(lambda: cloud.events)
    assert cloud.events == [Answered("w", Reply("w", first, "sit", 0.9))]
