"""The tables of REPORT.md: each function turns runs into one Markdown table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import packing
from calibrate import (
    Outcome,
    accuracy,
    cascade,
    confusion,
    correct,
    curve,
    macro_f1,
    recall_and_f1,
    reliability,
    softmax,
)
from dataset import HELD_OUT_SUBJECTS, LABELS, TRAIN_SUBJECTS
from folds import VARIANTS, big_of
from quantise import microseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from folds import Run
    from numpy.typing import NDArray

SMALLS: Final = ("small-fp32", "small-int8")
SHARES: Final = (0, 5, 10, 15, 18, 20, 25, 30, 35, 40, 50, 75, 100)
TIMED_BATCH: Final = 32


def percent(value: float, digits: int = 1) -> str:
    """Return a share as percent."""
    return f"{value * 100:.{digits}f} %"


def spread(values: Sequence[float]) -> str:
    """Return mean and range of shares, in percent."""
    return f"{np.mean(values) * 100:.1f} % ({min(values) * 100:.1f}–{max(values) * 100:.1f})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def held_out_cascade(run: Run, small: str, below: float) -> Outcome:
    """Run the cascade of a small variant on subjects 8–10."""
    small_logits, big_logits = run.held_out_logits[small], run.held_out_logits[big_of(small)]
    return cascade(small_logits, big_logits, run.held_out.y, run.temperature(small), below)


def oof_cascade(run: Run, small: str, below: float) -> Outcome:
    """Run the cascade of a small variant on the out-of-fold windows of subjects 1–7."""
    small_logits, big_logits = run.oof_logits[small], run.oof_logits[big_of(small)]
    return cascade(small_logits, big_logits, run.oof.y, run.temperature(small), below)


def cascade_logits(run: Run, small: str) -> NDArray[np.float32]:
    """Return the logits that the cascade answers with on subjects 8–10, at the shipped threshold."""
    logits = run.held_out_logits[small]
    escalated = softmax(logits, run.temperature(small)).max(axis=1) < run.below(small)
    return np.asarray(np.where(escalated[:, None], run.held_out_logits[big_of(small)], logits))


def seeds(runs: Sequence[Run]) -> str:
    """All variants and both cascades on subjects 8–10, per seed."""
    head = ["subjects 8–10", *(f"seed {r.seed}{' (shipped)' if r is runs[0] else ''}" for r in runs), "mean (range)"]
    rows = [
        (f"{v}, {what}", [measure(r.held_out_logits[v], r.held_out.y) for r in runs])
        for what, measure in (("accuracy", accuracy), ("macro F1", macro_f1))
        for v in VARIANTS
    ]
    for small in SMALLS:
        outcomes = [held_out_cascade(r, small, r.below(small)) for r in runs]
        precision = small.split("-")[1]
        rows.extend(
            (
                (f"cascade {precision}, accuracy", [o.accuracy for o in outcomes]),
                (f"cascade {precision}, escalated", [o.share for o in outcomes]),
            )
        )
    return table(head, ([name, *map(percent, values), spread(values)] for name, values in rows))


def people(runs: Sequence[Run]) -> str:
    """Int8 accuracy per person: out of fold for 1–7, final files for 8–10; mean (range) over the seeds."""
    rows = []
    for subject in (*TRAIN_SUBJECTS, *HELD_OUT_SUBJECTS):
        unseen = subject in HELD_OUT_SUBJECTS
        cells: list[list[float]] = [[], [], [], []]
        for r in runs:
            windows, logits = (r.held_out, r.held_out_logits) if unseen else (r.oof, r.oof_logits)
            mine = windows.subject == subject
            y, small, big = windows.y[mine], logits["small-int8"][mine], logits["big-int8"][mine]
            outcome = cascade(small, big, y, r.temperature("small-int8"), r.below("small-int8"))
            for cell, value in zip(
                cells, (accuracy(small, y), accuracy(big, y), outcome.accuracy, outcome.share), strict=True
            ):
                cell.append(value)
        rows.append([f"{subject}{' (held out)' if unseen else ''}", str(int(mine.sum())), *map(spread, cells)])
    return table(["subject", "windows", "small-int8", "big-int8", "cascade", "escalated"], rows)


def classes(run: Run) -> str:
    """Recall and F1 per class of the shipped int8 files and their cascade on subjects 8–10."""
    y = run.held_out.y
    answers = (run.held_out_logits["small-int8"], run.held_out_logits["big-int8"], cascade_logits(run, "small-int8"))
    measured = [recall_and_f1(confusion(a, y)) for a in answers]
    rows = [
        [label, str(int((y == c).sum())), *(percent(float(part[c])) for pair in measured for part in pair)]
        for c, label in enumerate(LABELS)
    ]
    rows.append(["mean", str(len(y)), *(percent(float(part.mean())) for pair in measured for part in pair)])
    names = [f"{who} {what}" for who in ("small", "big", "cascade") for what in ("recall", "F1")]
    return table(["class", "windows", *names], rows)


def cascade_curve(run: Run) -> str:
    """Accuracy over the share escalated for the shipped int8 files."""
    pairs = ((run.oof_logits, run.oof.y), (run.held_out_logits, run.held_out.y))
    points = [curve(x["small-int8"], x["big-int8"], y, run.temperature("small-int8")) for x, y in pairs]
    rows = [[f"{s} %", *(percent(float(p[s, 1])) for p in points)] for s in SHARES]
    return table(["escalated", "out of fold, subjects 1–7", "held out, subjects 8–10"], rows)


def operating_points(runs: Sequence[Run]) -> str:
    """What the thresholds fixed out of fold do to new people (int8), per seed."""
    rows = []
    for r in runs:
        below = r.below("small-int8")
        known, new = oof_cascade(r, "small-int8", below), held_out_cascade(r, "small-int8", below)
        big = accuracy(r.held_out_logits["big-int8"], r.held_out.y)
        values = (known.share, known.accuracy, new.share, new.accuracy, big, new.accuracy / big)
        rows.append([str(r.seed), f"{below:.4f}", *map(percent, values)])
    return table(
        ["seed", "below", "escalated oof", "accuracy oof", "escalated", "accuracy", "big alone", "share of big"], rows
    )


def calibration(runs: Sequence[Run]) -> str:
    """Temperature and expected calibration error per variant and seed."""
    rows = []
    for v in VARIANTS:
        for r in runs:
            t = r.temperature(v)
            errors = [
                reliability(logits[v], y, at).error
                for logits, y in ((r.oof_logits, r.oof.y), (r.held_out_logits, r.held_out.y))
                for at in (1.0, t)
            ]
            rows.append([v, str(r.seed), f"{t:.3f}", *(f"{e:.3f}" for e in errors)])
    head = ["variant", "seed", "temperature", "oof before", "oof after", "held out before", "held out after"]
    return table(head, rows)


def measures(runs: Sequence[Run]) -> str:
    """Area under the escalation curve of small-int8 out of fold by measure of certainty, and how far ahead of max."""
    rows = []
    for r in runs:
        up = r.calibrated("small-int8").escalating
        rows += [
            [str(r.seed), one.measure, percent(one.area, 3), f"{one.ahead * 100:+.3f} ± {one.error * 100:.3f}"]
            for one in (() if up is None else up.compared)
        ]
    return table(["seed", "measure", "area under the curve", "points ahead of max"], rows)


def chances(run: Run) -> str:
    """The manifest's curve of small-int8: how often the big model is right, by the certainty of the small one."""
    up = run.calibrated("small-int8").escalating
    points = () if up is None else up.points
    return table(
        ["certainty of small-int8", *(f"{at:.3f}" for at, _ in points)],
        [["big-int8 right", *(percent(share) for _, share in points)]],
    )


