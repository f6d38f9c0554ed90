"""A seeded path in plain arithmetic: rate, delay, jitter, loss each way, in spells or not, on a schedule."""

from __future__ import annotations

import heapq
import random
from typing import TYPE_CHECKING, NamedTuple

from bridge.link.events import Acked, Event, GivenUp, Resent, Sent

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.link.estimate import Estimate
    from bridge.link.estimator import Estimator
    from bridge.link.events import Protocol


class Weather(NamedTuple):
    """Seconds, probabilities one way, bytes a second; `spell`: mean seconds of a spell in which everything is lost."""

    rtt: float = 0.05
    loss: float = 0.0
    rate: float = 1e9
    noise: float = 0.0
    spell: float = 0.0
    out: bool = False


class Path:
    """Sends messages as CoAP does, with the estimator's own timer, and tells the estimator."""

    def __init__(self, estimator: Estimator, weather: Callable[[float], Weather], seed: int = 1) -> None:
        self.estimator = estimator
        self.weather = weather
        self.dice = random.Random(seed)
        self.now = 0.0
        self.messages = self.transmissions = 0
        self.delays: list[tuple[float, float]] = []
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._free = 0.0
        self._bad_until = -1.0
        self._next_bad = 0.0
        self._waits: dict[int, float] = {}

    def at(self, when: float, do: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._due, (when, self._order, do))

    def run(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            self.now, _, do = heapq.heappop(self._due)
            do()
        self.now = until

    def tell(self, event: Event) -> None:
        self.estimator.on(event)

    def send(self, size: int = 340, protocol: Protocol = "coap", tries: int = 16) -> None:
        self.messages += 1
        message = self.messages
        self._waits[message] = self.now
        self.tell(Sent(message, self.now, protocol, size))
        self._transmit(message, size, tries, self.estimator.estimate(self.now).coap.rto)

    def stream(self, begin: float, end: float, hz: float = 20.0, size: int = 340) -> None:
        for index in range(int((end - begin) * hz)):
            self.at(begin + index / hz, lambda: self.send(size))

    def _lost(self, weather: Weather) -> bool:
        if weather.spell and weather.loss:
            good = weather.spell * (1 - weather.loss) / weather.loss
            while self.now >= self._next_bad:
                begin = self._next_bad + self.dice.expovariate(1 / good)
                self._bad_until = begin + self.dice.expovariate(1 / weather.spell)
                self._begin_bad, self._next_bad = begin, self._bad_until
            return weather.out or self._begin_bad <= self.now < self._bad_until
        return weather.out or self.dice.random() < weather.loss

    def _transmit(self, message: int, size: int, tries: int, timer: float) -> None:
        self.transmissions += 1
        weather = self.weather(self.now)
        way = weather.rtt / 2 * (1 + self.dice.uniform(-weather.noise, weather.noise))
        self._free = max(self._free, self.now) + size / weather.rate
        if not self._lost(weather):
            arrival = self._free + way
            if not self._lost(weather):
                self.at(arrival + way, lambda: self._answer(message))
            self.at(arrival, lambda: self._arrived(message))
        self.at(self.now + timer, lambda: self._timeout(message, size, tries - 1, timer))

    def _arrived(self, message: int) -> None:
        sent = self._waits.get(message)
        if sent is not None:
            self.delays.append((sent, self.now - sent))

    def _answer(self, message: int) -> None:
        self._waits.pop(message, None)
        self.tell(Acked(message, self.now))

    def _timeout(self, message: int, size: int, tries: int, timer: float) -> None:
        if message not in self._waits:
            return
        if tries == 0:
            del self._waits[message]
            self.tell(GivenUp(message, self.now))
            return
        self.tell(Resent(message, self.now))
        self._transmit(message, size, tries, max(self.estimator.estimate(self.now).coap.rto, min(1.5 * timer, 1.0)))

    def estimate(self) -> Estimate:
        return self.estimator.estimate(self.now)
