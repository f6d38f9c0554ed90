"""Time that survives its clock: suspended machines, stepped clocks, events told out of order."""

from __future__ import annotations

import math

BACK = 1.0  # seconds that events may come out of order; further back, the clock was set
AHEAD = 60.0  # seconds without an event; beyond, the machine slept or the clock was set
NO_TIME = 1e12  # seconds; what lies beyond is no reading of a clock


class Timeline:
    """Local seconds from 0, whatever the clock says.

    Attributes:
        now: the latest local time.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._offset: float | None = None

    def read(self, at: float) -> tuple[float, bool]:
        """Local seconds of a clock reading, and whether the clock jumped, so that no duration across it means anything.

        After a jump back time goes on from where it was; a jump ahead counts `AHEAD` seconds.
        """
        if not abs(at) <= NO_TIME:  # NaN too
            return self.now, False
        if self._offset is None:
            self._offset = -at
        local = at + self._offset
        jumped = not -BACK <= local - self.now <= AHEAD
        if jumped:
            local = self.now + (AHEAD if local > self.now else 0.0)
            self._offset = local - at
        self.now = max(self.now, local)
        return local, jumped


def seconds(value: float, most: float = 60.0) -> float:
    """A duration that can be reckoned with: 0…most; NaN counts as `most`."""
    return most if math.isnan(value) else min(max(value, 0.0), most)
