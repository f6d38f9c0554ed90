"""Writes REPORT.md. Every figure in it is computed here from the runs; none is typed."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import packing
import tables
from calibrate import BINS, TARGET, accuracy, confusion, recall_and_f1, reliability
from dataset import HELD_OUT_SUBJECTS, LABELS
from fit import BIG, SMALL, Recipe
from folds import VARIANTS
from tables import held_out_cascade, oof_cascade, percent, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from folds import Run

SMALL_FLOOR = 0.76
SHARE_CEILING = 0.35
THRIFTY_OF_BIG = 0.98
THRIFTY_CEILING = 0.18
ERROR_CEILING = 0.05
BUDGET = 0.01


def _met(*, ok: bool) -> str:
    return "yes" if ok else "**no**"


def _targets(runs: Sequence[Run]) -> str:
    """Return one row a target: the shipped int8 files on subjects 8–10, and for how many seeds it holds."""
    verdicts = [_verdicts(r) for r in runs]
    rows = [
        [name, shown, _met(ok=ok), f"{sum(v[i][2] for v in verdicts)} of {len(runs)}"]
        for i, (name, shown, ok) in enumerate(verdicts[0])
    ]
    return tables.table(["target", "shipped seed", "met", "seeds that meet it"], rows)


def _verdicts(run: Run) -> list[tuple[str, str, bool]]:
    y = run.held_out.y
    right = {v: accuracy(run.held_out_logits[v], y) for v in VARIANTS}
    small, big = right["small-int8"], right["big-int8"]
    main = held_out_cascade(run, "small-int8", run.below("small-int8"))
    errors = {v: reliability(run.held_out_logits[v], y, run.temperature(v)).error for v in ("small-int8", "big-int8")}
    cost = {size: right[f"{size}-fp32"] - right[f"{size}-int8"] for size in ("small", "big")}
    ratio = main.accuracy / big
    return [
        (f"small-int8 alone ≥ {percent(SMALL_FLOOR)}", percent(small), small >= SMALL_FLOOR),
        (
            f"cascade ≥ big alone, ≤ {percent(SHARE_CEILING)} escalated",
            f"{percent(main.accuracy)} against {percent(big)}, {percent(main.share)} escalated",
            main.accuracy >= big and main.share <= SHARE_CEILING,
        ),
        (
            f"cascade ≥ {percent(THRIFTY_OF_BIG)} of big alone, ≤ {percent(THRIFTY_CEILING)} escalated",
            f"{percent(ratio)} of it, {percent(main.share)} escalated",
            ratio >= THRIFTY_OF_BIG and main.share <= THRIFTY_CEILING,
        ),
        *(
            (
                f"{v}: calibration error ≤ {ERROR_CEILING} ({BINS} bins of equal mass)",
                f"{e:.3f}",
                e <= ERROR_CEILING,
            )
            for v, e in errors.items()
        ),
        *(
            (
                f"{size}: int8 loses at most {BUDGET * 100:.1f} points against fp32",
                f"{-c * 100:+.2f} points",
                c <= BUDGET,
            )
            for size, c in cost.items()
        ),
    ]


def _recipe(recipe: Recipe) -> str:
    how = recipe.augmentation
    text = (
        f"{recipe.epochs} epochs, AdamW, one-cycle peak rate {recipe.rate:g}, weight decay {recipe.decay:g}, label "
        f"smoothing {recipe.smoothing:g}"
    )
    return text + (
        f"; windows drawn at any start, tempo × {1 / how.tempo:.2f}–{how.tempo:.2f}, and with standard deviations of "
        f"{how.tilt:g} rad a turn of the strap about each axis, {how.gain:g} a gain, {how.noise:g} noise; the other "
        f"arm with probability {how.mirror:g}"
    )


def _shortfalls(runs: Sequence[Run], parity: float) -> str:
    run = runs[0]
    y, count = run.held_out.y, f"{len(run.held_out):,}"
    leads = ", ".join(f"{tables.margin(r, 'small-int8', 'big-int8'):+d}" for r in runs)
    ahead = [
        100 * (accuracy(r.held_out_logits["small-int8"], y) - accuracy(r.held_out_logits["big-int8"], y)) for r in runs
    ]
    gains = ", ".join(f"{tables.margin(r, 'small-int8', 'small-int8'):+d}" for r in runs)
    known = spread([accuracy(r.oof_logits["big-int8"], r.oof.y) for r in runs])
    new = spread([accuracy(r.held_out_logits["big-int8"], r.held_out.y) for r in runs])
    few = (
        f"**{len(HELD_OUT_SUBJECTS)} held-out people are few.** Between them big-int8 differs by "
        f"{_range_over_people(run) * 100:.1f} points. Windows overlap by half and those of one recording resemble each "
        f"other, so {count} windows are far from {count} independent trials. All are healthy adults doing one of the "
        "seven exercises: the data has no rest, no walking, no 'none of these', and a softmax cannot say so."
    )
    lead = (
        f"**The cascade's lead over big alone**, in windows of {count}, by seed: {leads}; over small alone: {gains}. "
        f"Small-int8 is ahead of big-int8 by {ahead[0]:+.1f} points with the shipped seed and by {np.mean(ahead):+.1f} "
        "on average over the seeds. Recipes were compared with the shipped seed, so its out-of-fold figures flatter "
        "it; where a small net turns out weaker, a threshold fixed out of fold can escalate too little."
    )
    drift = (
        f"**Out of fold is not held out:** big-int8 gets {known} out of fold and {new} on the held-out people. "
        "Temperatures and thresholds rest on the former."
    )
    same = (
        "Answers one by one and in batches of 64: same label for every held-out window (`train.py` stops otherwise); "
        f"logits differ by at most {parity:.1e}."
    )
    unmet = (f"**Not met by the shipped seed:** {name}: {shown}." for name, shown, ok in _verdicts(run) if not ok)
    worst = (_worst_class(run, v) for v in ("small-int8", "big-int8"))
    timing = "Run times above come from a shared machine: trust the ratios."
    return "\n".join(f"- {line}" for line in (few, lead, *worst, drift, *unmet, same, timing))


def _worst_class(run: Run, variant: str) -> str:
    counts = confusion(run.held_out_logits[variant], run.held_out.y)
    recall = recall_and_f1(counts)[0]
    worst = int(recall.argmin())
    wrong = counts[worst].copy()
    wrong[worst] = 0
    taken = int(wrong.argmax())
    return (
        f"**{variant} is worst at {LABELS[worst]}**: recall {percent(float(recall[worst]))}; it answers "
        f"{LABELS[taken]} for {wrong[taken]} of {counts[worst].sum()} windows."
    )


def _range_over_people(run: Run) -> float:
    right = run.held_out_logits["big-int8"].argmax(axis=1) == run.held_out.y
    shares = [right[run.held_out.subject == s].mean() for s in HELD_OUT_SUBJECTS]
    return float(np.ptp(shares))


def write_report(path: Path, runs: Sequence[Run], parameters: Mapping[str, int], parity: float) -> None:
    """Write REPORT.md beside the shipped files.

    Args:
        path: The file to write.
        runs: All seeds, the shipped one first.
        parameters: Trained parameters of `small` and `big`.
        parity: Largest difference between logits one by one and in batches, over the four shipped files.
    """
    run = runs[0]
    below = run.below("small-int8")
    known = oof_cascade(run, "small-int8", below)
    small_oof, big_oof = (accuracy(run.oof_logits[v], run.oof.y) for v in ("small-int8", "big-int8"))
    path.write_text(
        f"""\
