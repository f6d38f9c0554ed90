"""How much work waits at a cloud agent: what its last reply told, what was asked since, what it has done meanwhile."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right

from bridge.link.smoothing import ALPHA

REMEMBERED = 512  # times of asking
STALE = 30.0  # seconds; what was told longer ago says nothing
MOST = 60.0  # seconds
TOGETHER = 0.002  # seconds; asked as if in one message
NEAR = 0.005  # seconds between a question's time and the time reckoned from its answer


class Backlog:
    """Seconds of work before a question, by local time of its asking.

    An agent that told of q windows in a reply was seen, on the way there and back, one network time ago; its queue then
    drains by a second a second and grows by each window asked (Lindley 1952).
    """

    __slots__ = ("_at", "_before", "_ended", "_service", "_times", "_told", "_total", "_waits", "_work")

    def __init__(self) -> None:
        self._service = 0.0  # seconds a window
        self._work = 0.0  # seconds, at self._at
        self._at = 0.0
        self._told = 0.0
        self._times: list[float] = []  # of asking
        self._waits: list[float] = []  # predicted then, on average over its windows
        self._before: list[int] = []  # windows asked before
        self._total = 0
        self._ended = -math.inf  # when the latest question was asked whose end is known

    def wait(self, now: float, windows: int = 0) -> float:
        """Seconds that a question asked now waits, behind `windows` more."""
        work = self._work + windows * self._service - (now - self._at)
        if work <= 0.0 or now - self._told > STALE:
            return 0.0
        return min(work, MOST)

    def asked(self, now: float, windows: int) -> None:
        """Windows leave for the agent."""
        times = self._times
        if times and now < times[-1]:
            now = times[-1]  # told out of order
        wait, work = self.wait(now), windows * self._service
        self._work = min(wait + work, MOST)
        self._at = now
        if times and now - times[-1] <= TOGETHER:
            self._waits[-1] += work / 2
        else:
            times.append(now)
            self._waits.append(wait + max(0.0, work - self._service) / 2)
            self._before.append(self._total)
        self._total += windows
        if len(times) >= 2 * REMEMBERED:
            del times[:REMEMBERED], self._waits[:REMEMBERED], self._before[:REMEMBERED]

    def overdue(self, now: float, usual: float) -> tuple[float, int]:
        """Since when no end of a question is known though it should be.

        Args:
            now: local seconds.
            usual: seconds within which an answer comes, without its wait.

        Returns:
            Seconds beyond what is usual since the first question after all whose end is known; and how many messages
            are late like it.
        """
        times = self._times
        first = bisect_right(times, self._ended + NEAR)
        if first == len(times):
            return 0.0, 0
        due = usual + self._waits[first]
        late = now - times[first] - due
        if not 0.0 < late < STALE:
            return 0.0, 0
        return late, bisect_right(times, now - due) - first

    def ended(self, asked: float) -> float | None:
        """A question asked then was answered or given up.

        Returns:
            The wait that was predicted for it; None if nobody remembers.
        """
        self._ended = max(self._ended, asked)
        found = bisect_left(self._times, asked - NEAR)
        if found < len(self._times) and self._times[found] <= asked + NEAR:
            return self._waits[found]
        return None

    def told(self, now: float, *, network: float, queue: int, run: float, batch: int) -> None:
        """A reply said how many windows waited when it left, and how long a batch of how many ran."""
        each = run / batch
        self._service += ALPHA * (each - self._service) if self._service else each
        since = bisect_left(self._times, now - network)
        asked = self._total - self._before[since] if since < len(self._times) else 0
        self._work = min(max(0.0, (queue + asked) * self._service - network), MOST)
        self._at = self._told = now

    def jumped(self) -> None:
        """The clock was set: no time remembered means anything."""
        self._work, self._ended = 0.0, -math.inf
        self._times.clear()
        self._waits.clear()
        self._before.clear()
