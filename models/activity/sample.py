"""The recordings of the held-out people, written out so that demo and tests need neither seglearn nor torch."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
from dataset import (
    HELD_OUT_SUBJECTS,
    HELD_OUT_WINDOWS,
    LABELS,
    PACKAGE,
    PACKAGE_FILE,
    PACKAGE_VERSION,
    RATE_HZ,
    DatasetError,
    Recording,
    of_subjects,
    packaged_file,
    window_count,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CITATION = (
    "Burns D. M., Leung N., Hardisty M., Whyne C. M., Henry P., McLachlin S. (2018). Shoulder physiotherapy exercise\n"
    "recognition: machine learning the inertial signals from a smartwatch. Physiological Measurement 39(7), 075007.\n"
    "doi:10.1088/1361-6579/aacfd9, arXiv:1802.01489"
)


def write_sample(recordings: Sequence[Recording], folder: Path) -> None:
    """Write one npz a recording of subjects 8–10, `recordings.csv` and `LICENSE.txt`.

    Each npz holds `values` (rows × 6 float32, raw units) and `rate` (float64, Hz). File names do not tell the label.

    Raises:
        DatasetError: The windows do not add up to those of the held-out people.
    """
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.npz"):
        old.unlink()
    total = 0
    with (folder / "recordings.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("file", "subject", "label", "rows", "windows"))
        for r in sorted(of_subjects(recordings, HELD_OUT_SUBJECTS), key=lambda r: (r.subject, r.number)):
            name = f"s{r.subject:02d}-r{r.number:02d}.npz"
            np.savez_compressed(folder / name, values=np.ascontiguousarray(r.values), rate=np.float64(RATE_HZ))
            windows = window_count(len(r.values))
            total += windows
            table.writerow((name, r.subject, LABELS[r.label], len(r.values), windows))
    if total != HELD_OUT_WINDOWS:
        raise DatasetError(f"the sample has {total} windows, expected {HELD_OUT_WINDOWS}")
    licence = packaged_file(PACKAGE, "dist-info/LICENSE").read_text(encoding="utf-8").strip()
    text = (
        f"The recordings in this folder are those of subjects 8, 9 and 10 in {PACKAGE}/{PACKAGE_FILE} of the PyPI\n"
        f"package {PACKAGE} {PACKAGE_VERSION} (https://github.com/dmbee/seglearn), converted from float64 to\n"
        f"float32 and otherwise unchanged. It is part of the SPAR data set (https://github.com/dmbee/SPAR-dataset):\n\n"
        f"{CITATION}\n\n{PACKAGE} {PACKAGE_VERSION} is distributed under this licence (BSD, 3 clauses):\n\n{licence}\n"
    )
    (folder / "LICENSE.txt").write_text(text, encoding="utf-8")