# Activity model: report

Written by `train.py`; every figure is measured by that run. Seven shoulder exercises from a wrist watch, windows of
128 rows (2.56 s), hop 64. Trained on subjects 1–7 ({len(run.oof):,} windows), measured on subjects 8–10
({len(run.held_out):,} windows), on whom nothing was chosen. "Out of fold" (oof) means: each of subjects 1–7 answered by
networks that never saw that subject, exported and quantised like the shipped ones. The shipped
seed is the first, {run.seed}, whatever the others got.

Small: {parameters["small"]:,} parameters, for the bridge. Big: {parameters["big"]:,}, for the cloud.

## Targets

Int8 files on subjects 8–10, with temperature and `below` as in model.toml.

{_targets(runs)}

## Three seeds

{tables.seeds(runs)}

## The threshold

Target `{TARGET}`, on out-of-fold windows of subjects 1–7 alone (they are in calibration.npz; `inference-bridge models
calibrate activity` repeats all of this, also for another `--target`): fit the temperature of the small variant; of the
thresholds that escalate 0, 1, 2 … {TARGET.value * 100:.0f} percent of these windows take the one with which the cascade
is right most often. The ceiling is lower than {percent(THRIFTY_CEILING)} because new people make the small model less
certain. For small-int8 this gives `below` = {below:.4f}: {percent(known.share)} escalated,
{percent(known.accuracy)} accuracy out of fold, where small alone gets {percent(small_oof)} and big alone
{percent(big_oof)}.

{tables.operating_points(runs)}

Shipped seed, int8, the least certain windows escalated first:

![cascade](cascade.png)

{tables.cascade_curve(run)}

What certainty is: the largest probability, its lead over the second, or 1 less the normalised entropy; all after the
temperature. Area under the escalation curve out of fold: accuracy on average over all shares escalated; ± is one
standard error by leaving out one person at a time. To replace the largest probability, another measure has to be ahead
by two of them.

{tables.measures(runs)}

The escalation curve of the manifest: how often big is right on windows of which small is so certain, pooled so that it
never falls. Escalating is worth it where that is more than the certainty itself.

{tables.chances(run)}

![escalation](escalation.png)

## People

Int8, mean (range) over the seeds. The first seven rows are out of fold.

{tables.people(runs)}

## Classes

Shipped int8 files on subjects 8–10.

{tables.classes(run)}

![confusion](confusion.png)

## Calibration

Expected calibration error, {BINS} bins of equal mass, before and after the temperature that was fitted out of fold.

{tables.calibration(runs)}

![reliability](reliability.png)

## Int8 against fp32

Static QDQ, uint8 activations, int8 weights per channel, 99.99-percentile calibration on windows of subjects 1–7.
onnxruntime {onnxruntime.__version__}, CPU provider, one thread, {platform.machine()}, median.

{tables.precision(run, path.parent)}

## Packed for the way to the cloud

{packing.CLOUD} on subjects 8–10, each window packed by itself: 16-bit floats, or 255 or 15 steps over each channel's
own range.

{tables.packed(runs)}

## How they were trained

- Small: {_recipe(SMALL)}.
- Big: {_recipe(BIG)}.

Recipes (strength of the augmentation, epochs, learning rate, mixup, distilling big into small, one wide branch or
several narrow ones) were compared by leave-one-subject-out accuracy over subjects 1–7 only; mixup and distillation did
not help and were dropped. That comparison is a little optimistic about subjects 1–7 themselves. Held-out figures of
earlier states were seen while the work went on; every later choice (recipe, int8 calibration, threshold rule) was made
by out-of-fold figures, which differ between recipes by hardly more than between seeds.

## What falls short

{_shortfalls(runs, parity)}
""",
        encoding="utf-8",
    )
