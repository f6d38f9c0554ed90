"""The curve of the cloud's chances, and the budget of shadow questions."""

from __future__ import annotations

import math

import pytest

from bridge.place.chances import Chances
from bridge.place.explore import Explore


def test_the_curve_is_linear_between_its_points_and_level_beyond() -> None:
    curve = Chances([(0.6, 0.9), (0.2, 0.5), (0.4, 0.6)])
    asked = [-1.0, 0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 1.0]
    assert [curve.cloud(each) for each in asked] == pytest.approx([0.5, 0.5, 0.5, 0.55, 0.6, 0.75, 0.9, 0.9])


def test_one_point_or_none_is_level() -> None:
    assert [Chances([(0.5, 0.8)]).cloud(each) for each in (0.1, 0.5, 0.9)] == [0.8, 0.8, 0.8]
    assert [Chances(default=0.85).cloud(each) for each in (-0.1, 0.0, 0.9)] == [0.85, 0.85, 0.85]
    assert Chances().cloud(0.3) == 1.0
    assert Chances([(0.5, 0.8)], default=0.3).cloud(0.5) == 0.8


def test_of_two_points_with_one_certainty_the_last_counts() -> None:
    assert Chances([(0.5, 0.8), (0.5, 0.6)]).cloud(0.5) == 0.6


def asked(explore: Explore, times: list[float]) -> list[float]:
    shadows = []
    for now in times:
        if explore.due(now):
            explore.counted(now)
            shadows.append(now)
    return shadows


def test_few_windows_get_a_shadow_question_a_second() -> None:
    assert asked(Explore(), [0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 9.0]) == [0.0, 1.2, 2.4, 9.0]


def test_many_windows_get_their_share() -> None:
    assert len(asked(Explore(0.125, 1.0), [each / 1024 for each in range(1024)])) == 1024 // 8


def test_credit_is_not_saved_up() -> None:
    explore = Explore(0.5, 1e9)
    assert explore.due(0.0)
    explore.counted(0.0)
    assert [explore.due(0.1) for _ in range(6)] == [False, True, True, True, True, True]
    explore.counted(0.1)
    assert not explore.due(0.2)


def test_without_a_share_there_are_none() -> None:
    assert asked(Explore(0.0), [0.0, 10.0, 1e6]) == []


@pytest.mark.parametrize("odd", [-1e9, math.nan, 1e9])
def test_a_clock_that_jumps_delays_the_next_by_no_more_than_usual(odd: float) -> None:
    explore = Explore()
    explore.counted(100.0)
    explore.due(odd)
    explore.counted(odd)
    start = 0.0 if math.isnan(odd) else odd - 50.0
    assert len(asked(explore, [start + each / 10 for each in range(100)])) >= 8
