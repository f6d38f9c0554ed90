"""What leaves for the cloud, in what form, and what need not leave: shadows, cached answers, masked channels."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bridge.offload.client import Answered
from bridge.offload.sending import Sending
from bridge.wire import zstd
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


FRAMED = Sending("int4", costs={"float32": 0.0, "int8": 0.0, "int4": 0.0}, zstd=True)


@pytest.mark.parametrize(("facts", "framed"), [({"zstd": [1, 2]}, True), ({"zstd": [2]}, False), ({}, False)])
async def test_frames_are_for_agents_that_say_that_they_take_them(
    make: Callable[..., Cloud], facts: dict[str, Any], framed: bool
) -> None:
    cloud = make(models={"m": FRAMED})
    await cloud.ready()
    await cloud.there("gpu-1", direct=True, **facts)
    wave = np.sin(np.arange(768, dtype=np.float32).reshape(128, 6)) + 2
    cloud.client.ask("w1", "m", wave, time.monotonic() + 5.0, private=(1, 4))
    await until(lambda: cloud.asked)
    assert cloud.messages[0].payload.startswith(zstd.MAGIC) == framed
    values = cloud.asked[0][1].values
    assert np.abs(values - wave)[:, [0, 2, 3, 5]].max() < (0.08 if framed else 0.005)  # half a step of 4 bits, of 8
    assert not values[:, [1, 4]].any()


async def test_a_shadow_is_learned_from_and_nobody_is_told(cloud: Cloud) -> None:
    await cloud.there("gpu-1", direct=True)
    now = time.monotonic()
    for _ in range(3):
        cloud.client.explore("m", VALUES, now)
    cloud.client.explore("unknown", VALUES, now)
    await until(lambda: cloud.asked)
    assert cloud.view().expected == 0.0
    cloud.reply(Reply(cloud.asked[0][1].id, "gpu-1", "sit", 0.9))
    await until(lambda: cloud.view().expected > 0.0)
    assert len(cloud.asked) == 1, "one shadow in so many windows and seconds"
    assert cloud.events == []


async def test_a_client_that_explores_nothing_asks_no_shadows(make: Callable[..., Cloud]) -> None:
    cloud = make(explore=0.0)
    await cloud.ready()
    await cloud.there()
    cloud.client.explore("m", VALUES, time.monotonic())
    assert cloud.client.open == 0


async def test_an_answer_is_used_again_while_it_lives(make: Callable[..., Cloud]) -> None:
    cloud = make(cache=60.0)
    await cloud.ready()
    await cloud.there()
    cloud.ask("w1")
    cloud.reply(Reply("w1", "gpu-1", "sit", 0.9))
    await until(lambda: cloud.events)
    cloud.ask("w2")
    assert cloud.events[1] == Answered("w2", Reply("w2", "gpu-1", "sit", 0.9), "its answer of 0.0 s ago")
    cloud.ask("w3", values=VALUES * 2)
    await until(lambda: len(cloud.asked) == 2)
    cloud.status("m", models={"m": "2"})
    await until(lambda: len(cloud.client._cache) == 0)
    cloud.ask("w4")
    await until(lambda: len(cloud.asked) == 3)


async def test_masked_channels_do_not_leave_and_the_packing_is_that_of_the_model(make: Callable[..., Cloud]) -> None:
    cloud = make(models={"m": Sending("float16", (0.5, 0.25))})
    await cloud.ready()
    await cloud.there()
    values = np.full((64, 2), 7.0, np.float32)
    cloud.client.ask("w1", "m", values, time.monotonic() + 5, private=(1,))
    await until(lambda: cloud.asked)
    assert cloud.asked[0][1].values.tolist() == [[7.0, 0.25]] * 64
    assert len(cloud.messages[0].payload) < values.nbytes
    cloud.client.swap("m", Sending("float32"))
    cloud.client.ask("w2", "m", values, time.monotonic() + 5, private=(1,))
    await until(lambda: len(cloud.asked) == 2)
    assert cloud.asked[1][1].values.tolist() == [[7.0, 0.0]] * 64
    assert len(cloud.messages[1].payload) > values.nbytes


async def test_a_window_that_is_under_way_is_not_asked_about_again(cloud: Cloud) -> None:
    await cloud.there()
    cloud.ask("w")
    cloud.ask("w")
    cloud.reply(Reply("w", "gpu-1", "sit", 0.9))
    await until(lambda: cloud.events)
    assert len(cloud.asked) == 1
    assert len(cloud.events) == 1
