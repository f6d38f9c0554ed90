"""Labelled windows that calibrate a model: logits written down, or recordings that its graphs are asked about."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bridge.errors import ConfigError
from bridge.runtime import recordings as labelled
from bridge.runtime.calibration_fit import Labelled
from bridge.runtime.load import load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from bridge.catalog import Manifest

FILE: Final = "calibration.npz"  # in a model's folder
_LOGITS: Final = "logits/"
_LONGEST: Final = 200  # characters of a source that are kept


def from_file(path: Path, manifest: Manifest) -> Labelled:
    """Read an npz with `y`, one array `logits/VARIANT` a variant, and maybe `subject`, `labels` and `about`.

    Args:
        path: the file. `y` holds columns of the true classes; `labels`, when there, must be the manifest's; `about` is
            one line that says where the logits are from. They must be of windows that the graphs were not trained on.
        manifest: the model.

    Raises:
        ConfigError: it cannot be read, or does not fit the model.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as why:
        raise ConfigError(
            f"{path}: logits of labelled windows cannot be read: {getattr(why, 'strerror', None) or why}; it is an npz "
            "with y, logits/VARIANT and maybe subject, labels, about; or give --recordings"
        ) from why
    y = _classes(path, arrays, manifest)
    logits = {
        name.removeprefix(_LOGITS): _logits(path, name, array, (len(y), len(manifest.output.labels)))
        for name, array in arrays.items()
        if name.startswith(_LOGITS)
    }
    subject = arrays.get("subject")
    if subject is not None and subject.shape != y.shape:
        raise ConfigError(f"{path}: subject: shape {subject.shape} for {len(y)} windows")
    about = " ".join(str(arrays.get("about", "")).split())[:_LONGEST]
    return Labelled(
        logits, y, None if subject is None else subject.astype(np.str_), f"{path.name}{about and f' ({about})'}"
    )


def from_recordings(folder: Path, manifest: Manifest) -> Labelled:
    """Ask the model's graphs about labelled recordings, which must not be those that they were trained on.

    Raises:
        ConfigError: the recordings cannot be used.
        ModelError: a graph cannot be used.
    """
    each = labelled.apart(labelled.read(folder, manifest), manifest)
    windows = np.stack([one.values for one in each])
    whose = [one.subject for one in each]
    column = {label: index for index, label in enumerate(manifest.output.labels)}
    return Labelled(
        {variant.name: load(manifest, variant).run(windows) for variant in manifest.variants},
        np.array([column[one.label] for one in each], np.int64),
        np.array(whose, np.str_) if all(whose) else None,
        f"recordings in {folder.name or folder}",
    )


def _classes(path: Path, arrays: Mapping[str, NDArray[Any]], manifest: Manifest) -> NDArray[np.int64]:
    labels = manifest.output.labels
    if "labels" in arrays and tuple(arrays["labels"].astype(str).tolist()) != labels:
        raise ConfigError(f"{path}: labels: are not {manifest.name}'s, {', '.join(labels)}, in this order")
    y = arrays.get("y")
    if y is None or y.ndim != 1 or y.dtype.kind not in "iu" or not len(y):
        raise ConfigError(f"{path}: y: must be there, whole numbers, one a window")
    if y.min() < 0 or y.max() >= len(labels):
        raise ConfigError(f"{path}: y: {y.min()} to {y.max()} are not columns of {len(labels)} labels")
    return y.astype(np.int64)


def _logits(path: Path, name: str, array: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float32]:
    if array.shape != shape or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ConfigError(f"{path}: {name}: must be finite numbers of shape {shape}, windows × labels")
    return array.astype(np.float32)
