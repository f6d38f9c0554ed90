"""Circuit breaker: an agent that does not answer is left alone for a while. No clock: `now` is an argument.

::

    CLOSED ──failures in a row──▶ OPEN ──rest over──▶ HALF-OPEN ──answer──▶ CLOSED
                                    ▲                     │
                                    └──────failure────────┘  and a longer rest
"""

from __future__ import annotations


class Breaker:
    """Counts answers and silences.

    Args:
        failures: silences in a row that open it.
        rest: seconds for which it stays open first; each failure while half-open doubles them.
        longest: seconds up to which they double.
    """

    def __init__(self, *, failures: int = 5, rest: float = 1.0, longest: float = 5.0) -> None:
        self._limit = failures
        self._first = rest
        self._longest = max(rest, longest)
        self._rest = rest
        self._failures = 0
        self._opened: float | None = None
        self._probed: float | None = None

    @property
    def open(self) -> bool:
        """Open or half-open: the last that was known of the agent is its silence."""
        return self._opened is not None

    @property
    def rest(self) -> float:
        """Seconds for which it stays open, counted from the last silence."""
        return self._rest

    def allows(self, now: float) -> bool:
        """Whether the agent may be asked now; while half-open, one question at a time.

        A question whose end is never told, because it never left, holds up the next one for a rest, not for ever.
        """
        if self._opened is None:
            return True
        since = self._opened if self._probed is None else self._probed
        return now - since >= self._rest

    def asked(self, now: float) -> None:
        """A question leaves."""
        if self._opened is not None and now - self._opened >= self._rest:
            self._probed = now

    def answered(self) -> None:
        """An answer came in time."""
        self._failures = 0
        self._rest = self._first
        self._opened = None
        self._probed = None

    def silent(self, now: float) -> bool:
        """No answer came in time; whether that opened it, or it was the probe and a longer rest begins."""
        self._failures += 1
        if self._failures < self._limit or (self._opened is not None and self._probed is None):
            return False
        if self._probed is not None:
            self._rest = min(self._longest, 2 * self._rest)
        self._probed = None
        self._opened = now
        return True
