"""Writes calibration.npz: out-of-fold logits, so that `models calibrate` needs neither training data nor torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from dataset import LABELS
from folds import VARIANTS

if TYPE_CHECKING:
    from pathlib import Path

    from folds import Run


def write_logits(path: Path, run: Run) -> None:
    """Write the shipped seed's out-of-fold logits of all variants.

    The file holds `y` and `subject` (N uint8), `labels`, `about` (where they are from, one line) and per variant
    `logits/VARIANT`, N × 7 float32: each window answered by nets that never saw its subject, exported and quantised
    like the shipped ones.
    """
    np.savez_compressed(
        path,
        y=run.oof.y.astype(np.uint8),
        subject=run.oof.subject.astype(np.uint8),
        labels=np.array(LABELS),
        about=np.array(run.about()),
        **{f"logits/{variant}": run.oof_logits[variant] for variant in VARIANTS},
    )
