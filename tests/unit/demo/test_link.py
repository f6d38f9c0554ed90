"""The demo's link without sockets or time: share of loss, order, rate, outage; and that a seed is a seed."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from bridge.demo.link import Link, Way
from bridge.demo.linkmodel import Conditions, Stage
from tests.support.sim_clock import SimClock

SIZE = 500


def stage(at: float = 0.0, *, delay: float = 0.02, **conditions: Any) -> Stage:
    both = Conditions(delay=delay, **conditions)
    return Stage(at, both, both)


class World:
    """A link, and what arrived there: when, and which."""

    def __init__(self, *stages: Stage, seed: int = 1) -> None:
        self.clock = SimClock()
        self.begun = 0
        self.link = Link(stages, seed, self.clock, self._begin)
        self.arrived: list[tuple[float, int]] = []
        self.start = self.clock.time()

    def _begin(self) -> None:
        self.begun += 1

    @property
    def numbers(self) -> list[int]:
        return [number for _, number in self.arrived]

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.arrived]

    def carry(self, number: int = 0, size: int = SIZE, way: Way = "up") -> bool:
        return self.link.carry(way, size, lambda: self.arrived.append((self.clock.time() - self.start, number)))

    def send(self, count: int, every: float = 0.01) -> list[bool]:
        fates = []
        for number in range(count):
            fates.append(self.carry(number))
            self.clock.run(every)
        self.clock.run(10.0)
        return fates


def test_the_schedule_begins_with_the_first_packet_and_says_so_once() -> None:
    world = World(stage(), stage(1.0, outage=True))
    world.clock.run(100.0)
    assert world.begun == 0
    assert world.carry()
    world.clock.run(1.5)
    assert not world.carry()
    assert world.begun == 1


@pytest.mark.parametrize("loss", [0.05, 0.2])
def test_so_much_is_lost_and_the_rest_arrives(loss: float) -> None:
    world = World(stage(loss=loss))
    fates = world.send(4_000)
    assert 1 - statistics.mean(fates) == pytest.approx(loss, rel=0.1)
    assert world.numbers == [n for n, came in enumerate(fates) if came]


def test_the_same_seed_loses_the_same_and_another_does_not() -> None:
    fates = [World(stage(loss=0.2), seed=seed).send(200) for seed in (1, 1, 2)]
    assert fates[0] == fates[1] != fates[2]


def test_it_takes_the_delay_and_jitter_changes_no_order() -> None:
    world = World(stage(delay=0.1, jitter=0.05))
    world.send(300, every=0.02)
    delays = [at - 0.02 * number for at, number in world.arrived]
    assert world.numbers == list(range(300))
    assert min(delays) >= 0.1 - 1e-9
    assert max(delays) <= 0.15 + 1e-9
    assert max(delays) - min(delays) > 0.03


def test_those_due_at_once_keep_their_order() -> None:
    world = World(stage())
    for number in range(50):
        world.carry(number)
    world.clock.run(1.0)
    assert world.numbers == list(range(50))


def test_a_packet_that_is_due_earlier_arrives_earlier() -> None:
    world = World(Stage(0.0, Conditions(delay=0.2), Conditions(delay=0.01)))
    world.carry(1, way="up")
    world.carry(2, way="down")
    world.clock.run(1.0)
    assert world.numbers == [2, 1]
    assert world.times == pytest.approx([0.01, 0.2])


def test_a_thin_link_serves_one_after_the_other_and_its_queue_is_bounded() -> None:
    world = World(stage(delay=0.0, rate=40_000, queue=10 * SIZE))
    fates = [world.carry(number) for number in range(15)]
    world.clock.run(10.0)
    assert fates == [True] * 10 + [False] * 5
    assert world.times == pytest.approx([0.1 * (n + 1) for n in range(10)])


def test_nothing_passes_in_an_outage_and_everything_after_it() -> None:
    world = World(stage(), stage(0.995, outage=True), stage(1.995))
    fates = world.send(300)
    gone = [n for n, came in enumerate(fates) if not came]
    assert gone == list(range(100, 200))


def test_it_counts_what_was_offered_by_time_and_way() -> None:
    world = World(stage(), stage(0.1, outage=True))
    for way in ("up", "up", "down"):
        world.carry(way=way)
    world.clock.run(0.25)
    world.carry(size=100)
    counts = [(one.up, one.down, one.packets, one.lost) for one in world.link.slots]
    assert counts == [(2 * SIZE, SIZE, 3, 0), (0, 0, 0, 0), (100, 0, 1, 1)]


def test_the_round_trip_is_that_of_the_present_stage() -> None:
    world = World(stage(delay=0.02), stage(1.0, delay=0.1))
    assert world.link.round_trip == pytest.approx(0.04)
    world.carry()
    world.clock.run(1.5)
    assert world.link.round_trip == pytest.approx(0.2)
