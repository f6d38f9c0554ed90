"""The bridge's link to the cloud: one switch a change of rate or loss, and soon; none on a link that only wanders.

A stream of whole windows, each of which the cloud is asked about, over the rig of `cloud_link`. `make netlab` measures
these scenarios with the others.
"""

from __future__ import annotations

import asyncio
import math
import shutil
import time
from typing import TYPE_CHECKING, NamedTuple

from tests.netlab import changes, cloud_link
from tests.netlab.lab import Switch
from tests.netlab.report import MEASURED
from tests.netlab.results import Gap, judged
from tests.netlab.scenarios import SCENARIOS, Scenario, link

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.netlab.model import Stage
    from tests.netlab.results import Verdict
    from tests.netlab.room import Room

RATE = 12.0  # windows a second: a tenth more than 64 kbit/s carry one by one, in the smallest encoding
THIN = {"rate": 64e3, "queue": 16_000}
STEP = Scenario(
    name="cloud-step",
    about="bridge to cloud, 12 windows/s: 50 ms; 64 kbit/s and 200 ms from 15 s; 50 ms from 35 s; 64 kbit/s from 55 s; "
    "10 Mbit/s and 200 ms from 75 s; 50 ms and 10 % loss from 95 s; 50 ms from 115 s",
    stages=(
        link(rtt=50), link(15, rtt=200, **THIN), link(35, rtt=50), link(55, rtt=50, **THIN), link(75, rtt=200),
        link(95, rtt=50, loss=0.1), link(115, rtt=50),
    ),
    least=135.0,
    rate=RATE,
)  # fmt: skip
NOISE = Scenario(
    name="cloud-noise",
    about=f"bridge to cloud, 12 windows/s: {SCENARIOS['noise'].about}",
    stages=SCENARIOS["noise"].stages,
    least=60.0,
    rate=RATE,
)
CLOUD = {one.name: one for one in (STEP, NOISE)}
MOST = 1.0  # of the greater of 2 s and 5 round trips


class Run(NamedTuple):
    """One of a scenario, with one seed."""

    scenario: str
    seed: int
    windows: int
    answered: int
    switches: list[Switch]
    in_time: float


async def measure(
    names: Sequence[str],
    *,
    seeds: int,
    messages: int,
    folder: Path,
    room: Room,
    say: Callable[[str], None],
) -> list[Run]:
    """Run these scenarios, each with every seed.

    Args:
        names: of `CLOUD`.
        seeds: from 1 on.
        messages: windows of a run, more where the schedule is longer.
        folder: for configs, state and logs.
        room: how many run at once.
        say: told of each that ended.
    """

    async def one(scenario: Scenario, seed: int) -> Run:
        async with room.place():
            begun, own = time.monotonic(), folder / f"{scenario.name}-{seed}"
            windows = max(messages, round(scenario.least * RATE))
            seen = await cloud_link.measure(scenario.stages, own, rate=RATE, windows=windows, seed=seed)
            shutil.rmtree(own)
            say(f"{scenario.name}, seed {seed}: {time.monotonic() - begun:.0f} s")
            answered = seen.heard.cloud + seen.heard.bridge
            return Run(scenario.name, seed, windows, answered, seen.switches, seen.in_time)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(CLOUD[name], seed)) for name in names for seed in range(1, seeds + 1)]
    return [task.result() for task in tasks]


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """The rows."""

    def each(scenario: Scenario, figure: Callable[[Run], float]) -> Callable[[], dict[str, float]]:
        def of() -> dict[str, float]:
            found = {f"seed {one.seed}": figure(one) for one in runs if one.scenario == scenario.name}
            if not found:
                raise Gap(f"{scenario.name} was not run", run=False)
            return found

        return of

    def beyond(one: Run) -> float:
        return float(len(changes.unexplained(_with_first(one.switches), STEP)))

    def needless(one: Run) -> float:
        return float(len(changes.settled(_with_first(one.switches), NOISE)))

    def lost(one: Run) -> float:
        return float(one.windows - one.answered)

    many = "bridge to cloud: switches beyond one a change, or over 2 s and 5 round trips after it"
    soon = "bridge to cloud: from a change of the rate to its switch, of the greater of 2 s and 5 round trips"
    missing = "bridge to cloud: windows without a Result"
    none = "bridge to cloud: switches after the first 2 s or 5 round trips"
    return [
        judged(f"{STEP.name}-switches", many, each(STEP, beyond), "at most", 0, unit=""),
        judged(f"{STEP.name}-soon", soon, each(STEP, lambda one: slowest(one.switches, STEP)), "at most", MOST),
        judged(f"{NOISE.name}-switches", none, each(NOISE, needless), "at most", 0, unit=""),
        *(
            judged(f"{one.name}-lost", missing, each(one, lost), "at most", 0, unit="")
            for one in CLOUD.values()
        ),
    ]  # fmt: skip


def enough(runs: Sequence[Run]) -> str | None:
    """Why the figures of the cloud's link are less than the bounds are meant for; None: they are not."""
    seeds, windows = len({one.seed for one in runs}), min((one.windows for one in runs), default=0)
    if not runs or (seeds >= MEASURED[0] and windows >= MEASURED[1]):
        return None
    return f"cloud-…: a look, no measurement: {seeds} seed(s), {windows} windows a run"


def slowest(switches: Sequence[Switch], scenario: Scenario) -> float:
    """The longest wait for the switch after a change of the rate, as a share of what is allowed; infinite: none came.

    A rate that questions fill asks for another profile, and so does its end; a loss asks for nothing.
    """
    found = []
    for before, after, end in _periods(scenario):
        if before.up.rate != after.up.rate:
            first = min((one.t for one in switches if after.at <= one.t < end), default=math.inf)
            found.append((first - after.at) / changes.soon(after))
    return max(found, default=0.0)


def _periods(scenario: Scenario) -> list[tuple[Stage, Stage, float]]:
    stages = scenario.stages
    ends = [*(one.at for one in stages[2:]), math.inf]
    return list(zip(stages, stages[1:], ends, strict=False))


def _with_first(switches: Sequence[Switch]) -> list[Switch]:
    """As `changes` counts them: the first choice, which the bridge does not tell as a switch, comes first."""
    return [Switch(0.0, "the first"), *switches]
