"""How fast the backlog may go: as fast as live messages do not notice. Pure: `now` is given.

The signal is the live messages' own time from being sent to being safe. What is normal is learned from those
sent when there is no backlog, or while it holds its breath, one second in ten: their 95th percentile over the last 128.
(Not from all that happened to meet no message of the backlog: slow ones meet more.) As long as there is a backlog,
each live message that is safe within 1.05 times that, and a tenth of the time that its rows waited for it to fill,
raises its rate by 1.9 %, each that is later cuts it to 70 %: what counts is a reading's age, not a message's. The
two balance where one live message in 20 is late (p · ln(1 / 0.7) = (1 - p) · ln 1.019: the weighted up-down method of
Kaernbach 1991), so that the 95th percentile of all live readings stays near 1.05 of the normal one, or 1.1. As LEDBAT
(RFC 6817) it gives way to whatever else uses the path, without being told of it.
"""

from __future__ import annotations

from collections import deque

LATE = 1.05  # times the normal 95th percentile
SLACK = 0.1  # of the time that a row waits for its message to fill
RAISE, CUT = 1.019, 0.7
START, LEAST, MOST = 10.0, 1.0, 2_000.0  # messages a second
LEARNED = 20  # samples that make a normal
PERIOD, FIRST = 10.0, 2.0  # seconds between two breaths, and as long as nothing is learned
BREATH = 1.0  # seconds
LAG = 0.02  # seconds that a timer may be late by without costing rate
QUIET = 1.0  # seconds without a live message after which the backlog's own progress raises its rate
SPEED_UP = 1.2  # by so much a message: nobody is there to notice, and the way has its own congestion control


class Pace:
    """One for all series of an agent.

    Attributes:
        rate: messages a second.
    """

    def __init__(self) -> None:
        self.rate = START
        self._normal: deque[float] = deque(maxlen=128)
        self._limit: float | None = None
        self._next = float("-inf")
        self._under_way = 0
        self._live = float("-inf")  # when the last live message was safe
        self._quiet = (float("-inf"), float("-inf"))  # the last breath, without what was still on its way

    def begin(self) -> None:
        """A new backlog: nothing is known of how much the path takes now."""
        self.rate = START

    def room(self, now: float, window: int) -> bool:
        """Whether a message of the backlog may be sent now.

        Args:
            now: monotonic seconds.
            window: most messages under way at once, of which the backlog takes a quarter.
        """
        return self._under_way < max(1, window // 4) and now >= self.next()

    def next(self) -> float:
        """Monotonic seconds before which nothing may be sent."""
        return max(self._next, self._quiet[1])

    def sent(self, now: float) -> None:
        """A message of the backlog is under way."""
        self._under_way += 1
        self._next = max(self._next, now - LAG) + 1 / self.rate
        every = FIRST if self._limit is None else PERIOD
        if now - self._live < QUIET and now - self._quiet[1] > every:
            self._quiet = (now, now + BREATH)

    def landed(self) -> None:
        """A message of the backlog was acknowledged, or given up for now."""
        self._under_way -= 1

    def safe(self, now: float) -> None:
        """A message of the backlog is safe."""
        if now < self._quiet[1]:
            self._quiet = (now, self._quiet[1])
        if now - self._live > QUIET:
            self._raise(SPEED_UP)

    def live(self, sent: float, now: float, *, backlog: bool, fill: float = 0.0) -> None:
        """A live message is safe.

        Args:
            sent: monotonic seconds at which it was sent, for the first time.
            now: monotonic seconds.
            backlog: there is one.
            fill: seconds that its first row waited for it to fill.
        """
        self._live = now
        if backlog and self._limit is not None:
            if now - sent <= self._limit + SLACK * fill:
                self._raise()
            else:
                self.rate = max(LEAST, self.rate * CUT)
        if not backlog or self._quiet[0] < sent < self._quiet[1]:
            self._normal.append(now - sent)
            if len(self._normal) >= LEARNED:
                self._limit = LATE * sorted(self._normal)[int(0.95 * len(self._normal))]

    def _raise(self, by: float = RAISE) -> None:
        self.rate = min(MOST, self.rate * by)
