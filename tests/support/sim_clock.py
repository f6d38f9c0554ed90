"""An event loop's clock and timers without time: `run` jumps from one to the next."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class SimTimer:
    """As `asyncio.TimerHandle`."""

    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self._when = when
        self.callback: Callable[[], object] | None = callback

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        self.callback = None


class SimClock:
    """`time` and `call_at` as an event loop has them; starts at 1,000 s."""

    def __init__(self) -> None:
        self._now = 1_000.0
        self._order = itertools.count()
        self._due: list[tuple[float, int, SimTimer]] = []

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[[], object], /) -> SimTimer:
        timer = SimTimer(when, callback)
        heapq.heappush(self._due, (when, next(self._order), timer))
        return timer

    def run(self, seconds: float = 1e6) -> None:
        """Everything that is due within so many seconds, in order."""
        until = self._now + seconds
        while self._due and self._due[0][0] <= until:
            when, _, timer = heapq.heappop(self._due)
            self._now = max(self._now, when)
            if timer.callback is not None:
                timer.callback()
        self._now = until
