"""Real changes of a link: which switches they explain, and how well the link was known after each."""

from __future__ import annotations

import itertools
import math
import statistics
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.netlab.lab import Look, Switch
    from tests.netlab.model import Stage
    from tests.netlab.scenarios import Scenario

SOON, TRIPS = 2.0, 5  # s, round trips: the greater is how soon a change is to be answered
KNOWN_AFTER, LOOKED_FOR = 3.0, 1.0  # s after a step at which the estimate is to be right; s of looks that are taken


def round_trip(stage: Stage) -> float:
    """Of the empty link, s: propagation and the mean jitter, both ways."""
    return stage.up.delay + stage.down.delay + (stage.up.jitter + stage.down.jitter) / 2


def soon(stage: Stage) -> float:
    """Seconds in which a change to this stage is to be answered."""
    return max(SOON, TRIPS * round_trip(stage))


def settled(switches: Sequence[Switch], scenario: Scenario) -> list[Switch]:
    """Switches after the beginning, in which the link is still unknown."""
    return [one for one in switches[1:] if one.t > soon(scenario.stages[0])]


def unexplained(switches: Sequence[Switch], scenario: Scenario) -> list[Switch]:
    """Switches beyond one a change of the link, or later than `soon` after it; the first profile is no switch.

    In the first `soon` seconds any number is allowed, as on a constant link.
    """
    answered: set[float] = set()
    found = []
    for one in settled(switches, scenario):
        stage = max((s for s in scenario.stages if s.at <= one.t), key=lambda s: s.at, default=scenario.stages[0])
        if stage.at in answered or one.t > stage.at + soon(stage):
            found.append(one)
        answered.add(stage.at)
    return found


class Step(msgspec.Struct, frozen=True):
    """The round trip (s) or the rate (bytes/s) of a link changed at `at` to `value`."""

    at: float
    what: Literal["rtt", "rate"]
    value: float

    @property
    def name(self) -> str:
        return f"{self.what}-{self.at:.0f}s"


def steps(scenario: Scenario) -> Iterator[Step]:
    """Of round trip and rate up, in stages long enough to be known."""
    ends = [*(stage.at for stage in scenario.stages[2:]), math.inf]
    for (before, after), end in zip(itertools.pairwise(scenario.stages), ends, strict=True):
        if after.up.outage or end - after.at < KNOWN_AFTER + LOOKED_FOR:
            continue
        if round_trip(before) != round_trip(after):
            yield Step(after.at, "rtt", round_trip(after))
        if before.up.rate != after.up.rate:
            yield Step(after.at, "rate", math.inf if after.up.rate is None else after.up.rate / 8)


def error(step: Step, looks: Sequence[Look], sent: Sequence[int]) -> float | None:
    """How wrong the median estimate is, as a share, in the second that begins 3 s after the step; None: no look.

    That no limit of the rate was met is right where the stream asked for less than the link carries, else infinitely
    wrong: nobody can see the rate of a link that he does not fill, and a stream must not be made to.

    Args:
        step: the change.
        looks: estimates.
        sent: IP bytes both ways in each second, which is more than the stream asked of the way up.
    """
    begin = step.at + KNOWN_AFTER
    seen = [one for one in looks if begin <= one.t < begin + LOOKED_FOR]
    if not seen:
        return None
    if step.what == "rtt":
        return abs(statistics.median(one.rtt for one in seen) / step.value - 1)
    believed = statistics.median(math.inf if one.goodput is None else one.goodput for one in seen)
    if math.isinf(believed):
        return 0.0 if asked(step, sent) < step.value else math.inf
    return 1.0 if math.isinf(step.value) else abs(believed / step.value - 1)


def asked(step: Step, sent: Sequence[int]) -> float:
    """Bytes a second that the stream sent from the second before the step until it is judged, the most in one."""
    begin, end = math.floor(step.at) - 1, math.ceil(step.at + KNOWN_AFTER + LOOKED_FOR)
    return float(max(sent[max(0, begin) : end], default=0))
