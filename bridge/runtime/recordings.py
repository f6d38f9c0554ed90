"""Labelled recordings: what accuracy is measured on, and what activation ranges are calibrated with."""

from __future__ import annotations

import csv
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.catalog import Manifest
    from bridge.runtime.port import Windows

INDEX = "recordings.csv"


class Recording(msgspec.Struct, frozen=True):
    """Rows of one person or machine doing one thing.

    Attributes:
        file: where they came from.
        label: what was really done, one of the manifest's labels.
        values: float32, shape (rows, channels), raw units.
        subject: who or what did it; "" when the table does not say.
    """

    file: Path
    label: str
    values: NDArray[np.float32]
    subject: str = ""


def read(folder: Path, manifest: Manifest) -> list[Recording]:
    """Read the recordings that a folder's `recordings.csv` lists.

    The table needs the columns `file` and `label`; `subject` tells people apart; `rows` and `windows` are for the
    reader. A file is an npz with the array `values`, or a csv with a header that names the manifest's channels; it may
    have further columns.

    Args:
        folder: the folder.
        manifest: the model whose labels and channels they are.

    Returns:
        At least one recording, with at least one window among them.

    Raises:
        ConfigError: there is no such table, or a line of it cannot be used; names file, line and why.
    """
    table = folder / INDEX
    try:
        with table.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as why:
        raise ConfigError(
            f"{table}: labelled recordings are needed to measure accuracy, and their table cannot be read "
            f"({getattr(why, 'strerror', None) or why}); it has the columns file, subject, label, rows, windows"
        ) from why
    found = [_recording(table, number, line, manifest) for number, line in enumerate(lines, start=2)]
    if not any(len(one.values) >= manifest.input.rows for one in found):
        raise ConfigError(f"{table}: not one recording has the {manifest.input.rows} rows of a window")
    return found


def windows(recordings: Sequence[Recording], manifest: Manifest) -> tuple[Windows, list[str]]:
    """Cut windows as the bridge does: one each `hop` rows, none across recordings.

    Returns:
        float32 of shape (n, rows, channels), and the n labels.
    """
    rows, hop = manifest.input.rows, manifest.input.hop
    cut: list[NDArray[np.float32]] = []
    labels: list[str] = []
    for one in recordings:
        starts = range(0, len(one.values) - rows + 1, hop)
        cut += [one.values[start : start + rows] for start in starts]
        labels += [one.label] * len(starts)
    empty = np.empty((0, rows, len(manifest.input.channels)), np.float32)
    return (np.stack(cut) if cut else empty), labels


def apart(recordings: Sequence[Recording], manifest: Manifest) -> list[Recording]:
    """Each window as a recording of its own."""
    return [msgspec.structs.replace(one, values=window) for one in recordings for window in windows([one], manifest)[0]]


def halves(recordings: Sequence[Recording]) -> tuple[list[Recording], list[Recording]]:
    """Split whole recordings in two, each label's in turn: ranges are not fitted to what accuracy is measured on."""
    seen: Counter[str] = Counter()
    first: list[Recording] = []
    second: list[Recording] = []
    for one in recordings:
        (second if seen[one.label] % 2 else first).append(one)
        seen[one.label] += 1
    return first, second


def _recording(table: Path, number: int, line: dict[str, str], manifest: Manifest) -> Recording:
    name, label = line.get("file"), line.get("label")
    if not name or not label:
        raise ConfigError(f"{table}: line {number}: needs both a file and a label")
    if label not in manifest.output.labels:
        labels = ", ".join(manifest.output.labels)
        raise ConfigError(f"{table}: line {number}: {label!r} is none of {manifest.name}'s labels: {labels}")
    path = table.parent / name
    try:
        values = _csv(path, manifest) if path.suffix == ".csv" else _npz(path)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as why:
        raise ConfigError(f"{table}: line {number}: {path} cannot be read: {why}") from why
    channels = len(manifest.input.channels)
    if values.ndim != 2 or values.shape[1] != channels or not np.isfinite(values).all():
        raise ConfigError(
            f"{path}: shape {values.shape}; {manifest.name} takes finite numbers, rows × {channels} channels"
        )
    return Recording(path, label, values, line.get("subject") or "")


def _npz(path: Path) -> NDArray[np.float32]:
    with np.load(path, allow_pickle=False) as data:
        return np.asarray(data["values"], np.float32)


def _csv(path: Path, manifest: Manifest) -> NDArray[np.float32]:
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file)
        return np.array([[float(line[name]) for name in manifest.input.channels] for line in lines], np.float32)
