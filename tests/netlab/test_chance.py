"""That runs of one seed can be compared: the same sender's utility, twice, is nearly the same."""

from __future__ import annotations

import statistics

import pytest

from tests.netlab.chance import ratios
from tests.netlab.scenarios import SCENARIOS


@pytest.mark.parametrize("name", ["ramp", "noise"])
def test_one_seed_leaves_little_to_chance_and_two_leave_much(name: str) -> None:
    """The bound 0.95 × oracle means nothing where identical senders differ by as much."""
    alike, apart = (ratios(SCENARIOS[name], 8, 1_500, apart=apart) for apart in (False, True))
    assert statistics.fmean(alike) == pytest.approx(1, abs=0.03)
    assert statistics.stdev(alike) < 0.04 < statistics.stdev(apart)
