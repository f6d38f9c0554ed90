"""A cloud agent on paper: a network that changes and loses, and a queue; asked in virtual time, always the same way."""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_right, insort
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from bridge.place.cost import RemoteCost

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 600  # bytes of a question


@dataclass(frozen=True)
class Weather:
    """What holds at one moment.

    Attributes:
        network: seconds there and back, without what the queue adds.
        jitter: mean seconds on top of it, exponentially distributed.
        loss: share of questions that are lost.
        resent: seconds after which a lost one comes all the same; infinite: never.
        service: seconds that one window runs; they run one by one.
        others: windows a second that other bridges ask.
        up: whether the agent lives.
    """

    network: float = 0.05
    jitter: float = 0.005
    loss: float = 0.0
    resent: float = math.inf
    service: float = 0.002
    others: float = 0.0
    up: bool = True


@dataclass(frozen=True)
class Asked:
    """One question and what became of it.

    Attributes:
        at: seconds at which it was asked.
        left: seconds within which the answer was wanted.
        chance: what `in_time` said of that.
        predicted: seconds that `predict` said; 0 when it knew nothing.
        took: seconds; infinite: no answer.
    """

    at: float
    left: float
    chance: float
    predicted: float
    took: float

    @property
    def hit(self) -> bool:
        return self.took <= self.left


@dataclass(order=True)
class _Flight:
    heard: float
    number: int
    took: float
    arrives: float
    wait: float
    sky: Weather


@dataclass
class FarCloud:
    """The cloud of `weather`; `cost` is told what a bridge sees of it.

    Attributes:
        weather: by time.
        seed: of all that is random.
        patience: seconds after which an answer is waited for no more.
        skew: what the clock that `cost` sees is ahead, by time.
        cost: what learns.
    """

    weather: Callable[[float], Weather]
    seed: int = 0
    patience: float = 2.0
    skew: Callable[[float], float] = lambda _: 0.0
    cost: RemoteCost = field(default_factory=RemoteCost)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self._free = 0.0  # when the agent has done all that it has
        self._told_others = 0.0
        self._arrivals: list[float] = []
        self._flights: list[_Flight] = []
        self._count = 0

    def until(self, now: float) -> None:
        """Tell what came until now."""
        while self._flights and self._flights[0].heard <= now:
            flight = heapq.heappop(self._flights)
            clock = flight.heard + self.skew(flight.heard)
            if flight.took > self.patience:
                self.cost.silent(clock, self.patience, size=SIZE)
                continue
            run = flight.sky.service
            done = flight.arrives + flight.wait + run
            ours = bisect_right(self._arrivals, done) - bisect_right(self._arrivals, flight.arrives)
            queue = ours + int(self._others(flight.arrives, done))
            self.cost.answered(clock, took=flight.took, wait=flight.wait, run=run, batch=1, queue=queue, size=SIZE)

    def _others(self, begin: float, end: float) -> float:
        """Windows of other bridges that came between."""
        parts = 1 + min(15, int((end - begin) / 0.1))
        middles = (begin + (end - begin) * (part + 0.5) / parts for part in range(parts))
        return (end - begin) * sum(self.weather(at).others for at in middles) / parts

    def look(self, now: float, left: float) -> tuple[float, float]:
        """What `in_time` and `predict` say now."""
        self.until(now)
        clock = now + self.skew(now)
        return self.cost.in_time(clock, left, size=SIZE), self.cost.predict(clock, size=SIZE).seconds

    def ask(self, now: float, left: float) -> Asked:
        """Ask now."""
        chance, predicted = self.look(now, left)
        self.cost.asked(now + self.skew(now))
        took = self._send(now)
        return Asked(now, left, chance, predicted, took)

    def _send(self, now: float) -> float:
        sky = self.weather(now)
        network = sky.network + self.rng.expovariate(1 / sky.jitter)
        if self.rng.random() < sky.loss:
            network += sky.resent
        took, arrives, wait = math.inf, 0.0, 0.0
        if sky.up and network < math.inf:
            arrives = now + network / 2
            wait = self._queued(arrives, sky)
            took = network + wait + sky.service
        self._count += 1
        heapq.heappush(self._flights, _Flight(now + min(took, self.patience), self._count, took, arrives, wait, sky))
        return took

    def _queued(self, arrives: float, sky: Weather) -> float:
        if arrives > self._told_others:
            theirs = self._others(self._told_others, arrives) * sky.service
            self._free = max(self._free, self._told_others) + theirs
        self._told_others = max(self._told_others, arrives)
        wait = max(0.0, self._free - arrives)
        self._free = arrives + wait + sky.service
        insort(self._arrivals, arrives)
        return wait

    def poisson(self, seconds: float, rate: float, lefts: list[float]) -> list[Asked]:
        """Questions at random times, each with one of these seconds left."""
        asked, now = [], 0.0
        while (now := now + self.rng.expovariate(rate)) < seconds:
            asked.append(self.ask(now, self.rng.choice(lefts)))
        return asked


def brier(asked: list[Asked]) -> float:
    """Mean square of chance − outcome (Brier 1950)."""
    return sum((each.chance - each.hit) ** 2 for each in asked) / len(asked)


def irreducible(asked: list[Asked]) -> float:
    """Brier score of who knows the share of hits and nothing else."""
    share = sum(each.hit for each in asked) / len(asked)
    return share * (1 - share)


def calibration_error(asked: list[Asked], bins: int = 10) -> float:
    """Expected calibration error over bins of equal mass."""
    ordered = sorted(asked, key=lambda each: each.chance)
    cuts = [number * len(ordered) // bins for number in range(bins + 1)]
    groups = [ordered[begin:end] for begin, end in pairwise(cuts)]
    return sum(abs(sum(each.chance - each.hit for each in group)) for group in groups) / len(ordered)
