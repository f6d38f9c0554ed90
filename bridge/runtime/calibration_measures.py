"""How sure a window is, measured three ways, and which of them sends up the right windows. numpy alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from bridge.runtime.calibration import correct, softmax

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Measure = Literal["max", "margin", "entropy"]

MEASURES: Final[tuple[Measure, ...]] = ("max", "margin", "entropy")
BLOCKS: Final = 10  # stand in for subjects where those are not known: neighbouring windows resemble each other
POINTS: Final = 101  # of an escalation curve
_CLEAR: Final = 2.0  # standard errors by which another measure must be better than the largest probability


def certainty(logits: NDArray[np.float32], temperature: float, measure: Measure = "max") -> NDArray[np.float64]:
    """Return how sure each window is, 0…1.

    Args:
        logits: n × labels.
        temperature: of the variant.
        measure: "max": the largest probability; "margin": its lead over the second; "entropy": 1 less Shannon's
            entropy over that of the uniform distribution.
    """
    shares = softmax(logits, temperature)
    if measure == "max":
        return np.asarray(shares.max(axis=1))
    if measure == "margin":
        two = np.partition(shares, -2, axis=1)[:, -2:]
        return np.asarray(two[:, 1] - two[:, 0])
    surprise = np.where(shares > 0.0, -shares * np.log(np.maximum(shares, 1e-300)), 0.0)
    return np.asarray(1.0 - surprise.sum(axis=1) / np.log(shares.shape[1]))


def curve(sure: NDArray[np.float64], small: NDArray[np.bool_], big: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the escalation curve, 101 × 2: share escalated and accuracy, the least certain windows escalated first.

    Args:
        sure: n certainties of the small variant.
        small: whether it is right.
        big: whether the variant escalated to is right.
    """
    order = np.argsort(sure, kind="stable")
    # right with the first k escalated = big's among them + small's among the rest
    gained = np.concatenate([[0], np.cumsum(big[order].astype(int) - small[order].astype(int))])
    cuts = np.round(np.linspace(0, 1, POINTS) * len(sure)).astype(int)
    return np.column_stack([cuts / len(sure), (small.sum() + gained[cuts]) / len(sure)])


def area(points: NDArray[np.float64]) -> float:
    """Return the area under an escalation curve: accuracy on average over all shares escalated, 0…1."""
    return float(np.trapezoid(points[:, 1], points[:, 0]))


@dataclass(frozen=True, slots=True)
class Compared:
    """One measure beside the largest probability.

    Attributes:
        measure: which.
        area: under its escalation curve, 0…1.
        ahead: how much more that is than with the largest probability.
        error: standard error of `ahead`, from leaving out one subject at a time (jackknife).
    """

    measure: Measure
    area: float
    ahead: float
    error: float


def compare(
    small: NDArray[np.float32],
    big: NDArray[np.float32],
    y: NDArray[np.int64],
    temperature: float,
    groups: NDArray[np.int64],
) -> tuple[Compared, ...]:
    """Compare the measures on the same windows.

    Args:
        small: n × labels logits of the variant that escalates.
        big: those of the variant escalated to.
        y: the true classes.
        temperature: of the small variant.
        groups: whose each window is; windows of one group are left out together.

    Returns:
        One entry a measure, in the order of `MEASURES`.
    """
    right, rescued = correct(small, y), correct(big, y)
    sure = {measure: certainty(small, temperature, measure) for measure in MEASURES}
    names = np.unique(groups)
    keep = [groups != name for name in names] if len(names) > 1 else []
    whole = {m: area(curve(sure[m], right, rescued)) for m in MEASURES}
    parts = {m: np.array([area(curve(sure[m][k], right[k], rescued[k])) for k in keep]) for m in MEASURES}
    return tuple(Compared(m, whole[m], whole[m] - whole["max"], _jackknife(parts[m] - parts["max"])) for m in MEASURES)


def blocks(count: int) -> NDArray[np.int64]:
    """Return groups of neighbours for windows of which nobody knows whose they are."""
    return np.arange(count, dtype=np.int64) * min(BLOCKS, count) // max(1, count)


def best(compared: Sequence[Compared]) -> Measure:
    """Return the measure of the largest area; "max" unless another is ahead by more than two standard errors."""
    clear = [one for one in compared if one.measure != "max" and one.ahead > _CLEAR * one.error]
    return max(clear, key=lambda one: one.area).measure if clear else "max"


def _jackknife(left_out: NDArray[np.float64]) -> float:
    """Return the standard error of an estimate from its values with one group left out (Efron, Tibshirani 1993)."""
    count = len(left_out)
    if count < 2:
        return float("inf")
    return float(np.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum()))
