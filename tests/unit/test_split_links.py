"""When an answer is there, by hand and for any figures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.runtime.split_links import Link, Way, best, bound, seconds

times = st.floats(1e-6, 1.0)
sizes = st.integers(1, 1_000_000)
ways = st.builds(Way, st.just("cut"), times, sizes, times)
speeds = st.floats(0.5, 1_000.0)


def test_work_here_then_bytes_then_a_round_trip_then_work_there() -> None:
    way = Way("cut 1", here=0.25, size=125, there=1.0)
    assert seconds(way, Link(rate=1_000.0, round_trip=0.5), speed=4.0) == 0.25 + 1.0 + 0.5 + 0.25


def test_the_best_cut_depends_on_the_rate() -> None:
    early, late = Way("early", 1.0, 10_000, 9.0), Way("late", 9.0, 100, 1.0)
    for rate, name, wanted in ((1e9, "early", 1.9 + 8e-5), (1e3, "late", 9.1 + 0.8)):
        found = best([early, late], Link(rate, 0.0), speed=10.0)
        assert found is not None
        assert found[0] == name
        assert found[1] == pytest.approx(wanted)
    assert best([], Link(1e3, 0.0), speed=10.0) is None


def test_fewer_bytes_and_longer_work_win_up_to_a_rate() -> None:
    cut, cloud = Way("cut", here=2.0, size=100, there=1.0), Way("input", here=0.0, size=1_100, there=4.0)
    # 2.5 s against 2 s of computing; 8,000 bits fewer: up to 16,000 bit/s, where the cut's own 800 bits take 0.05 s
    assert bound(cut, cloud, 4.0, speed=2.0) == pytest.approx(4.0 - 2.5 - 0.05)


def test_more_bytes_and_longer_work_never_win() -> None:
    assert bound(Way("cut", 2.0, 1_100, 1.0), Way("input", 0.0, 100, 4.0), 9.0, speed=2.0) == 0.0


def test_a_cut_that_computes_no_less_than_the_bridge_never_wins() -> None:
    assert bound(Way("cut", 4.0, 1, 1.0), Way("input", 0.0, 1_000_000, 4.0), 4.0, speed=10.0) == 0.0


def test_with_less_work_than_either_any_rate_will_do() -> None:
    assert bound(Way("cut", 1.0, 900, 2.0), Way("input", 3.0, 100, 4.0), 4.0, speed=2.0) == pytest.approx(2.0)


@given(cut=ways, cloud=ways, bridge=times, speed=speeds, rate=st.floats(1e2, 1e12), round_trip=st.floats(0.0, 1.0))
def test_a_cut_that_wins_somewhere_is_within_its_bound(
    cut: Way, cloud: Way, bridge: float, speed: float, rate: float, round_trip: float
) -> None:
    link = Link(rate, round_trip)
    if seconds(cut, link, speed=speed) < min(bridge, seconds(cloud, link, speed=speed)) * (1 - 1e-9):
        assert round_trip <= bound(cut, cloud, bridge, speed=speed) * (1 + 1e-6) + 1e-9


@given(cut=ways, cloud=ways, bridge=times, speed=speeds)
def test_the_bound_is_reached(cut: Way, cloud: Way, bridge: float, speed: float) -> None:
    far = bound(cut, cloud, bridge, speed=speed)
    if far < 1e-6:
        return
    near = 0.5 * far
    trials = (seconds(cut, Link(10**k, near), speed=speed) < bridge for k in range(2, 20))
    assert any(trials)