def packed(runs: Sequence[Run]) -> str:
    """What packing windows for the way to the cloud costs big-int8 on subjects 8–10, per seed."""
    rows = []
    for r in runs:
        plain, y = r.held_out_logits[packing.CLOUD], r.held_out.y
        for name, logits in packing.answers(r).items():
            same = float((logits.argmax(axis=1) == plain.argmax(axis=1)).mean())
            lost = accuracy(logits, y) - accuracy(plain, y)
            rows.append([name, str(r.seed), percent(accuracy(logits, y)), f"{lost * 100:+.2f}", percent(same)])
    return table(["packing", "seed", "accuracy", "points against float32", "same label"], rows)


def precision(run: Run, folder: Path) -> str:
    """Fp32 against int8: size, accuracy, agreement and time of the shipped files."""
    y, rows = run.held_out.y, []
    for size in ("small", "big"):
        floating = run.held_out_logits[f"{size}-fp32"]
        for kind in ("fp32", "int8"):
            name = f"{size}-{kind}"
            logits, path = run.held_out_logits[name], folder / f"{size}-{kind}.onnx"
            one, many = (microseconds(path, run.held_out.x, batch) for batch in (1, TIMED_BATCH))
            rows.append(
                [
                    name,
                    f"{path.stat().st_size:,}",
                    percent(accuracy(logits, y)),
                    f"{(accuracy(logits, y) - accuracy(floating, y)) * 100:+.2f}",
                    percent(float((logits.argmax(axis=1) == floating.argmax(axis=1)).mean())),
                    f"{one:.1f}",
                    f"{many:.1f}",
                ]
            )
    head = ["variant", "bytes", "accuracy", "points against fp32", "same label as fp32"]
    return table([*head, "µs a window, batch 1", f"µs a window, batch {TIMED_BATCH}"], rows)


def margin(run: Run, small: str, rival: str) -> int:
    """Return by how many held-out windows the cascade that starts with `small` is ahead of a variant alone."""
    right = correct(cascade_logits(run, small), run.held_out.y).sum()
    return int(right - correct(run.held_out_logits[rival], run.held_out.y).sum())
