"""The four pictures of REPORT.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from calibrate import MEASURES, accuracy, cascade, certainty, confusion, curve, escalation_curve, reliability
from dataset import LABELS
from folds import VARIANTS
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from folds import Run

mpl.use("Agg")  # no display

COLOURS = ("#1b6ca8", "#d1603d", "#3a7d44")
DPI = 110


def _save(path: Path) -> None:
    plt.tight_layout()
    # Without the metadata the file does not change with matplotlib's version.
    plt.savefig(path, dpi=DPI, metadata={"Software": None})
    plt.close()


def draw_cascade(runs: Sequence[Run], path: Path) -> None:
    """Draw held-out accuracy over the share escalated for each seed (int8), with the big model and the threshold."""
    plt.figure(figsize=(7.2, 4.4))
    for run, colour in zip(runs, COLOURS, strict=False):
        small, big, y = run.held_out_logits["small-int8"], run.held_out_logits["big-int8"], run.held_out.y
        points = curve(small, big, y, run.temperature("small-int8"))
        shipped = run is runs[0]
        label = f"seed {run.seed}{' (shipped)' if shipped else ''}"
        plt.plot(points[:, 0] * 100, points[:, 1] * 100, color=colour, lw=2.4 if shipped else 1.2, label=label)
        plt.axhline(accuracy(big, y) * 100, color=colour, lw=1.2 if shipped else 0.7, ls="--")
        point = cascade(small, big, y, run.temperature("small-int8"), run.below("small-int8"))
        plt.plot(point.share * 100, point.accuracy * 100, "o", color=colour, ms=8 if shipped else 5)
    plt.axvspan(0, 18, color="#000000", alpha=0.05, lw=0)
    plt.xlabel("windows escalated to the cloud, % (shaded: at most 18 %)")
    plt.ylabel("accuracy on subjects 8–10, %")
    plt.title("Small first, escalate when unsure (int8). Dashed: big alone. Dot: shipped threshold", fontsize=10)
    plt.legend(loc="upper right")
    plt.grid(alpha=0.25)
    _save(path)


def draw_escalation(run: Run, path: Path) -> None:
    """Draw, out of fold, accuracy over the share escalated by each measure, and how often big is right by certainty."""
    up = run.calibrated("small-int8").escalating
    if up is None:
        return
    _, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.0))
    for measure, colour in zip(MEASURES, COLOURS, strict=True):
        sure = certainty(run.oof_logits["small-int8"], run.temperature("small-int8"), measure)
        points = escalation_curve(sure, up.windows.small, up.windows.big)
        left.plot(points[:, 0] * 100, points[:, 1] * 100, color=colour, label=measure)
    point = up.windows.outcome(up.below)
    left.plot(point.share * 100, point.accuracy * 100, "o", color=COLOURS[0], ms=8)
    left.set_xlabel("windows escalated to the cloud, %")
    left.set_ylabel("accuracy out of fold, subjects 1–7, %")
    left.set_title(f"By measure of certainty (dot: target {up.target})", fontsize=10)
    at, share = (np.array(values) * 100 for values in zip(*up.points, strict=True))
    right.plot([0, 100], [0, 100], color="#888888", lw=1, label="small-int8, as it says")
    right.plot(at, share, "o-", color=COLOURS[1], ms=4, label="big-int8, measured")
    right.axvline(up.below * 100, color=COLOURS[0], lw=1, ls="--", label=f"below = {up.below:.4f}")
    right.set_xlim(30, 101)
    right.set_ylim(30, 101)
    right.set_xlabel("certainty of small-int8, %")
    right.set_ylabel("right, %")
    right.set_title("What the big model makes of it", fontsize=10)
    for axis in (left, right):
        axis.legend(fontsize=9)
        axis.grid(alpha=0.25)
    _save(path)


def draw_reliability(run: Run, path: Path) -> None:
    """Draw stated against true certainty of both int8 variants, before and after temperature."""
    _, axes = plt.subplots(1, 2, figsize=(8.0, 4.0), sharey=True)
    for axis, variant in zip(axes, ("small-int8", "big-int8"), strict=True):
        logits, y = run.held_out_logits[variant], run.held_out.y
        axis.plot([0, 100], [0, 100], color="#888888", lw=1)
        temperature = run.temperature(variant)
        after = f"after, T = {temperature:.2f}"
        for t, colour, when in ((1.0, COLOURS[1], "before"), (temperature, COLOURS[0], after)):
            r = reliability(logits, y, t)
            axis.plot(r.confidence * 100, r.accuracy * 100, "o-", ms=4, color=colour, label=f"{when}: {r.error:.3f}")
        axis.set_title(f"{variant} (expected calibration error)", fontsize=10)
        axis.set_xlabel("stated certainty, %")
        axis.set_xlim(20, 101)
        axis.set_ylim(20, 101)
        axis.grid(alpha=0.25)
        axis.legend(loc="upper left", fontsize=9)
    axes[0].set_ylabel("truly right on subjects 8–10, %")
    _save(path)


def draw_confusion(run: Run, path: Path) -> None:
    """Draw the confusion matrices of both int8 variants, in % of the true class."""
    _, axes = plt.subplots(1, 2, figsize=(10.5, 4.9), sharey=True)
    names = [label.replace("_", "\n") for label in LABELS]
    for axis, variant in zip(axes, [v for v in VARIANTS if v.endswith("int8")], strict=True):
        counts = confusion(run.held_out_logits[variant], run.held_out.y)
        share = counts / counts.sum(axis=1, keepdims=True) * 100
        axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
        for row, column in np.ndindex(*share.shape):
            if counts[row, column]:
                colour = "white" if share[row, column] > 55 else "black"
                axis.text(column, row, f"{share[row, column]:.0f}", ha="center", va="center", color=colour, fontsize=9)
        axis.set_xticks(range(len(names)), names, fontsize=7, rotation=45)
        axis.set_yticks(range(len(names)), names, fontsize=7)
        axis.set_title(f"{variant}, subjects 8–10, % of the true class", fontsize=10)
        axis.set_xlabel("answered")
    axes[0].set_ylabel("true")
    _save(path)
