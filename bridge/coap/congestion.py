"""How many datagrams may be in flight: less when a queue stands in the path, not when single datagrams get lost. Pure.

RFC 8085 section 3.1 asks a sender to react to congestion, and a lost datagram is its usual sign. On radio links it is
not: losses there come with the usual round trip. The sign taken here is the one CoDel uses (RFC 8289 section 3): the
*least* round trip of an interval. If even that is far above the path's own, a queue stands.
"""

from __future__ import annotations

from typing import NamedTuple

INITIAL = 4
"""Datagrams in flight at the start and after an outage (RFC 3390: about 4 kB)."""

FIRST = 10
"""Datagrams in flight before anything is known (RFC 6928). With 4, at 600 ms, the first second waits for room."""

LEAST = 2
"""Fewest: with one, each loss would hold up everything for a whole time-out."""

_QUEUE = 2.0  # times the path's own round trip
_MARGIN_S = 0.02  # below this a queue is nobody's trouble; a LAN's 1 ms may double
_CLEAR, _CLEAR_S = 1.1, 0.01  # times the path's own round trip, and seconds: nothing queues, but the peer commits
_SAMPLES = 4
_OURS = 0.75  # halving the window halves a queue of our own making; a round trip above this share is not ours


class _Before(NamedTuple):
    """How it was when the window was halved: the last round trip, and the window."""

    seconds: float
    size: float


class Window:
    """The congestion window of one destination, in datagrams.

    Slow start up to a threshold, then one more a round trip (RFC 5681 section 3.1), both only while the window is what
    holds datagrams back; halved while a queue stands. If halving does not shorten the round trip, the path itself has
    become longer: the window is given back and the longer round trip becomes the measure.
    """

    def __init__(self, most: int) -> None:
        """Set the bound.

        Args:
            most: the largest window, at least 1.
        """
        self._most = float(most)
        self._size = float(min(FIRST, most))
        self._threshold = self._most
        self._base = float("inf")
        self._low = float("inf")
        self._samples = 0
        self._flight = 0
        self._until: float | None = None
        self._before: _Before | None = None

    @property
    def size(self) -> int:
        """Datagrams that may be in flight."""
        return int(self._size)

    def is_clear(self, seconds: float) -> bool:
        """Whether no queue stands that a copy would make longer, to judge by the usual round trip."""
        return seconds <= _CLEAR * self._base + _CLEAR_S

    def answered(self, *, limited: bool) -> None:
        """A datagram was acknowledged.

        Args:
            limited: another waits for room.
        """
        if limited:
            step = 1.0 if self._size < self._threshold else 1.0 / self._size
            self._size = min(self._size + step, self._most)

    def sample(self, seconds: float, now: float, in_flight: int) -> None:
        """Take in one unambiguous round trip.

        Args:
            seconds: the round trip.
            now: seconds of a monotonic clock.
            in_flight: datagrams in flight when it ended, this one included.
        """
        self._base = min(self._base, seconds)
        self._low = min(self._low, seconds)
        self._samples += 1
        self._flight = max(self._flight, in_flight)
        if self._until is None:
            self._until = now + 2 * seconds
        elif now >= self._until and self._samples >= _SAMPLES:
            self._judge(seconds)
            self._low, self._samples, self._flight, self._until = float("inf"), 0, 0, now + 2 * seconds

    def stalled(self) -> None:
        """One time-out after the other, and nothing came back in time between them."""
        self._shrink(self._size, float(INITIAL))

    def restart(self) -> None:
        """The path carries again after an outage: nobody knows how much, and the time-outs said nothing of it."""
        self._size = min(float(INITIAL), self._most)
        self._rebase(float("inf"))

    def _judge(self, seconds: float) -> None:
        before, self._before = self._before, None
        if self._low <= _QUEUE * self._base + _MARGIN_S:
            return
        if self._flight <= INITIAL or (before is not None and self._low > _OURS * before.seconds):
            self._rebase(self._low)
            self._size = max(self._size, before.size if before else 0.0)
        else:
            self._before = _Before(seconds, self._size)
            self._shrink(min(self._size, self._flight), float(LEAST))

    def _rebase(self, base: float) -> None:
        """The path is another, or longer: what it holds is to be found out again."""
        self._base = base
        self._low, self._samples, self._flight, self._until = float("inf"), 0, 0, None
        self._before = None
        self._threshold = self._most

    def _shrink(self, size: float, least: float) -> None:
        self._size = min(max(size / 2, least), self._size)
        self._threshold = max(self._size, float(INITIAL))
