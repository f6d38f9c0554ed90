"""When to try again: exponential back-off with jitter, so that a thousand gateways do not return in step."""

from __future__ import annotations


class Backoff:
    """Delays between attempts. Pure: randomness comes in as an argument.

    The n-th failure in a row waits for `first` × 2ⁿ⁻¹ s, at most `longest`, times a jitter from ½ to 1
    ("equal jitter", Brooker, AWS Architecture Blog 2015).
    """

    def __init__(self, *, first: float = 0.25, longest: float = 15.0) -> None:
        self._first = first
        self._longest = longest
        self.failures = 0

    def failed(self, dice: float) -> float:
        """Count a failure.

        Args:
            dice: uniform random number in [0, 1).

        Returns:
            Seconds to wait before the next attempt.
        """
        delay = min(self._longest, self._first * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return delay * (0.5 + dice / 2)

    def succeeded(self) -> None:
        """Start anew."""
        self.failures = 0
