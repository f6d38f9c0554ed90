"""What is measured on this machine after the runs: what a choice costs, and what encodings cost the shipped model."""

from __future__ import annotations

import random
import statistics
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bridge.catalog import load_manifest
from bridge.link import Estimate, Leg, Limits
from bridge.messages import Observation
from bridge.runtime import fidelity, recordings
from edge_agent.choice import Choice
from edge_agent.config import Stream
from edge_agent.link_settings import Link
from tests.netlab.changes import round_trip
from tests.netlab.child import ROOT
from tests.netlab.ours import BUDGET, FIDELITY, wish
from tests.netlab.rows import PATIENT, encodings
from tests.netlab.scenarios import SCENARIOS
from tests.netlab.traffic import CHANNELS, ROWS, TOPIC

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tests.netlab.results import Results
    from tests.netlab.scenarios import Scenario

MODEL = ROOT / "models" / "activity"
LIMITS = 125_000.0  # bytes/s: a rate from there on is not met
LOOKS, STEP = 400, 0.1  # decisions of a path, s from one to the next
FAR = Link(budget=BUDGET, fidelity=FIDELITY)
NOISE = 0.1  # of every quantity, so that nothing is answered from memory that would not be in use


class Measured(msgspec.Struct, frozen=True):
    """What is not in the outcomes.

    Attributes:
        decision_us: median µs of a choice, by path.
        accuracy_cost: accuracy lost against float32, by encoding.
    """

    decision_us: dict[str, float] = {}
    accuracy_cost: dict[str, float] = {}


def measure(results: Results) -> Measured:
    """What the outcomes ask for."""
    used = encodings([one for one in results.outcomes if one.scenario == PATIENT])
    return Measured(decision_us(), accuracy_cost(used))


def accuracy_cost(used: Mapping[str, Collection[int]]) -> dict[str, float]:
    """Of encodings in use, for the shipped model on its recordings, at worst of the sizes that messages had.

    Args:
        used: names, and how many units of the workload their messages held.
    """
    manifest = load_manifest(MODEL)
    labelled = recordings.read(MODEL / "sample", manifest)
    found: dict[str, float] = {}
    for units in sorted(set().union(*used.values())):
        of = fidelity.measure(manifest, manifest.for_tier("bridge"), labelled, rows=units * ROWS)
        lost = {one.name: one.cost for one in of}
        for name in (name for name, sizes in used.items() if units in sizes):
            cost = lost.get(name, lost.get(name.partition("+")[0]))  # zstd loses nothing
            if cost is not None:
                found[name] = max(found.get(name, 0.0), cost)
    return found


def decision_us(looks: int = LOOKS) -> dict[str, float]:
    """Median µs of one choice on each constant path, every estimate ±10 % anew, as the agent chooses.

    Once with the laboratory's wish, once with the agent's own default, at which there are more profiles to choose from.
    """
    found: dict[str, float] = {}
    for one in SCENARIOS.values():
        if one.constant:
            near = Link(freshness=wish(one), burst=ROWS, hop=60, budget=BUDGET, fidelity=FIDELITY)
            found |= {one.name: _decision(one, near, looks), f"{one.name} within 1 s": _decision(one, FAR, looks)}
    return found


def _decision(scenario: Scenario, link: Link, looks: int) -> float:
    dice = random.Random(scenario.name)
    choice = _choice(scenario, link)
    took = []
    for n in range(looks):
        estimate = believed(scenario, dice)
        begin = time.perf_counter_ns()
        choice.look(n * STEP, estimate)
        took.append(time.perf_counter_ns() - begin)
    return statistics.median(took) / 1e3


def _choice(scenario: Scenario, link: Link) -> Choice:
    stream = Stream(name="wrist", source="stdin", rate=scenario.rate * ROWS)
    made = Choice(stream, link, Limits(), ways=("coap", "mqtt"), name_bytes=len(TOPIC))
    values = np.random.default_rng(1).uniform(-9, 9, (ROWS, CHANNELS)).astype(np.float32)
    made.seen(Observation(values, seq=1_000, epoch="lab", dt=0.01))
    return made


def believed(scenario: Scenario, dice: random.Random) -> Estimate:
    """The scenario's first conditions, each ±10 %."""

    def around(value: float) -> float:
        return value * dice.uniform(1 - NOISE, 1 + NOISE)

    stage = scenario.stages[0]
    up, trip = stage.up, around(round_trip(stage))
    rate = LIMITS if up.rate is None else min(up.rate / 8, LIMITS)
    leg = Leg(
        heard=0.05, samples=100, rtt=trip, min_rtt=trip, base=trip, jitter=around(0.002), srtt=trip,
        rttvar=around(0.01), rto=trip + 0.05, size=200.0,
    )  # fmt: skip
    return Estimate(
        mqtt=leg, coap=leg, loss=around(up.fades.share if up.fades else up.loss), loss_trials=500.0,
        spell=around(up.fades.mean) if up.fades else 0.0, goodput=around(rate), goodput_known=rate < LIMITS,
    )  # fmt: skip
