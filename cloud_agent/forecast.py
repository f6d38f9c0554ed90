"""When a question would be answered: what waits before it, at the run times measured.

No clock: `now` is an argument.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from statistics import median_low
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cloud_agent.engines.port import Served

KEPT = 5  # runs: their median forgets two that were disturbed, and believes three in a row
FORGOTTEN = 10.0  # seconds; a batch size that did not run for longer is as the others are
TRUSTED = 1.0  # seconds; a model that did not run for longer is run once, whatever is predicted: no bad spell sticks


class RunTimes:
    """Seconds of a batch by its size: as at warm-up, times how much slower the latest runs were.

    That is known for sizes gathered in powers of two, and of all sizes together for those that did not run lately.
    """

    def __init__(self, warm: Iterable[tuple[int, float]]) -> None:
        """Begin with what was measured at warm-up.

        Args:
            warm: windows and seconds, ascending; if nothing is known, a batch takes as long as its windows one by one.
        """
        known = [(float(size), seconds) for size, seconds in warm if seconds > 0]
        self._warm = known or [(1.0, 1.0)]
        self._all: deque[float] = deque([1.0] if known else (), KEPT)
        self._of_size: dict[int, deque[float]] = {}
        self._newest: dict[int, float] = {}

    def ran(self, batch: int, seconds: float, *, now: float) -> None:
        """Learn from a run that ended now."""
        slower = seconds / _line(self._warm, batch)
        size = batch.bit_length()
        if not self._lately(size, now):
            self._of_size[size] = deque([median_low(self._all)] if self._all else (), KEPT)
        self._of_size[size].append(slower)
        self._newest[size] = now
        self._all.append(slower)

    def of(self, batch: int, *, now: float) -> float:
        """Seconds expected of a batch of so many windows; 0.0 if nothing is known."""
        size = batch.bit_length()
        latest = self._of_size[size] if self._lately(size, now) else self._all
        return median_low(latest) * _line(self._warm, batch) if latest else 0.0

    def _lately(self, size: int, now: float) -> bool:
        return size in self._newest and now - self._newest[size] <= FORGOTTEN


def _line(points: Sequence[tuple[float, float]], size: float) -> float:
    """Straight lines between points; level before the first, in proportion to the size after the last."""
    after = bisect_left(points, (size, 0.0))
    if after == 0:
        return points[0][1]
    left, low = points[after - 1]
    if after == len(points):
        return low * size / left
    right, high = points[after]
    return low + (high - low) * (size - left) / (right - left)


class Forecast:
    """Run times of all models, what runs now, and what follows from them for a question that comes."""

    def __init__(self, served: Mapping[str, Served], now: float) -> None:
        """Begin with the warm-up's times.

        Args:
            served: the engine's models.
            now: monotonic seconds.
        """
        self._most = {name: model.batch for name, model in served.items()}
        self._times = {name: RunTimes(model.times) for name, model in served.items()}
        self._newest = dict.fromkeys(served, now)
        self._running: str | None = None
        self._ends = now

    def began(self, model: str, batch: int, *, now: float) -> None:
        """The engine runs a batch."""
        self._running = model
        self._ends = now + self.run(model, batch, now=now)

    def ended(self, *, now: float) -> None:
        """The engine is free; what it did is no measure."""
        self._running = None
        self._ends = now

    def ran(self, model: str, batch: int, seconds: float, *, now: float) -> None:
        """The engine is free, and ran so long."""
        self.ended(now=now)
        self._times[model].ran(batch, seconds, now=now)
        self._newest[model] = now

    def run(self, model: str, batch: int, *, now: float) -> float:
        """Seconds expected of a batch."""
        return self._times[model].of(batch, now=now)

    def full_batches(self, now: float) -> dict[str, float]:
        """Milliseconds of a full batch of each model; 0.0 where nothing is known."""
        return {model: round(1000.0 * self.run(model, most, now=now), 3) for model, most in self._most.items()}

    def trusted(self, model: str, now: float) -> bool:
        """Whether the model runs, or ran lately enough, for a question to be refused by what is predicted."""
        return model == self._running or now - self._newest[model] <= TRUSTED

    def answer(self, model: str, ahead: Mapping[str, int], waiting: int, *, now: float) -> float:
        """Seconds until a new question would be answered.

        Args:
            model: the one asked.
            ahead: items of each model that come first; they run in batches, the new one with the last of its own.
            waiting: items that wait in all; what would fill a batch is counted to the new one's.
            now: monotonic seconds.
        """
        full, rest = divmod(ahead.get(model, 0), self._most[model])
        last = self._most[model] if waiting >= self._most[model] else rest + 1
        seconds = max(0.0, self._ends - now)
        seconds += self._in_full(model, full, now) + self.run(model, last, now=now)
        for other, count in ahead.items():
            if other != model:
                full, rest = divmod(count, self._most[other])
                seconds += self._in_full(other, full, now) + (self.run(other, rest, now=now) if rest else 0.0)
        return seconds

    def _in_full(self, model: str, batches: int, now: float) -> float:
        return batches * self.run(model, self._most[model], now=now) if batches else 0.0
