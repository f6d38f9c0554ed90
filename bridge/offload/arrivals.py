"""How often questions come, in steps that noise does not take. No clock: `now` is an argument."""

from __future__ import annotations

import math
from typing import Final

MEMORY: Final = 3.0  # seconds after which an arrival weighs 1/e
HALF: Final = 0.9  # powers of two from a step to where the next one begins: neighbours overlap by 0.8
LEAST: Final = 0.25  # a second; nothing is slower


class Rate:
    """Arrivals a second, exponentially forgotten, without the bias of the beginning."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._at = self._since = -math.inf

    def took(self, now: float, count: int) -> None:
        """So many came at `now`, monotonic seconds."""
        if self._at == -math.inf:
            self._since = now
        self._sum = self._sum * self._kept(now) + count
        self._at = max(self._at, now)

    def at(self, now: float) -> float:
        """A second, at least `LEAST`; the first second counts as a whole one."""
        seen = max(now - self._since, 1.0)
        return max(LEAST, self._sum * self._kept(now) / (MEMORY * -math.expm1(-seen / MEMORY)))

    def _kept(self, now: float) -> float:
        return math.exp(-max(0.0, now - self._at) / MEMORY) if self._sum else 0.0


class Step:
    """A quantity as a power of two; it moves when the quantity is well beyond.

    Attributes:
        value: the power; 0 before the first.
    """

    def __init__(self) -> None:
        self.value = 0.0

    def take(self, quantity: float) -> bool:
        """Whether the step is another one for this quantity, above 0."""
        if self.value and abs(math.log2(quantity / self.value)) <= HALF:
            return False
        self.value = 2.0 ** round(math.log2(quantity))
        return True
