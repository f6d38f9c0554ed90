"""Writes `model.toml`, the only thing the bridge reads about this model besides the ONNX files."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

import packing
from calibrate import accuracy, macro_f1, value
from dataset import CHANNELS, HOP, LABELS, PACKAGE, PACKAGE_VERSION, RATE_HZ, ROWS, UNITS
from folds import VARIANTS
from quantise import sha256

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from folds import Run
    from numpy.typing import NDArray

DESCRIPTION = "Recognises seven shoulder exercises from a watch's accelerometer and gyroscope"
LICENSE = (
    "Weights: the licence of this repository. Training data: BSD-3-Clause, Copyright (c) 2018 David M. Burns "
    "(see sample/LICENSE.txt)"
)
SOURCE = (
    f"Trained by models/activity/train.py on subjects 1-7 of {PACKAGE} {PACKAGE_VERSION} (PyPI), "
    "data/watch_dataset.npy, part of the SPAR data set, doi:10.1088/1361-6579/aacfd9"
)


def _strings(values: Sequence[str]) -> str:
    return f"[{', '.join(json.dumps(v) for v in values)}]"


def _floats(values: NDArray[np.float32]) -> str:
    return f"[{', '.join(f'{v:.4f}' for v in values)}]"


def _variant(run: Run, name: str, path: Path, parameters: int) -> str:
    calibrated = run.calibrated(name)
    return "\n".join(
        [
            "[[variants]]",
            f'name = "{name}"',
            f'file = "{name}.onnx"',
            f'sha256 = "{sha256(path)}"',
            f"bytes = {path.stat().st_size}",
            f'precision = "{name.split("-")[1]}"',
            f"parameters = {parameters}",
            f'tier = "{"bridge" if name.startswith("small") else "cloud"}"',
            f"accuracy = {accuracy(run.held_out_logits[name], run.held_out.y):.4f}",
            f"macro_f1 = {macro_f1(run.held_out_logits[name], run.held_out.y):.4f}",
            f"# {calibrated.note(run.labelled())}",
            *(f"{key} = {value(of)}" for key, of in calibrated.keys().items()),
        ]
    )


def _fidelity(run: Run) -> str:
    lost = {name: packing.cost(run, logits) for name, logits in packing.answers(run).items()}
    return "\n".join(
        [
            "[fidelity]",
            f"# measured with {packing.CLOUD} on {len(run.held_out)} windows of sample, each packed by itself",
            *(f"{name} = {value(cost)}" for name, cost in lost.items()),
        ]
    )


def write_manifest(
    path: Path,
    run: Run,
    statistics: tuple[NDArray[np.float32], NDArray[np.float32]],
    parameters: Mapping[str, int],
) -> None:
    """Write model.toml beside the four ONNX files, with the figures of the shipped seed, and read it back.

    Args:
        path: The file to write; the ONNX files lie in the same folder.
        run: The shipped seed's run.
        statistics: Mean and standard deviation per channel (6 float32 each), raw units.
        parameters: Trained parameters of `small` and `big`.
    """
    mean, std = statistics
    head = f"""\
# Written by train.py; do not edit. accuracy, macro_f1 and [fidelity] are measured on subjects 8-10; what is calibrated,
# also by `inference-bridge models calibrate activity`, is fitted to out-of-fold windows of subjects 1-7.
schema = 1
name = "activity"
version = "1.0.0"
description = {json.dumps(DESCRIPTION)}
license = {json.dumps(LICENSE)}
source = {json.dumps(SOURCE)}

[input]
name = "window"
rows = {ROWS}
hop = {HOP}
channels = {_strings(CHANNELS)}
units = {_strings(UNITS)}
rate_hz = {RATE_HZ}

[normalisation]
applied = "graph"
mean = {_floats(mean)}
std = {_floats(std)}

[output]
name = "logits"
kind = "logits"
labels = {_strings(LABELS)}

[budget]
accuracy = 0.01

[tiers]
bridge = "small-int8"
cloud = "big-int8"
"""
    variants = [_variant(run, v, path.parent / f"{v}.onnx", parameters[v.split("-")[0]]) for v in VARIANTS]
    text = "\n\n".join([head.rstrip(), _fidelity(run), *variants]) + "\n"
    tomllib.loads(text)
    path.write_text(text, encoding="utf-8")
