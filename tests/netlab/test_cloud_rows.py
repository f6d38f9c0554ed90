"""The rows of the bridge's link to the cloud, on switches made up."""

from __future__ import annotations

import itertools
import math

import pytest

from tests.benchmarks.rows import Row
from tests.netlab.cloud_rows import CLOUD, NOISE, RATE, STEP, Run, enough, judge, slowest
from tests.netlab.lab import Switch
from tests.netlab.results import Unjudged
from tests.netlab.scenarios import SCENARIOS

CHANGES = [after.at for before, after in itertools.pairwise(STEP.stages) if before.up != after.up]
RATES = [after.at for before, after in itertools.pairwise(STEP.stages) if before.up.rate != after.up.rate]


def switches(*times: float) -> list[Switch]:
    return [Switch(t, f"p{n}") for n, t in enumerate(times)]


def verdicts(*runs: Run) -> dict[str, Row | Unjudged]:
    return {one.name: one for one in judge(runs)}


def run(*times: float, scenario: str = STEP.name, seed: int = 1, answered: int = 100) -> Run:
    return Run(scenario, seed, 100, answered, switches(*times), 1.0)


def test_the_rate_and_the_loss_step_and_the_names_are_no_other_scenario_s() -> None:
    assert len(RATES) == 4
    assert any(before.up.loss < after.up.loss for before, after in itertools.pairwise(STEP.stages))
    assert set(RATES) < set(CHANGES)
    assert not set(CLOUD) & set(SCENARIOS)
    assert all(one.rate == RATE for one in CLOUD.values())


def test_one_switch_soon_after_each_change_of_the_rate_passes() -> None:
    found = verdicts(run(*(at + 1.5 for at in RATES)))
    switched, soon = found[f"{STEP.name}-switches"], found[f"{STEP.name}-soon"]
    assert isinstance(switched, Row)
    assert isinstance(soon, Row)
    assert (switched.passed, soon.passed) == (True, True)
    assert soon.figure == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("times", "beyond", "late"),
    [
        ([at + 1.0 for at in RATES[:-1]], 0, math.inf),  # one is missing
        ([at + 2.5 for at in RATES], 4, 1.25),
        ([*(at + 1.0 for at in RATES), RATES[-1] + 1.5], 1, 0.5),  # twice after one change
        ([*(at + 1.0 for at in RATES), RATES[-1] + 12.0], 1, 0.5),  # without one
    ],
)
def test_a_switch_that_is_late_missing_or_one_too_many_falls_short(
    times: list[float], beyond: int, late: float
) -> None:
    found = verdicts(run(*(at + 1.0 for at in RATES), seed=2), run(*sorted(times)))
    switched, soon = found[f"{STEP.name}-switches"], found[f"{STEP.name}-soon"]
    assert isinstance(switched, Row)
    assert isinstance(soon, Row)
    assert switched.figure == beyond
    assert soon.figure == pytest.approx(late)
    assert not (switched.passed and soon.passed)


def test_noise_asks_for_no_switch_and_no_window_may_be_lost() -> None:
    found = verdicts(run(1.0, 30.0, scenario=NOISE.name, answered=99))
    switched, lost = found[f"{NOISE.name}-switches"], found[f"{NOISE.name}-lost"]
    assert isinstance(switched, Row)
    assert isinstance(lost, Row)
    assert (switched.figure, lost.figure) == (1, 1)
    missing = found[f"{STEP.name}-switches"]
    assert isinstance(missing, Unjudged)
    assert not missing.run


def test_few_seeds_or_windows_are_a_look() -> None:
    assert enough([]) is None
    assert enough([run(seed=seed)._replace(windows=3_000) for seed in (1, 2, 3)]) is None
    assert enough([run(seed=1)]) == "cloud-…: a look, no measurement: 1 seed(s), 100 windows a run"


def test_without_a_change_of_the_rate_nothing_is_waited_for() -> None:
    assert slowest([], SCENARIOS["lan"]) == 0.0
