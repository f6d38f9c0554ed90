"""Seconds a byte on the way to the cloud, from questions of different sizes."""

from __future__ import annotations

MEMORY = 31 / 32  # of a difference's weight that is left when the next one has come
LEAST = 6.0  # differences' worth
CLEAR = 9.0  # squared standard errors that the slope must be from 0
SLOWEST = 1e-2  # seconds a byte


class Upload:
    """Least squares over differences of successive questions, which a step of the network touches only once.

    Attributes:
        slope: seconds a byte; 0 while sizes explain nothing.
    """

    __slots__ = ("_last", "_n", "_sxx", "_sxy", "_syy", "slope")

    def __init__(self) -> None:
        self.slope = 0.0
        self._last: tuple[float, float] | None = None
        self._n = self._sxx = self._sxy = self._syy = 0.0

    def sample(self, network: float, size: float) -> None:
        """A question of `size` bytes took `network` seconds to get there and back.

        The slope counts when it is three standard errors from 0.
        """
        last, self._last = self._last, (network, size)
        if last is None or last[1] == size:
            return
        longer, larger = network - last[0], size - last[1]
        self._n = MEMORY * self._n + 1.0
        self._sxx = MEMORY * self._sxx + larger * larger
        self._sxy = MEMORY * self._sxy + longer * larger
        self._syy = MEMORY * self._syy + longer * longer
        slope = self._sxy / self._sxx
        unexplained = max(0.0, self._syy - slope * self._sxy)
        known = slope > 0.0 and self._n >= LEAST and slope * self._sxy * self._n >= CLEAR * unexplained
        self.slope = min(slope, SLOWEST) if known else 0.0
