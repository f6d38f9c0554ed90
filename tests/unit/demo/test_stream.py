"""TCP as a lossy link makes it: nothing missing, all in order, as late as Linux's time-outs make it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from bridge.demo.link import Link
from bridge.demo.linkmodel import Conditions, Stage
from bridge.demo.stream import FIRST_RTO, HEADERS, RTO_MIN, WINDOW, Stream
from tests.support.sim_clock import SimClock

DELAY = 0.025
RTO = 2 * DELAY + RTO_MIN


def stage(at: float = 0.0, **conditions: Any) -> Stage:
    both = Conditions(delay=DELAY, **conditions)
    return Stage(at, both, both)


class World:
    """A stream on a link, and what arrived: seconds after the first segment, and which."""

    def __init__(self, *stages: Stage, seed: int = 1) -> None:
        self.clock = SimClock()
        self.link = Link(stages, seed, self.clock)
        self.stream = Stream(self.link, "up", self.clock)
        self.arrived: list[tuple[float, int]] = []
        self.start = self.clock.time()
        self._count = 0

    @property
    def now(self) -> float:
        return self.clock.time() - self.start

    def send(self, count: int = 1, size: int = 100, every: float = 0.0) -> None:
        for _ in range(count):
            number = self._count
            self._count += 1
            self.stream.send(size, lambda number=number: self.arrived.append((self.now, number)))  # type: ignore[misc] # mypy cannot type a default
            self.clock.run(every)

    @property
    def numbers(self) -> list[int]:
        return [number for _, number in self.arrived]

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.arrived]

    @property
    def packets(self) -> int:
        return sum(one.packets for one in self.link.slots)


def test_without_loss_it_only_takes_the_delay() -> None:
    world = World(stage())
    world.send(20, every=0.1)
    world.clock.run(1.0)
    assert world.numbers == list(range(20))
    assert world.times == pytest.approx([0.1 * n + DELAY for n in range(20)])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_is_lost_all_arrives_once_and_in_order(seed: int) -> None:
    world = World(stage(loss=0.3), seed=seed)
    world.send(500, every=0.05)
    world.clock.run(1_000.0)
    assert world.numbers == list(range(500))
    assert world.packets > 500
    assert world.stream.waiting == 0


def test_a_lone_loss_is_repeated_after_a_round_trip_and_200_ms() -> None:
    world = World(stage(), stage(1.0, outage=True), stage(1.01))
    world.send()
    world.clock.run(1.005)
    world.send()
    world.clock.run(5.0)
    assert world.times[1:] == pytest.approx([1.005 + RTO + DELAY])


def test_a_loss_that_was_overtaken_is_repeated_with_the_news_of_that_and_holds_what_comes_behind() -> None:
    world = World(stage(), stage(1.0, outage=True), stage(1.01))
    world.send()
    world.clock.run(1.005)
    world.send()  # is lost
    world.clock.run(0.1)
    world.send()  # is not, and waits for it
    world.clock.run(5.0)
    assert world.numbers == [0, 1, 2]
    assert world.times[1:] == pytest.approx([1.105 + 2 * DELAY + DELAY] * 2)


def test_it_is_not_taken_for_lost_before_a_round_trip_and_a_quarter() -> None:
    world = World(stage(), stage(1.0, outage=True), stage(1.01))
    world.send()
    world.clock.run(1.009)
    world.send()
    world.clock.run(0.002)
    world.send()
    world.clock.run(5.0)
    assert world.times[1:] == pytest.approx([1.009 + 1.25 * 2 * DELAY + DELAY] * 2)


def test_an_outage_doubles_the_time_out_and_everything_arrives_after_it() -> None:
    world = World(stage(), stage(1.0, outage=True), stage(4.0))
    world.send()
    world.clock.run(1.5)
    world.send(5)
    world.clock.run(30.0)
    tries = [1.5 + RTO * (2**n - 1) for n in range(6)]
    back = next(at for at in tries if at >= 4.0)
    assert world.times[1] == pytest.approx(back + DELAY)
    assert world.numbers == list(range(6))
    assert world.arrived[-1][0] < back + 6 * 2 * DELAY
    in_vain = sum(at < 4.0 for at in tries) - 1
    assert sum(one.lost for one in world.link.slots) == 5 + in_vain, "one is repeated, not all five"


def test_nothing_new_leaves_after_a_time_out_until_a_repetition_got_through() -> None:
    world = World(stage(), stage(1.0, outage=True))
    world.send()
    world.clock.run(1.5)
    world.send()
    world.clock.run(RTO + 0.01)
    before = world.packets
    world.send(5)
    assert world.packets == before


def test_before_anything_arrived_the_time_out_is_a_second() -> None:
    world = World(stage(outage=True), stage(0.5))
    world.send()
    world.clock.run(5.0)
    assert world.times == pytest.approx([FIRST_RTO + DELAY])


def test_no_more_than_a_window_is_under_way() -> None:
    world = World(stage())
    world.send(35)
    assert world.packets == WINDOW
    world.clock.run(5.0)
    rounds = sorted({round(at / DELAY) for at, _ in world.arrived})
    assert rounds == [1, 2, 3, 4]
    assert all(a <= b for a, b in pairwise(world.arrived))


def test_headers_count_on_the_link() -> None:
    world = World(stage())
    world.send(3, size=100)
    assert world.link.slots[0].up == 3 * (100 + HEADERS)


def test_after_a_reset_nothing_arrives_and_nothing_is_repeated() -> None:
    world = World(stage(), stage(1.0, outage=True), stage(1.2))
    world.send()
    world.clock.run(1.1)
    world.send(2)
    world.clock.run(0.2)
    world.send()
    before = world.packets
    world.stream.close()
    world.clock.run(60.0)
    assert world.numbers == [0]
    assert world.packets == before
