"""Circuit breaker: a cloud that does not answer is left alone for a while. No clock: `now` is an argument.

::

    CLOSED ──failures in a row──▶ OPEN ──rest over──▶ HALF-OPEN ──answer──▶ CLOSED
                                    ▲                     │
                                    └──────failure────────┘
"""

from __future__ import annotations


class Breaker:
    """Counts answers and silences.

    Args:
        failures: silences in a row that open it.
        rest: seconds for which it stays open.
    """

    def __init__(self, *, failures: int = 5, rest: float = 5.0) -> None:
        self._limit = failures
        self._rest = rest
        self._failures = 0
        self._opened: float | None = None
        self._probed: float | None = None

    def allows(self, now: float) -> bool:
        """Whether the cloud may be asked now; while half-open, one question at a time.

        A question whose end is never told, because it never left, holds up the next one for a rest, not for ever.
        """
        if self._opened is None:
            return True
        since = self._opened if self._probed is None else self._probed
        return now - since >= self._rest

    @property
    def open(self) -> bool:
        """Open or half-open: the last that was known of the cloud is its silence."""
        return self._opened is not None

    def asked(self, now: float) -> None:
        """A question leaves."""
        if self._opened is not None and now - self._opened >= self._rest:
            self._probed = now

    def answered(self) -> None:
        """An answer came in time."""
        self._failures = 0
        self._opened = None
        self._probed = None

    def silent(self, now: float) -> None:
        """No answer came in time."""
        self._failures += 1
        self._probed = None
        if self._failures >= self._limit:
            self._opened = now
