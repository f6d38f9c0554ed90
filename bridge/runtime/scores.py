"""From logits to label and score."""

from __future__ import annotations

import math
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from bridge.errors import Refused
from bridge.messages import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.runtime.port import Logits, Outcome

_DIGITS = 1e9  # a score is a whole number of billionths
_FEW = 6  # rows up to which plain Python is quicker than numpy's calls: 0.7 µs for one row, not 4


def outcomes(
    logits: Logits, labels: Sequence[str], *, temperature: float, model: str, version: str, variant: str
) -> list[Outcome]:
    """The most probable class of each row and its probability, softmax(logits / temperature) (Guo et al. 2017).

    The highest of the probabilities is 1 / Σ exp((logit - highest logit) / temperature), so none overflows. Computed in
    double precision and told to nine digits, so that the number of rows does not show.

    Args:
        logits: float32, shape (n, labels).
        labels: name of each column.
        temperature: above 0; 1 leaves the logits as they are.
        model: name of the model, for errors.
        version: version to sign answers with.
        variant: variant to sign answers with.

    Returns:
        n entries; a Refused `not_finite` for each row with a NaN, a +∞, or nothing but -∞.
    """
    if len(logits) > _FEW:
        by_label = np.array(logits.T, np.float64, order="C")  # so that what is reduced does not lie side by side
        highest = np.maximum.reduce(by_label, 0)
        best = by_label.argmax(0).tolist()
        if math.isfinite(sum(highest.tolist())):
            by_label -= highest
            by_label /= temperature
            totals = np.add.reduce(np.exp(by_label, by_label), 0)
            scores = (np.floor(_DIGITS / totals + 0.5) / _DIGITS).tolist()
            return list(map(Answer, map(labels.__getitem__, best), scores, repeat(version), repeat(variant)))
    return [
        _outcome(row, labels, temperature, version, variant)
        or Refused("not_finite", f"{model}/{variant}: the window's values lead to scores that are not finite")
        for row in logits.tolist()
    ]


def _outcome(row: list[float], labels: Sequence[str], temperature: float, version: str, variant: str) -> Answer | None:
    """The answer of one row; None where it is not finite."""
    exp, highest = math.exp, max(row)
    total = sum([exp((logit - highest) / temperature) for logit in row])
    # the highest logit alone gives 1; a NaN, and ∞ - ∞, make the total NaN
    if not total >= 1.0:
        return None
    return Answer(labels[row.index(highest)], int(_DIGITS / total + 0.5) / _DIGITS, version, variant)
