"""What a close watcher hears of the link, and whose word is taken for it."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from bridge.link import Estimate, Estimator, Leg
from edge_agent.adaptive import AdaptiveUplink
from edge_agent.config import Agent, Settings, Stream
from edge_agent.uplinks import make_uplink
from tests.support.two_ways import World

if TYPE_CHECKING:
    import pytest


async def test_the_link_is_logged_five_times_a_second_at_most_while_busy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "edge_agent.switches")
    world = World("mqtt", "coap")
    await world.start()
    await world.send(0)
    caplog.clear()
    for _ in range(20):
        world.now += 0.125
        world.uplink.look()
    await world.stop()
    looks = [json.loads(line.removeprefix("link ")) for line in caplog.messages if line.startswith("link ")]
    assert 10 <= len(looks) <= 11
    assert set(looks[0]) == {"rtt", "loss", "goodput", "outage"}
    assert looks[0]["goodput"] is None


async def test_nothing_is_logged_of_the_link_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edge_agent.switches")
    world = World("mqtt", "coap")
    await world.start()
    await world.send(0)
    await world.stop()
    assert not [line for line in caplog.messages if line.startswith("link ")]


class Gone(Estimator):
    """Knows that nothing gets through."""

    def estimate(self, now: float) -> Estimate:
        return Estimate(mqtt=Leg(silent=now), outage=True)


async def test_another_estimator_is_believed() -> None:
    settings = Settings(
        agent=Agent(site="s", device="d", url="mqtt://h", coap="coap://h"),
        streams=[Stream(name="wrist", source="stdin")],
    )
    uplink = make_uplink(settings, client_id="x", keep_session=True, estimator=Gone())
    assert isinstance(uplink, AdaptiveUplink)
    assert uplink._choice_facts()["link"]["outage"]
    await uplink.close()
