"""The packaged smart-watch recordings and how they are cut into windows.

The data is the part of the SPAR data set (Burns et al. 2018, doi:10.1088/1361-6579/aacfd9) that the PyPI package
`seglearn` carries: 10 people, 7 shoulder exercises, both arms, one recording each, 140 in all, 50 Hz.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import distribution
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

PACKAGE: Final = "seglearn"
PACKAGE_VERSION: Final = "1.2.5"
PACKAGE_FILE: Final = "data/watch_dataset.npy"

ROWS: Final = 128
HOP: Final = 64
RATE_HZ: Final = 50.0
CHANNELS: Final = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
UNITS: Final = ("g", "g", "g", "rad/s", "rad/s", "rad/s")
SOURCE_CHANNELS: Final = ("ax", "ay", "az", "wx", "wy", "wz")
SOURCE_LABELS: Final = ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")
LABELS: Final = (
    "pendulum",
    "abduction",
    "forward_elevation",
    "internal_rotation",
    "external_rotation",
    "lower_trapezius_row",
    "bent_over_row",
)
TRAIN_SUBJECTS: Final = (1, 2, 3, 4, 5, 6, 7)
HELD_OUT_SUBJECTS: Final = (8, 9, 10)
TRAIN_WINDOWS: Final = 2460
HELD_OUT_WINDOWS: Final = 1145


class DatasetError(ValueError):
    """The packaged file is not the one this folder was written for."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One person doing one exercise with one arm.

    Attributes:
        subject: The person, 1–10.
        number: Which of the person's recordings, in file order, from 1.
        label: Class index into `LABELS`.
        values: Rows × 6 float32, accelerometer in g, gyroscope in rad/s, 50 Hz.
    """

    subject: int
    number: int
    label: int
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows cut from recordings.

    Attributes:
        x: N × 128 × 6 float32, raw units.
        y: N int64 class indices.
        subject: N int64, who moved.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    subject: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.y)


def packaged_file(package: str, ending: str) -> Path:
    """Return the path of an installed package's file without importing the package.

    Raises:
        DatasetError: The package has no such file.
    """
    for file in distribution(package).files or ():
        if str(file).endswith(ending):
            return file.locate()  # type: ignore[return-value]  # typed as SimplePath; on disk it is a Path
    raise DatasetError(f"package {package} carries no file that ends in {ending}; reinstall it with --no-deps")


def load_recordings() -> list[Recording]:
    """Read all 140 recordings in the order of the packaged file.

    Raises:
        DatasetError: Channels, labels or counts differ from those this folder expects.
    """
    version = distribution(PACKAGE).version
    if version != PACKAGE_VERSION:
        raise DatasetError(f"{PACKAGE} is {version}, expected {PACKAGE_VERSION}")
    # The file is a pickled dictionary: only ever read from the pinned package.
    data = np.load(packaged_file(PACKAGE, PACKAGE_FILE), allow_pickle=True).item()
    if tuple(data["X_labels"]) != SOURCE_CHANNELS or tuple(data["y_labels"]) != SOURCE_LABELS:
        raise DatasetError("channel or label order of the packaged file differs from the expected one")
    seen: dict[int, int] = {}
    recordings = []
    for values, label, person in zip(data["X"], data["y"], data["subject"], strict=True):
        subject = int(person)
        seen[subject] = seen.get(subject, 0) + 1
        recordings.append(Recording(subject, seen[subject], int(label), np.asarray(values, dtype=np.float32)))
    for subjects, expected in ((TRAIN_SUBJECTS, TRAIN_WINDOWS), (HELD_OUT_SUBJECTS, HELD_OUT_WINDOWS)):
        found = sum(window_count(len(r.values)) for r in of_subjects(recordings, subjects))
        if found != expected:
            raise DatasetError(f"subjects {subjects} give {found} windows, expected {expected}")
    return recordings


def of_subjects(recordings: Iterable[Recording], subjects: Sequence[int]) -> list[Recording]:
    """Return the recordings of these people, order kept."""
    return [r for r in recordings if r.subject in subjects]


def window_count(rows: int) -> int:
    """Return how many whole windows of `ROWS` rows start every `HOP` rows in a recording of `rows` rows."""
    return max(0, (rows - ROWS) // HOP + 1)


def cut(recordings: Sequence[Recording]) -> Windows:
    """Cut windows that start at row 0, 64, 128 … inside each recording and never cross into the next."""
    x: list[NDArray[np.float32]] = []
    y: list[int] = []
    subject: list[int] = []
    for r in recordings:
        count = window_count(len(r.values))
        x.extend(r.values[i * HOP : i * HOP + ROWS] for i in range(count))
        y += [r.label] * count
        subject += [r.subject] * count
    return Windows(np.stack(x), np.array(y, dtype=np.int64), np.array(subject, dtype=np.int64))


def channel_statistics(recordings: Sequence[Recording]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation of each channel (6 float32 each), rounded to 4 digits, raw units."""
    rows = np.concatenate([r.values for r in recordings]).astype(np.float64)
    return rows.mean(0).round(4).astype(np.float32), rows.std(0).round(4).astype(np.float32)
