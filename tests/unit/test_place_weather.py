"""Clouds that get slow, lose, fall behind, die and come back: is the chance right, and what is done about it?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from bridge.place.chances import Chances
from bridge.place.decide import CloudView, Terms, decide
from bridge.place.explore import Explore
from tests.support.far_cloud import SIZE, Asked, FarCloud, Weather, brier, calibration_error, irreducible

if TYPE_CHECKING:
    from collections.abc import Callable

WIDE = [0.03, 0.06, 0.1, 0.2, 0.3, 0.8, 1.9]  # seconds left
CALM, LOSSY, DEAD = Weather(), Weather(loss=0.2), Weather(up=False)
REPAIRED = Weather(loss=0.2, resent=0.25)
NOISY = Weather(network=0.1, jitter=0.1)
FAR = Weather(network=0.5)


def between(begin: float, end: float, there: Weather, else_: Weather = CALM) -> Callable[[float], Weather]:
    return lambda now: there if begin <= now < end else else_


def steps(now: float) -> Weather:
    return FAR if now % 40 >= 20 else CALM


def tide(now: float) -> Weather:
    return Weather(service=0.01, others=70 + 60 * math.sin(now / 6))


def flapping(now: float) -> Weather:
    return DEAD if now % 20 >= 12 else CALM


@pytest.mark.parametrize(
    ("weather", "rate", "most_brier", "most_error"),
    [
        (lambda _: CALM, 1.0, 0.03, 0.03),
        (lambda _: CALM, 100.0, 0.03, 0.02),
        (lambda _: LOSSY, 10.0, 0.17, 0.09),
        (lambda _: REPAIRED, 10.0, 0.13, 0.06),
        (lambda _: NOISY, 10.0, 0.07, 0.04),
        (steps, 1.0, 0.08, 0.05),
        (steps, 10.0, 0.035, 0.02),
        (tide, 10.0, 0.04, 0.04),
        (tide, 50.0, 0.02, 0.04),
        (flapping, 10.0, 0.10, 0.07),
        (flapping, 50.0, 0.07, 0.05),
    ],
    ids=str,
)
def test_the_chance_is_what_it_says(
    weather: Callable[[float], Weather], rate: float, most_brier: float, most_error: float
) -> None:
    asked = [
        each
        for seed in range(3)
        for each in FarCloud(weather, seed).poisson(2400 / rate if rate > 10 else 200, rate, WIDE)
    ]
    assert brier(asked) <= most_brier
    assert calibration_error(asked) <= most_error
    assert brier(asked) < 0.8 * irreducible(asked)


@pytest.mark.parametrize("rate", [10.0, 100.0])
def test_where_a_fifth_is_lost_the_chance_is_four_fifths(rate: float) -> None:
    """Once the first silences are known."""
    asked = [each for each in FarCloud(lambda _: LOSSY).poisson(2 + 1000 / rate, rate, [1.9]) if each.at > 2.5]
    assert sum(each.chance for each in asked) / len(asked) == pytest.approx(0.8, abs=0.05)
    assert brier(asked) < 1.1 * irreducible(asked)


def moment(asked: list[Asked], after: float, chance: Callable[[float], bool]) -> float:
    """Seconds after `after` until the chance is so for good, until the next 15 s are over."""
    otherwise = [each.at for each in asked if after <= each.at < after + 15 and not chance(each.chance)]
    return max(otherwise, default=after) - after


@pytest.mark.parametrize(("rate", "most"), [(100.0, 0.65), (10.0, 1.2), (2.0, 4.5)])
def test_a_step_of_the_network_is_known_within_a_handful_of_answers(rate: float, most: float) -> None:
    for seed in range(5):
        asked = FarCloud(between(20, 40, FAR), seed).poisson(60, rate, [0.3])
        assert moment(asked, 20, lambda chance: chance < 0.5) <= most
        assert moment(asked, 40, lambda chance: chance > 0.5) <= most


@pytest.mark.parametrize(("rate", "most"), [(100.0, 2.2), (10.0, 2.8)])
def test_a_death_is_known_when_the_first_answers_are_given_up_and_suspected_before(rate: float, most: float) -> None:
    for seed in range(5):
        asked = FarCloud(between(20, 40, DEAD), seed).poisson(60, rate, [1.0])
        assert moment(asked, 20, lambda chance: chance < 0.55) <= 1.3
        assert moment(asked, 20, lambda chance: chance < 0.10) <= most
        assert moment(asked, 40, lambda chance: chance > 0.75) <= 1.0


def test_a_queue_that_grows_is_followed() -> None:
    growing = Weather(service=0.01, others=120)
    asked = FarCloud(between(10, 20, growing, Weather(service=0.01)), patience=10.0).poisson(30, 20.0, [0.5])
    queued = [each for each in asked if each.at > 11 and each.took > 0.3]
    errors = sorted(abs(each.predicted - each.took) / each.took for each in queued)
    assert len(queued) > 150
    assert errors[len(errors) // 2] < 0.1
    assert errors[len(errors) * 9 // 10] < 0.25
    assert brier(asked) < 0.03
    assert max(each.predicted for each in asked if each.at > 28) < 0.1


class Route:
    """Windows of one route, all unsure, decided as the bridge does."""

    def __init__(
        self, weather: Callable[[float], Weather], *, price: float = 0.0, share: float = 0.02, seed: int = 0
    ) -> None:
        self.far = FarCloud(weather, seed)
        self.terms = Terms(below=0.7, price=price)
        self.explore = Explore(share)
        self.asked: list[float] = []
        self.shadows: list[float] = []
        self.passed: list[float] = []

    def run(self, until: float, rate: float, left: float) -> None:
        now = 0.0
        while (now := now + self.far.rng.expovariate(rate)) < until:
            q, expected = self.far.look(now, left)
            view = CloudView(there=True, in_time=q, expected=expected)
            choice = decide(0.5, Chances(default=0.7), self.terms, view, left=left)
            if choice.where == "cloud":
                self.asked.append(now)
                self.far.ask(now, left)
                continue
            self.passed.append(now)
            clock = now + self.far.skew(now)
            if choice.explore and self.explore.due(clock):
                self.explore.counted(clock)
                self.shadows.append(now)
                self.far.ask(now, left)

    def share(self, begin: float, end: float) -> float:
        asked = sum(begin <= each < end for each in self.asked)
        return asked / max(1, asked + sum(begin <= each < end for each in self.passed))


@pytest.mark.parametrize("price", [0.0, 0.1])
@pytest.mark.parametrize("rate", [3.0, 30.0, 200.0])
def test_shadow_questions_within_their_budget_bring_a_recovered_cloud_back(price: float, rate: float) -> None:
    for seed in range(3):
        route = Route(between(20, 60, DEAD), price=price, seed=seed)
        route.run(80, rate, 1.9)
        assert route.share(5, 20) > 0.95
        assert route.share(30, 60) < 0.05
        assert len(route.shadows) <= 0.02 * len(route.passed) + 41
        assert route.share(66, 80) > 0.95


def test_without_shadow_questions_a_cloud_passed_over_is_tried_when_all_is_forgotten() -> None:
    route = Route(between(10, 20, DEAD), share=0.0)
    route.run(90, 30.0, 1.9)
    assert not route.shadows
    assert route.share(14, 20) == 0.0
    assert route.share(60, 90) > 0.95


def test_a_cloud_too_slow_for_one_deadline_is_known_to_be_quick_enough_for_another() -> None:
    far = FarCloud(lambda _: Weather(network=1.0), patience=0.5)
    far.poisson(10, 10.0, [0.5])
    assert far.look(10.0, 0.5)[0] < 0.05
    patient = FarCloud(lambda _: Weather(network=1.0), patience=5.0)
    patient.poisson(10, 10.0, [0.5])
    assert patient.look(10.0, 0.5)[0] < 0.05
    assert patient.look(10.0, 2.0)[0] > 0.9


@pytest.mark.parametrize("jump", [-1e6, -100.0, -3.0, -0.5, 0.5, 3.0, 100.0, 1e6])
def test_a_clock_that_jumps_does_no_harm(jump: float) -> None:
    far = FarCloud(lambda _: CALM)
    far.skew = lambda now: jump if now >= 10 else 0.0
    asked = far.poisson(20, 20.0, [1.0])
    assert min(each.chance for each in asked[5:]) > 0.6
    assert min(each.chance for each in asked if each.at > 11) > 0.9
    route = Route(between(5, 15, DEAD))
    route.far.skew = far.skew
    route.run(40, 20.0, 1.0)
    assert route.share(22, 40) > 0.95
    assert far.cost.predict(20.0 + jump, size=SIZE).seconds == pytest.approx(0.057, abs=0.02)
