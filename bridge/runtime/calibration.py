"""What logits are worth: softmax with a temperature, its fit, and the calibration error.

numpy alone, as in the other `calibration_*` modules that say so: the training of a model uses the same arithmetic from
an environment of its own, so that what it writes and what `models calibrate` finds are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS: Final = 15
_GRID: Final = np.geomspace(0.2, 5.0, 800)


def softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float64]:
    """Return n × labels probabilities of n × labels logits divided by `temperature`."""
    scaled = logits.astype(np.float64) / temperature
    raised = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def correct(logits: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each window whether the largest logit is that of its class."""
    return np.asarray(logits.argmax(axis=1) == y)


def accuracy(logits: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    """Return the share of windows that are right, 0…1."""
    return float(correct(logits, y).mean())


def fit_temperature(logits: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    """Return the temperature of least negative log-likelihood (Guo et al. 2017, arXiv:1706.04599), 4 digits.

    A grid in log space from 0.2 to 5 in steps of 0.4 % is fine enough and cannot fail to converge.

    Args:
        logits: n × labels, of windows that the model was not trained on.
        y: n columns, the true classes.
    """
    rows = np.arange(len(y))
    loss = [-np.log(np.maximum(softmax(logits, t)[rows, y], 1e-12)).mean() for t in _GRID]
    return round(float(_GRID[int(np.argmin(loss))]), 4)


@dataclass(frozen=True, slots=True)
class Reliability:
    """Stated against true certainty in bins of equal mass.

    Attributes:
        confidence: mean largest probability per bin.
        accuracy: share right per bin.
        error: expected calibration error: mean over windows of the bins' gaps.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    error: float


def reliability(logits: NDArray[np.float32], y: NDArray[np.int64], temperature: float) -> Reliability:
    """Measure how far n × labels logits, divided by `temperature`, can be believed; see `stated_and_true`."""
    return stated_and_true(softmax(logits, temperature).max(axis=1), correct(logits, y))


def stated_and_true(confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """Measure calibration in bins of equal mass (Nguyen & O'Connor 2015), fewer where there are fewer windows.

    Args:
        confidence: n stated certainties, 0…1.
        right: n, whether the answer was.
        bins: how many.
    """
    groups = np.array_split(np.argsort(confidence, kind="stable"), min(bins, len(right)))
    stated = np.array([confidence[group].mean() for group in groups])
    true = np.array([right[group].mean() for group in groups])
    mass = np.array([len(group) for group in groups]) / len(right)
    return Reliability(stated, true, float((mass * np.abs(stated - true)).sum()))
