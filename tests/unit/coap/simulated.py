"""A `Path` over a simulated link: events in a heap, no clock, no socket."""

from __future__ import annotations

import heapq
import itertools
import random
from typing import TYPE_CHECKING

from bridge.coap.path import Exchange, Path
from bridge.coap.rto import Rfc6298

if TYPE_CHECKING:
    from collections.abc import Callable


class World:
    """Messages at a steady rate over a link that is alike both ways; settings may change by `at`.

    Attributes:
        loss: share lost, each way.
        delay: seconds, each way.
        rate: datagrams a second that the way there carries; 0: any. The rest queues.
        queue: so many datagrams; what finds it full is lost.
        commit: draws the seconds that the peer takes from a datagram to its answer.
        is_up: nothing passes while it is not.
        sent: when each transmission was made.
        sending: of which message each was.
        born, arrived, answered: seconds, by message.
        faded: begin and end of each fade.
    """

    def __init__(
        self,
        *,
        window: int = 32,
        loss: float = 0.0,
        delay: float = 0.025,
        rate: float = 0.0,
        queue: float = float("inf"),
        commit: Callable[[random.Random], float] = lambda _dice: 0.0,
        seed: int = 1,
    ) -> None:
        self.loss, self.delay, self.rate, self.queue, self.commit = loss, delay, rate, queue, commit
        self.is_up = True
        self.now = 0.0
        self.trip = Rfc6298()
        self.path = Path(window, self.trip)
        self.sent: list[float] = []
        self.sending: list[int] = []
        self.born: dict[int, float] = {}
        self.arrived: dict[int, float] = {}
        self.answered: dict[int, float] = {}
        self.most_in_flight = 0
        self.faded: list[tuple[float, float]] = []
        self._dice = random.Random(seed)
        self._free = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), action))

    def messages(self, count: int, every: float, *, start: float = 0.0) -> None:
        for _ in range(count):
            number = len(self.born)
            self.born[number] = start + (number * every)
            self.at(self.born[number], lambda number=number: self._begin(number))  # type: ignore[misc] # bound early

    def fades(self, until: float, *, mean: float = 0.25, share: float = 0.05) -> None:
        """Spells of exponential length in which nothing passes, both ways, for that share of the time."""
        now = 0.0
        while now < until:
            begin = now + self._dice.expovariate(share / (mean * (1 - share)))
            now = begin + self._dice.expovariate(1 / mean)
            self.fade(begin, now)

    def fade(self, begin: float, end: float) -> None:
        self.faded.append((begin, end))
        self.at(begin, lambda: setattr(self, "is_up", False))
        self.at(end, lambda: setattr(self, "is_up", True))

    def run(self, until: float) -> None:
        while True:
            due = self.path.next_due
            event = self._events[0][0] if self._events else float("inf")
            time = min(event, float("inf") if due is None else due)
            if time > until:
                self.now = until
                return
            self.now = time
            if event <= time:
                heapq.heappop(self._events)[2]()
            for exchange in self.path.poll(self.now):
                exchange.transmit()
            self.most_in_flight = max(self.most_in_flight, self.path.in_flight)

    @property
    def transmissions(self) -> float:
        return len(self.sent) / len(self.born)

    def delays(self) -> list[float]:
        return sorted(self.arrived[number] - born for number, born in self.born.items())

    def in_order(self) -> list[float]:
        """Delays, sorted, where a message is delivered after all those before it, as the bridge does with rows."""
        latest = itertools.accumulate((self.arrived[number] for number in self.born), max)
        return sorted(time - born for time, born in zip(latest, self.born.values(), strict=True))

    def floor(self) -> list[float]:
        """Delays, sorted, of a sender that knows when each fade ends."""
        ends = (next((end for begin, end in self.faded if begin <= at < end), at) for at in self.born.values())
        return sorted(end - at + self.delay for at, end in zip(self.born.values(), ends, strict=True))

    def _begin(self, number: int) -> None:
        exchange = Exchange(lambda: self._transmit(number, exchange))
        self.path.begin(exchange)

    def _passes(self) -> bool:
        return self.is_up and self._dice.random() >= self.loss

    def _transmit(self, number: int, exchange: Exchange) -> None:
        self.sent.append(self.now)
        self.sending.append(number)
        if self._passes() and (self._free - self.now) * self.rate < self.queue:
            self._free = max(self._free, self.now) + (1 / self.rate if self.rate else 0.0)
            self.at(self._free + self.delay, lambda: self._arrive(number, exchange))

    def _arrive(self, number: int, exchange: Exchange) -> None:
        self.arrived.setdefault(number, self.now)
        self.at(self.now + self.commit(self._dice), lambda: self._reply(number, exchange))

    def _reply(self, number: int, exchange: Exchange) -> None:
        if self._passes():
            self.at(self.now + self.delay, lambda: self._answer(number, exchange))

    def _answer(self, number: int, exchange: Exchange) -> None:
        if number not in self.answered:
            self.answered[number] = self.now
            self.path.answered(exchange, self.now)
