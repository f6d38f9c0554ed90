"""From logits to label and score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bridge.errors import Refused
from bridge.messages import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.runtime.port import Logits, Outcome


def outcomes(
    logits: Logits, labels: Sequence[str], *, temperature: float, model: str, version: str, variant: str
) -> list[Outcome]:
    """The most probable class of each row and its probability, softmax(logits / temperature) (Guo et al. 2017).

    The highest of the probabilities is 1 / Σ exp((logit - highest logit) / temperature), so none overflows.

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
    with np.errstate(invalid="ignore"):  # ∞ - ∞: found below
        shifted = (logits - logits.max(axis=1, keepdims=True)) / np.float32(temperature)
    totals = np.exp(shifted, out=shifted).sum(axis=1).tolist()
    best = logits.argmax(axis=1).tolist()
    return [
        Answer(label=labels[column], score=1.0 / total, version=version, variant=variant)
        if total >= 1.0  # false for NaN; the highest logit alone gives 1
        else Refused("not_finite", f"{model}/{variant}: the window's values lead to scores that are not finite")
        for column, total in zip(best, totals, strict=True)
    ]
