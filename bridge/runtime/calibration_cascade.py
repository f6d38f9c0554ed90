"""What escalating gets and costs, and the threshold that a declared target asks for. numpy alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from bridge.runtime.calibration import correct
from bridge.runtime.calibration_measures import certainty, curve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bridge.runtime.calibration_measures import Measure

_TARGET: Final = re.compile(r"\s*(up|cloud)\s*([<>])=\s*([0-9]*\.?[0-9]+)\s*")
_STEPS: Final = 100  # shares tried: finer ones would fit single windows
FOR_EVERY_WINDOW: Final = 1.0  # no certainty is above it


@dataclass(frozen=True, slots=True)
class Target:
    """What the owner wants of escalating.

    Attributes:
        kind: "up": at most this share of windows is sent up, as right as that allows; "cloud": at least this share of
            the accuracy of the variant escalated to, with as few windows sent up as that allows.
        value: 0…1.
    """

    kind: Literal["up", "cloud"]
    value: float

    def __str__(self) -> str:
        return f"{self.kind}{'<=' if self.kind == 'up' else '>='}{f'{self.value:.6f}'.rstrip('0').rstrip('.')}"


def parse(text: str) -> Target:
    """Read "up<=0.2" or "cloud>=0.98".

    Raises:
        ValueError: it is neither; says what there is.
    """
    found = _TARGET.fullmatch(text)
    if found is not None and 0.0 <= float(found[3]) <= 1.0:
        if found[1] == "up" and found[2] == "<":
            return Target("up", float(found[3]))
        if found[1] == "cloud" and found[2] == ">":
            return Target("cloud", float(found[3]))
    raise ValueError(
        f"{text!r} is no target; there are up<=0.2 (at most that share of windows is sent up) and cloud>=0.98 (at "
        "least that share of the cloud's accuracy), with a number from 0 to 1"
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a cascade costs and gets: share of windows escalated and share right, 0…1."""

    share: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Pair:
    """A variant and the one that it escalates to, on the same labelled windows.

    Attributes:
        sure: n certainties of the small variant, by `measure`.
        small: whether it is right.
        big: whether the other one is.
    """

    sure: NDArray[np.float64]
    small: NDArray[np.bool_]
    big: NDArray[np.bool_]

    def outcome(self, below: float) -> Outcome:
        """What becomes of the windows with that threshold."""
        escalated = self.sure < below
        return Outcome(float(escalated.mean()), float(np.where(escalated, self.big, self.small).mean()))

    def curve(self) -> NDArray[np.float64]:
        """Share escalated and accuracy, 101 × 2; see `calibration_measures.curve`."""
        return curve(self.sure, self.small, self.big)

    def part(self, chosen: NDArray[np.bool_]) -> Pair:
        """Some of the windows."""
        return Pair(self.sure[chosen], self.small[chosen], self.big[chosen])


def pair(
    small: NDArray[np.float32],
    big: NDArray[np.float32],
    y: NDArray[np.int64],
    temperature: float,
    measure: Measure = "max",
) -> Pair:
    """Put two variants' n × labels logits side by side."""
    return Pair(certainty(small, temperature, measure), correct(small, y), correct(big, y))


def threshold_for_share(sure: NDArray[np.float64], share: float) -> float:
    """Return the certainty under which `share` of these windows fall, rounded down to 4 digits."""
    if share >= 1.0:
        return FOR_EVERY_WINDOW
    ordered = np.sort(sure)
    return float(np.floor(ordered[round(share * (len(ordered) - 1))] * 1e4) / 1e4)


def threshold(windows: Pair, target: Target) -> float:
    """Return the certainty below which windows are escalated.

    It is one of those that escalate 0, 1, 2 … 100 percent. "up": of those that keep to the target, the one with which
    the cascade is right most often; of several, the one that escalates least. "cloud": of those that reach the target,
    the one that escalates least; where none does, the one that is right most often.
    """
    shares = np.arange(1, _STEPS + 1) / _STEPS
    candidates = [0.0, *(threshold_for_share(windows.sure, share) for share in shares)]
    outcomes = {below: windows.outcome(below) for below in candidates}
    if target.kind == "up":
        outcomes = {below: outcome for below, outcome in outcomes.items() if outcome.share <= target.value + 1e-9}
    else:
        wanted = target.value * float(windows.big.mean())
        reached = [below for below, outcome in outcomes.items() if outcome.accuracy >= wanted - 1e-12]
        if reached:
            return min(reached)
    return max(outcomes, key=lambda below: (outcomes[below].accuracy, -below))
