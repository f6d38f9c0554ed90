"""Which ways get nothing through, and whether any does. Pure: `now` is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.link import Estimate, Leg
    from bridge.link.events import Protocol

SETTLE = 0.15  # seconds, or two round trips, after an outage in which each way may be heard before one is left
OUTAGE = 2.0  # seconds of silence on all ways that count as no way at all

Heard: TypeAlias = Literal["no news", "one again", "first of all"]


class Silence:
    """What was heard of all ways.

    Args:
        ways: there are.

    Attributes:
        deaf: ways that get nothing through.
        through: some way does, or did a moment ago.
    """

    def __init__(self, ways: Iterable[Protocol]) -> None:
        self._ways = frozenset(ways)
        self._settled = float("-inf")
        self.deaf: frozenset[Protocol] = frozenset()
        self.through = True

    def look(self, now: float, estimate: Estimate) -> Heard:
        """Whether one of the ways is heard again, or the first after an outage of all of them."""
        before, self.deaf = self.deaf, frozenset(name for name in self._ways if is_deaf(estimate.leg(name)))
        if not before - self.deaf:
            return "no news"
        if before != self._ways:
            return "one again"
        self._settled = now + max(SETTLE, 2 * max(estimate.leg(name).rtt for name in self._ways))
        return "first of all"

    def is_settled(self, now: float) -> bool:
        """After an outage of all ways, the others may only be heard a little later."""
        return now >= self._settled

    def lost(self, estimate: Estimate) -> float | None:
        """Seconds of silence, if nothing gets through any more; told once."""
        silent = max(estimate.leg(name).silent for name in self._ways)
        if not self.through or self.deaf != self._ways or silent < OUTAGE:
            return None
        self.through = False
        return silent

    def found(self) -> bool:
        """Whether something gets through again; told once."""
        if self.through or self.deaf == self._ways:
            return False
        self.through = True
        return True


def is_deaf(leg: Leg) -> bool:
    """Nothing gets through there."""
    return not leg.up or leg.out
