"""Rebuilds this folder from the packaged data: ONNX files, model.toml, calibration.npz, REPORT.md, pictures, sample.

Environment (torch stays out of the project's own):

    python3 -m venv .venv-train
    .venv-train/bin/pip install -c models/activity/constraints.txt -r models/activity/requirements.txt
    .venv-train/bin/pip install --no-deps seglearn==1.2.5
    .venv-train/bin/python models/activity/train.py

`--seeds 1` trains the shipped seed only, for a quick look. `--work DIR` keeps every fold's files and takes up an
interrupted run: float files found there are not trained again, so empty it after any change to data, nets,
augmentation or recipe.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from calibrate import accuracy
from dataset import TRAIN_SUBJECTS, channel_statistics, load_recordings, of_subjects
from folds import VARIANTS, Run, all_runs
from logits import write_logits
from manifest import write_manifest
from nets import big_net, parameter_count, small_net
from pictures import draw_cascade, draw_confusion, draw_escalation, draw_reliability
from quantise import run as run_onnx
from quantise import sha256
from report import write_report
from sample import write_sample
from widen import widen

HERE = Path(__file__).resolve().parent
SEEDS = (0, 1, 2)  # the first is shipped

log = logging.getLogger("train")


class ParityError(RuntimeError):
    """A file gives other labels one by one than in batches."""


def ship(run: Run) -> float:
    """Copy the shipped seed's four files here and compare answers one by one with answers in batches.

    Returns:
        The largest difference between logits.

    Raises:
        ParityError: A label differs.
    """
    largest = 0.0
    for variant in VARIANTS:
        target = HERE / f"{variant}.onnx"
        before = sha256(target) if target.exists() else None
        shutil.copyfile(run.folder / target.name, target)
        widen(target)
        log.info("%s: bytes %s", target.name, {None: "new", sha256(target): "as before"}.get(before, "changed"))
        single, batched = run_onnx(target, run.held_out.x, batch=1), run.held_out_logits[variant]
        if (single.argmax(axis=1) != batched.argmax(axis=1)).any():
            raise ParityError(f"{target.name} gives other labels one by one than in batches")
        largest = max(largest, float(np.abs(single - batched).max()))
    return largest


def main() -> None:
    """Train, measure and write everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), choices=range(1, len(SEEDS) + 1))
    parser.add_argument("--work", type=Path, help="keep the folds' files here and reuse its float files")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    began = time.monotonic()
    recordings = load_recordings()
    write_sample(recordings, HERE / "sample")
    with tempfile.TemporaryDirectory() as temporary:
        runs = all_runs(SEEDS[: arguments.seeds], arguments.work or Path(temporary))
        parity = ship(runs[0])
    parameters = {"small": parameter_count(small_net()), "big": parameter_count(big_net())}
    statistics = channel_statistics(of_subjects(recordings, TRAIN_SUBJECTS))
    write_logits(HERE / "calibration.npz", runs[0])
    write_manifest(HERE / "model.toml", runs[0], statistics, parameters)
    draw_cascade(runs, HERE / "cascade.png")
    draw_escalation(runs[0], HERE / "escalation.png")
    draw_reliability(runs[0], HERE / "reliability.png")
    draw_confusion(runs[0], HERE / "confusion.png")
    write_report(HERE / "REPORT.md", runs, parameters, parity)
    for variant in VARIANTS:
        right = [accuracy(r.held_out_logits[variant], r.held_out.y) for r in runs]
        log.info("%s: held-out accuracy %s", variant, ", ".join(f"{a:.4f}" for a in right))
    log.info("done in %.0f s", time.monotonic() - began)


if __name__ == "__main__":
    main()
