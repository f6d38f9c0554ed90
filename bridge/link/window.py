"""Extremes and median of the last seconds, in bounded memory."""

from __future__ import annotations

from collections import deque


class Window:
    """Samples of the last `span` seconds before the newest, and never fewer than the last `least` slots.

    Samples that came within `width` seconds share a slot, so that neither a fast stream nor a bunch of answers that
    one loss held back outvotes the rest: the median is over slots.

    Args:
        span: seconds.
        width: seconds.
        least: slots.
    """

    def __init__(self, span: float, width: float, least: int = 5) -> None:
        self._span, self._width, self._least = span, width, least
        self._slots: deque[list[float]] = deque(maxlen=max(least, int(span / width) + 1))
        self._median: float | None = None

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, at: float, value: float) -> None:
        """Takes one sample; `at` before the newest counts into the newest slot."""
        slots = self._slots
        self._median = None
        if slots and at - slots[-1][0] < self._width:
            slot = slots[-1]
            slot[1] = min(slot[1], value)
            slot[2] = max(slot[2], value)
            slot[3] += value
            slot[4] += 1
            return
        slots.append([at, value, value, value, 1])
        while len(slots) > self._least and at - slots[0][0] > self._span:
            slots.popleft()

    def clear(self) -> None:
        """Forgets all."""
        self._slots.clear()
        self._median = None

    @property
    def minimum(self) -> float:
        """The least sample; the window must not be empty."""
        return min(slot[1] for slot in self._slots)

    @property
    def maximum(self) -> float:
        """The greatest sample; the window must not be empty."""
        return max(slot[2] for slot in self._slots)

    @property
    def median(self) -> float:
        """Upper median of the slots' means; the window must not be empty."""
        if self._median is None:
            means = sorted(slot[3] / slot[4] for slot in self._slots)
            self._median = means[len(means) // 2]
        return self._median
