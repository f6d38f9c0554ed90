"""How old rows are, whatever becomes of the wall clock. Pure: times are given.

While the program runs, age is what the monotonic clock counts, so that a wall clock set forward by days drops nothing
and one set back keeps nothing for longer. Across a restart there is only the wall clock: the pause counts, but never
less than nothing, and never more than half of the greatest age, so that a clock that came up wrong cannot drop all.
"""

from __future__ import annotations

import msgspec


class Moment(msgspec.Struct, frozen=True):
    """One moment by two clocks: the age clock, and seconds since 1970 by the wall clock."""

    age: float
    wall: float


class AgeClock:
    """A clock for ages: near seconds since 1970, as long as nobody sets the wall clock.

    Args:
        saved: the last moment noted before the restart, if any.
        wall: seconds since 1970.
        mono: monotonic seconds.
        most: the longest pause that counts, seconds; None: any.
    """

    def __init__(self, saved: Moment | None, *, wall: float, mono: float, most: float | None) -> None:
        self._mono = mono
        self._age = wall
        if saved is not None:
            pause = max(0.0, wall - saved.wall)
            self._age = saved.age + (pause if most is None else min(pause, most))

    def at(self, mono: float) -> float:
        """Seconds on this clock."""
        return self._age + max(0.0, mono - self._mono)
