"""Who is trained on whom: leave-one-subject-out over subjects 1–7, and the final nets for subjects 8–10."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, Final

import numpy as np
from calibrate import TARGET, Calibrated, Labelled, accuracy, fit, fit_temperature, fix_threshold
from dataset import HELD_OUT_SUBJECTS, TRAIN_SUBJECTS, Windows, cut, load_recordings, of_subjects
from fit import BIG, SMALL, one_thread
from fit import fit as train_net
from quantise import export, quantise, run

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

VARIANTS: Final = ("small-fp32", "small-int8", "big-fp32", "big-int8")
FINAL: Final = 0  # the "fold" that trains on all of subjects 1–7 and is measured on 8–10
PROCESSES: Final = 2

Logits = dict[str, "NDArray[np.float32]"]
log = logging.getLogger("train")


def big_of(small: str) -> str:
    """Return the big variant to which a small one escalates."""
    return small.replace("small", "big")


@dataclass(frozen=True, slots=True)
class Run:
    """All that one seed yields.

    Attributes:
        seed: The seed.
        folder: Where the four final ONNX files lie.
        oof: Out-of-fold windows of subjects 1–7, subject by subject.
        oof_logits: Per variant N × 7 float32, each window answered by nets that never saw its subject.
        held_out: Windows of subjects 8–10.
        held_out_logits: Per variant N × 7 float32 of the final files.
    """

    seed: int
    folder: Path
    oof: Windows
    oof_logits: Logits
    held_out: Windows
    held_out_logits: Logits

    def temperature(self, variant: str) -> float:
        """Return the temperature, fitted on out-of-fold logits."""
        return fit_temperature(self.oof_logits[variant], self.oof.y)

    def below(self, small: str) -> float:
        """Return the threshold of a small variant, fixed on out-of-fold logits."""
        small_logits, big_logits = self.oof_logits[small], self.oof_logits[big_of(small)]
        return fix_threshold(small_logits, big_logits, self.oof.y, self.temperature(small))

    def about(self) -> str:
        """Return where the logits that calibrate are from."""
        return f"out of fold, subjects {TRAIN_SUBJECTS[0]}-{TRAIN_SUBJECTS[-1]}, seed {self.seed}"

    def labelled(self) -> Labelled:
        """Return the out-of-fold windows as `models calibrate` reads them from calibration.npz."""
        subject = self.oof.subject.astype(np.str_)
        return Labelled(self.oof_logits, self.oof.y, subject, f"calibration.npz ({self.about()})")

    def calibrated(self, variant: str) -> Calibrated:
        """Return what the out-of-fold windows say of a variant."""
        to = big_of(variant) if variant.startswith("small") else None
        return fit(variant, self.labelled(), to=to, target=TARGET)


def one_fold(seed: int, left_out: int, folder: Path) -> Logits:
    """Train, export and quantise both nets without one subject, and answer that subject's windows.

    A net whose float file already lies in the folder is not trained again.

    Args:
        seed: Seed of everything random.
        left_out: A subject of 1–7, or `FINAL`.
        folder: Where the four ONNX files go.
    """
    one_thread()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    began = time.monotonic()
    recordings = load_recordings()
    train = of_subjects(recordings, [s for s in TRAIN_SUBJECTS if s != left_out])
    test = cut(of_subjects(recordings, HELD_OUT_SUBJECTS if left_out == FINAL else (left_out,)))
    folder.mkdir(parents=True, exist_ok=True)
    calibration = cut(train).x
    logits: Logits = {}
    for size, recipe in (("small", SMALL), ("big", BIG)):
        floating, integer = folder / f"{size}-fp32.onnx", folder / f"{size}-int8.onnx"
        if not floating.exists():
            export(train_net(recipe, train, seed), floating)
        quantise(floating, integer, calibration)
        logits[floating.stem], logits[integer.stem] = run(floating, test.x), run(integer, test.x)
    # Held-out accuracy is not logged here: nobody should be tempted to choose by it.
    note = "" if left_out == FINAL else f": {', '.join(f'{v} {accuracy(logits[v], test.y):.3f}' for v in VARIANTS)}"
    log.info("seed %d without subject %d took %.0f s%s", seed, left_out, time.monotonic() - began, note)
    return logits


def all_runs(seeds: tuple[int, ...], work: Path) -> list[Run]:
    """Train every fold of every seed in two processes; the outcome does not depend on which process does what."""
    jobs = [(seed, fold) for seed in seeds for fold in (FINAL, *TRAIN_SUBJECTS)]
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        futures = {job: pool.submit(one_fold, *job, work / f"{job[0]}-{job[1]}") for job in jobs}
        done = {job: future.result() for job, future in futures.items()}
    recordings = load_recordings()
    per_subject = [cut(of_subjects(recordings, (s,))) for s in TRAIN_SUBJECTS]
    oof = Windows(
        np.concatenate([w.x for w in per_subject]),
        np.concatenate([w.y for w in per_subject]),
        np.concatenate([w.subject for w in per_subject]),
    )
    held_out = cut(of_subjects(recordings, HELD_OUT_SUBJECTS))
    return [
        Run(
            seed,
            work / f"{seed}-{FINAL}",
            oof,
            {v: np.concatenate([done[seed, s][v] for s in TRAIN_SUBJECTS]) for v in VARIANTS},
            held_out,
            done[seed, FINAL],
        )
        for seed in seeds
    ]
