"""What a sender may send beyond what its timers ask for: earned by what went well, and bounded. Pure."""

from __future__ import annotations


class Budget:
    """So many datagrams, for one purpose and one destination.

    Args:
        income: datagrams earned each time.
        most: that may be saved up; what they cause at worst, all at once.
    """

    __slots__ = ("_income", "_left", "_most")

    def __init__(self, income: float, most: float) -> None:
        self._income, self._most = income, most
        self._left = 0.0

    @property
    def is_left(self) -> bool:
        """Whether there is enough for one datagram."""
        return self._left >= 1

    def earn(self) -> None:
        """Add the income, up to the most."""
        self._left = min(self._left + self._income, self._most)

    def spend(self) -> bool:
        """Take one datagram; whether there was one."""
        enough = self.is_left
        self._left -= enough
        return enough

    def forfeit(self) -> None:
        """Lose what was saved up."""
        self._left = 0.0
