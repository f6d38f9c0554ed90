"""What the logits are worth, by the arithmetic of `inference-bridge models calibrate`, and how classifiers are judged.

The bridge's modules imported here need numpy alone, so that the training environment can have them too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[2]))  # the checkout, which is not installed where this trains

from bridge.runtime.calibration import BINS, accuracy, correct, fit_temperature, reliability, softmax
from bridge.runtime.calibration_cascade import Outcome, Target, pair, threshold
from bridge.runtime.calibration_fit import Calibrated, Labelled, fit
from bridge.runtime.calibration_measures import MEASURES, certainty
from bridge.runtime.calibration_measures import curve as escalation_curve
from bridge.runtime.manifest_text import value

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "BINS",
    "MEASURES",
    "TARGET",
    "Calibrated",
    "Labelled",
    "Outcome",
    "accuracy",
    "cascade",
    "certainty",
    "confusion",
    "correct",
    "curve",
    "escalation_curve",
    "fit",
    "fit_temperature",
    "fix_threshold",
    "macro_f1",
    "recall_and_f1",
    "reliability",
    "softmax",
    "value",
]

TARGET = Target("up", 0.15)  # of out-of-fold windows: new people escalate more, and 18 % is the most that they may cost


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


def cascade(
    small: NDArray[np.float32], big: NDArray[np.float32], y: NDArray[np.int64], temperature: float, below: float
) -> Outcome:
    """Let the small variant answer, and the big one wherever the small one's certainty is under `below`."""
    return pair(small, big, y, temperature).outcome(below)


def fix_threshold(
    small: NDArray[np.float32], big: NDArray[np.float32], y: NDArray[np.int64], temperature: float
) -> float:
    """Fix the threshold on out-of-fold logits of training subjects, for `TARGET`."""
    return threshold(pair(small, big, y, temperature), TARGET)


def curve(
    small: NDArray[np.float32], big: NDArray[np.float32], y: NDArray[np.int64], temperature: float
) -> NDArray[np.float64]:
    """Return 101 × 2 values: share escalated and accuracy, the least certain windows escalated first."""
    return pair(small, big, y, temperature).curve()
