"""How old rows are, whatever becomes of the wall clock. Pure: times are given.

While the program runs, age is what the monotonic clock counts, so that a wall clock set forward by days drops nothing
and one set back keeps nothing for longer. Across a restart there is only the wall clock: the pause counts, but never
less than nothing, and never more than an allowance, so that a clock that came up wrong cannot drop all. What pauses
use of the allowance comes back only as the program runs, so several restarts add no more than one, but for that.

With an allowance of half the greatest age A, a row that is too old after t seconds of running has t + (pauses) ≥ A and
(pauses) ≤ A / 2 + t: none is too old before the program has run for A / 4 with it, and each is after A.
"""

from __future__ import annotations

import math
from typing import Self

import msgspec


class Moment(msgspec.Struct, frozen=True):
    """One moment by two clocks, and what a pause after it may count.

    Attributes:
        age: by the clock of ages.
        wall: seconds since 1970 by the wall clock; ∞: not known, so that the pause counts as nothing.
        allowance: most seconds that a pause from then on adds; None: as much as ever may.
    """

    age: float
    wall: float
    allowance: float | None = None

    @classmethod
    def unknown(cls, age: float) -> Self:
        """Nothing was noted, but what was kept is so old."""
        return cls(age, math.inf)

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The moment that `text` wrote, earlier versions without an allowance; None: these words are none."""
        try:
            found = cls(*map(float, text.split()))
        except (TypeError, ValueError):
            return None
        known = math.isfinite(found.age) and not math.isnan(found.wall)
        return found if known and (found.allowance is None or found.allowance >= 0.0) else None

    def text(self) -> str:
        """For `read`."""
        return " ".join(repr(one) for one in msgspec.structs.astuple(self) if one is not None)


class AgeClock:
    """A clock for ages: near seconds since 1970, as long as nobody sets the wall clock.

    Args:
        saved: the last moment noted before the restart, if any.
        wall: seconds since 1970.
        mono: monotonic seconds.
        most: seconds that pauses add, at most, until the program has run for as long again.
    """

    def __init__(self, saved: Moment | None, *, wall: float, mono: float, most: float) -> None:
        self._mono, self._most = mono, most
        self._age, self._allowance = wall, most
        if saved is not None:
            allowance = most if saved.allowance is None else min(saved.allowance, most)
            pause = min(max(0.0, wall - saved.wall), allowance)
            self._age, self._allowance = saved.age + pause, allowance - pause

    def at(self, mono: float) -> float:
        """Seconds on this clock."""
        return self._age + self._ran(mono)

    def moment(self, mono: float, wall: float) -> Moment:
        """What to note for the next start."""
        return Moment(self.at(mono), wall, min(self._most, self._allowance + self._ran(mono)))

    def _ran(self, mono: float) -> float:
        return max(0.0, mono - self._mono)
