"""How likely the cloud is right about a window of which the bridge is so certain: a measured curve."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Chances:
    """P(the cloud is right | the bridge's certainty), linear between measured points, level beyond them.

    Args:
        points: (certainty, chance) pairs, the manifest's `escalation`; of those with one certainty the last counts.
        default: the chance where there is no curve: the accuracy of the variant escalated to; 1.0 where that is unknown
            too, so that the threshold alone decides.
    """

    __slots__ = ("_certainties", "_chances", "_slopes")

    def __init__(self, points: Iterable[tuple[float, float]] = (), default: float = 1.0) -> None:
        known = sorted(dict(points).items()) or [(0.0, default)]
        self._certainties = [certainty for certainty, _ in known]
        self._chances = [chance for _, chance in known]
        self._slopes = [(right[1] - left[1]) / (right[0] - left[0]) for left, right in pairwise(known)]
        self._slopes.append(0.0)

    def cloud(self, certainty: float) -> float:
        """The chance that the cloud is right about a window of this certainty."""
        before = bisect_right(self._certainties, certainty) - 1
        if before < 0:
            return self._chances[0]
        return self._chances[before] + self._slopes[before] * (certainty - self._certainties[before])
