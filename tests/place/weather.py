"""What is recorded: links as the network laboratory emulates them, and a cloud agent that others load."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tests.netlab.scenarios import SCENARIOS, Scenario, link

if TYPE_CHECKING:
    from tests.netlab.model import Stage

SECONDS = 120.0
RATE = 10.0  # questions a second


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """One recording.

    Attributes:
        scenario: the link, and how often is asked.
        loaded: another client loads the cloud agent at times, with questions to a slow model.
    """

    scenario: Scenario
    loaded: bool = False


def _own(name: str, about: str, *stages: Stage) -> Scenario:
    return Scenario(name=name, about=about, stages=stages)


def _asked(scenario: Scenario) -> Scenario:
    """Asked at our rate, for as long as we record."""
    return msgspec.structs.replace(scenario, rate=RATE, least=SECONDS)


_STEPS = _own(
    "steps", "50 ms; 200 ms from 24 s; 128 kbit/s from 48 s; 50 ms and 5 % loss from 72 s; 50 ms from 96 s",
    link(rtt=50), link(24, rtt=200), link(48, rtt=200, rate=128e3, queue=16_000), link(72, rtt=50, loss=0.05),
    link(96, rtt=50),
)  # fmt: skip
_OUTAGE = _own(
    "outage", "50 ms; gone from 20 to 24 s, from 45 to 65 s and from 95 to 99 s",
    link(rtt=50), link(20, rtt=50, outage=True), link(24, rtt=50), link(45, rtt=50, outage=True), link(65, rtt=50),
    link(95, rtt=50, outage=True), link(99, rtt=50),
)  # fmt: skip
_BUSY = _own("busy", "30 ms; the cloud agent is loaded at times", link(rtt=30))

WEATHERS = {
    one.scenario.name: one
    for one in (
        Weather(scenario=_asked(SCENARIOS["lte"])),
        Weather(scenario=_asked(_STEPS)),
        Weather(scenario=_asked(SCENARIOS["flap"])),
        Weather(scenario=_asked(SCENARIOS["ramp"])),
        Weather(scenario=_asked(_OUTAGE)),
        Weather(scenario=_asked(_BUSY), loaded=True),
    )
}


def kbit(scenario: Scenario, t: float) -> float:
    """What the link lets through on the way up at t, kbit/s; 0: unlimited, or held for the moment."""
    now = [stage for stage in scenario.stages if stage.at <= max(t, scenario.stages[0].at)][-1]
    return (now.up.rate or 0.0) / 1e3
