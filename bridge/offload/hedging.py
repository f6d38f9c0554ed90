"""When a question is put to a second agent, and how often that may be. No clock: time is an argument.

Hedged requests are those of Dean and Barroso, "The Tail at Scale" (2013): a second copy only for what is late already,
and so few of them that they cannot become a load of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.place.cost import Prediction

DEVIATIONS = 4.0  # an answer so many spreads after its expected time is late (RFC 6298: K = 4)
LEAST = 0.02  # seconds; on a fast path answers spread less than the machines' own pauses


class Budget:
    """A token bucket: each question brings a share of a token, each second copy takes a whole one.

    So of n questions at most `share` · n + `burst` have a second copy.

    Args:
        share: of the questions that may be put to a second agent, 0…1; 0: none.
        burst: second copies at once after a quiet time.
    """

    def __init__(self, share: float, burst: float = 8.0) -> None:
        self._share = share
        self._most = burst if share > 0 else 0.0
        self._tokens = self._most

    def asked(self) -> None:
        """A question leaves."""
        self._tokens = min(self._most, self._tokens + self._share)

    def spend(self) -> bool:
        """Take the token of a second copy; whether there was one."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def overdue(prediction: Prediction, patience: float) -> float:
    """Seconds after which a question without an answer is late.

    Args:
        prediction: what was expected of the agent when it was asked.
        patience: seconds for which an answer helps.

    Returns:
        Half the patience, or `DEVIATIONS` spreads after the expected time where that is sooner, yet not before `LEAST`.
    """
    half = patience / 2
    if not prediction.samples:
        return half
    return min(half, max(LEAST, prediction.seconds + DEVIATIONS * prediction.spread))
