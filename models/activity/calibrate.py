"""What the logits are worth: temperature, calibration error, the cascade, and the rule that fixes its threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 15
MAX_SHARE = 0.15  # of out-of-fold windows: new people escalate more, and 18 % is the most that they may cost


def softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float64]:
    """Return N × C probabilities of N × C logits divided by `temperature`."""
    scaled = logits.astype(np.float64) / temperature
    raised = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def correct(logits: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each window whether the largest logit is that of its class."""
    return np.asarray(logits.argmax(axis=1) == y)


def accuracy(logits: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    """Return the share of windows that are right, 0–1."""
    return float(correct(logits, y).mean())


def confusion(logits: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the C × C counts, rows the true class, columns the answer."""
    counts = np.zeros((logits.shape[1], logits.shape[1]), dtype=np.int64)
    np.add.at(counts, (y, logits.argmax(axis=1)), 1)
    return counts


def recall_and_f1(counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return recall and F1 per class of a confusion matrix."""
    hits = np.diag(counts).astype(np.float64)
    recall = hits / np.maximum(counts.sum(axis=1), 1)
    f1 = 2 * hits / np.maximum(counts.sum(axis=1) + counts.sum(axis=0), 1)
    return recall, f1


def macro_f1(logits: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    """Return the unweighted mean of the classes' F1."""
    return float(recall_and_f1(confusion(logits, y))[1].mean())


def fit_temperature(logits: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    """Return the temperature of least negative log-likelihood (Guo et al. 2017, arXiv:1706.04599), 4 digits.

    A grid in log space from 0.2 to 5 in steps of 0.4 % is fine enough and cannot fail to converge.
    """
    grid = np.geomspace(0.2, 5.0, 800)
    rows = np.arange(len(y))
    loss = [-np.log(np.maximum(softmax(logits, t)[rows, y], 1e-12)).mean() for t in grid]
    return round(float(grid[int(np.argmin(loss))]), 4)


@dataclass(frozen=True, slots=True)
class Reliability:
    """Stated against true certainty in bins of equal mass.

    Attributes:
        confidence: Mean largest probability per bin.
        accuracy: Share right per bin.
        error: Expected calibration error: mean over windows of the bins' gaps.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    error: float


def reliability(logits: NDArray[np.float32], y: NDArray[np.int64], temperature: float) -> Reliability:
    """Measure calibration in 15 bins of equal mass."""
    confidence = softmax(logits, temperature).max(axis=1)
    right = correct(logits, y)
    bins = np.array_split(np.argsort(confidence, kind="stable"), BINS)
    stated = np.array([confidence[b].mean() for b in bins])
    true = np.array([right[b].mean() for b in bins])
    mass = np.array([len(b) for b in bins]) / len(y)
    return Reliability(stated, true, float((mass * np.abs(stated - true)).sum()))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a cascade costs and gets: share of windows escalated and share right, 0–1."""

    share: float
    accuracy: float


def cascade(
    small: NDArray[np.float32], big: NDArray[np.float32], y: NDArray[np.int64], temperature: float, below: float
) -> Outcome:
    """Let the small variant answer, and the big one wherever the small one's certainty is under `below`."""
    escalated = softmax(small, temperature).max(axis=1) < below
    right = np.where(escalated, correct(big, y), correct(small, y))
    return Outcome(float(escalated.mean()), float(right.mean()))


def threshold_for_share(small: NDArray[np.float32], temperature: float, share: float) -> float:
    """Return the certainty under which `share` of these windows fall, rounded down to 4 digits."""
    certainty = np.sort(softmax(small, temperature).max(axis=1))
    return float(np.floor(certainty[round(share * (len(certainty) - 1))] * 1e4) / 1e4)


def fix_threshold(
    small: NDArray[np.float32], big: NDArray[np.float32], y: NDArray[np.int64], temperature: float
) -> float:
    """Fix the threshold on out-of-fold logits of training subjects.

    Rule: of the thresholds that escalate 1, 2 … `MAX_SHARE` percent of these windows, the one with which the cascade is
    right most often; of several, the one that escalates least.
    """
    candidates = [threshold_for_share(small, temperature, p / 100) for p in range(1, round(MAX_SHARE * 100) + 1)]
    return max(candidates, key=lambda below: (cascade(small, big, y, temperature, below).accuracy, -below))


def curve(
    small: NDArray[np.float32], big: NDArray[np.float32], y: NDArray[np.int64], temperature: float
) -> NDArray[np.float64]:
    """Return 101 × 2 values: share escalated and accuracy, the least certain windows escalated first."""
    order = np.argsort(softmax(small, temperature).max(axis=1), kind="stable")
    small_right, big_right = correct(small, y)[order], correct(big, y)[order]
    points = []
    for percent in range(101):
        cut = round(percent / 100 * len(y))
        points.append((cut / len(y), float(np.concatenate([big_right[:cut], small_right[cut:]]).mean())))
    return np.array(points)
