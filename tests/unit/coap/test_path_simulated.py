"""What a path's sender makes of a simulated link: delays, repetitions, outages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.coap.path import PROBE_S
from tests.unit.coap.simulated import World

if TYPE_CHECKING:
    import random
    from collections.abc import Callable


def commit(dice: random.Random) -> float:
    """What a bridge takes to answer: 3 ms in the mean, one in 12 up to 8 ms more, as measured in the laboratory."""
    return 0.001 + dice.expovariate(1 / 0.0018) + (dice.uniform(0, 0.008) if dice.random() < 0.08 else 0.0)


def slow_commit(dice: random.Random) -> float:
    return dice.uniform(0.005, 0.03)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    ("loss", "most", "p98", "p999", "answer"),
    [
        (0.0, 1.001, 0.026, 0.026, commit),
        (0.01, 1.06, 0.06, 0.12, commit),
        (0.05, 1.22, 0.092, 0.15, commit),
        (0.1, 1.36, 0.095, 0.25, commit),
        (0.2, 1.7, 0.17, 0.4, commit),
        (0.0, 1.01, 0.026, 0.026, slow_commit),
        (0.1, 1.37, 0.15, 0.35, slow_commit),
        (0.2, 1.73, 0.26, 0.5, slow_commit),
    ],
)
def test_random_loss(
    loss: float, most: float, p98: float, p999: float, answer: Callable[[random.Random], float], seed: int
) -> None:
    world = World(loss=loss, commit=answer, seed=seed)
    world.messages(3000, 0.05)
    world.run(200)
    assert len(world.answered) == 3000
    assert world.transmissions <= most
    assert world.in_order()[2939] <= p98
    assert world.in_order()[2996] <= p999
    assert world.most_in_flight <= 32


def test_fades() -> None:
    """Above what a sender would take that knows when each fade ends: a time-out or two, in the middle of five seeds."""
    above = []
    for seed in range(5):
        world = World(commit=commit, seed=seed)
        world.messages(3000, 0.05)
        world.fades(160)
        world.run(300)
        assert len(world.answered) == 3000
        assert world.transmissions <= 1.35
        above.append(world.in_order()[2939] - world.floor()[2939])
    assert sorted(above)[2] <= 0.12


@pytest.mark.parametrize("delay", [0.3, 1.0, 4.0])
def test_a_longer_round_trip_is_learned(delay: float) -> None:
    """Karn's rule alone would never take a sample again."""
    world = World()
    world.messages(1200, 0.25)
    world.at(20.0, lambda: setattr(world, "delay", delay))
    world.run(100)
    copies = len(world.sent) - len(set(world.sending))
    assert copies <= 30
    assert world.trip.srtt_s == pytest.approx(2 * delay, rel=0.1)
    world.run(330)
    assert len(world.answered) == 1200
    assert len(world.sent) == 1200 + copies  # not one more


def test_a_first_time_out_below_the_round_trip_is_outgrown() -> None:
    world = World(delay=1.5)
    world.messages(100, 0.5)
    world.run(80)
    assert len(world.answered) == 100
    assert world.transmissions <= 1.3


@pytest.mark.parametrize(("rate", "delay", "offered"), [(20.0, 0.1, 20.0), (7.0, 1.0, 5.0), (7.0, 1.0, 20.0)])
def test_a_thin_link_is_not_filled_with_copies(rate: float, delay: float, offered: float) -> None:
    world = World(rate=rate, delay=delay)
    world.messages(600, 1 / offered)
    world.run(200)
    assert len(world.answered) == 600
    assert world.transmissions <= 1.1


def test_a_queue_of_our_own_is_kept_short() -> None:
    """A link for 100 a second with 20 ms is offered more for long: the window settles where the queue is short."""
    world = World(rate=100.0, delay=0.01)
    world.messages(3000, 0.008)
    world.run(5)
    world.most_in_flight = 0
    world.run(28)
    assert 10 <= world.most_in_flight <= 14  # twice what the link itself holds is the measure
    world.run(32)
    assert len(world.answered) == 3000  # and it was kept busy: 3,000 messages need 30 s


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_an_outage(loss: float) -> None:
    world = World(loss=loss)
    world.messages(1200, 0.05)
    world.at(10.0, lambda: setattr(world, "is_up", False))
    world.at(40.0, lambda: setattr(world, "is_up", True))
    world.run(41.5)
    probes = [time for time in world.sent if 12.0 <= time < 40.0]
    assert len(probes) <= 28 / PROBE_S + 1
    first = min(time for time in world.arrived.values() if time >= 40.0)
    assert first <= 41.5
    world.run(100)
    assert len(world.answered) == 1200


def test_short_fades_are_no_outage() -> None:
    world = World()
    world.messages(2000, 0.05)
    for second in range(2, 100, 5):
        world.at(second, lambda: setattr(world, "is_up", False))
        world.at(second + 0.25, lambda: setattr(world, "is_up", True))
    world.run(120)
    assert len(world.answered) == 2000
    assert world.transmissions <= 1.4
    assert world.delays()[-1] <= 0.6  # 0.25 of fade, one more wait, the way


@settings(deadline=None)
@given(
    st.floats(0, 0.6),
    st.floats(0.0005, 2),
    st.sampled_from([0.0, 5.0, 50.0]),
    st.integers(1, 32),
    st.lists(st.tuples(st.floats(0, 20), st.floats(0.05, 5)), max_size=3),
)
@example(0.375, 0.375, 5.0, 29, [(3.25, 0.375)])  # answers at no usual time once made the time-out grow for ever
def test_whatever_the_link_does_everything_is_answered(
    loss: float, delay: float, rate: float, window: int, outages: list[tuple[float, float]]
) -> None:
    world = World(loss=loss, delay=delay, rate=rate, window=window)
    world.messages(60, 0.2)
    for begin_at, seconds in outages:
        world.at(begin_at, lambda: setattr(world, "is_up", False))
        world.at(begin_at + seconds, lambda: setattr(world, "is_up", True))
    world.run(4000)
    assert len(world.answered) == 60
    assert world.most_in_flight <= window
    assert world.path.next_due is None
