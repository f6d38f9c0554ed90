"""What is left of a window after it was packed for the way to the cloud, and what that costs in accuracy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from calibrate import accuracy
from quantise import run as run_onnx

from bridge.wire.arrays import decode_rows, encode_rows

if TYPE_CHECKING:
    from pathlib import Path

    from folds import Run
    from numpy.typing import NDArray

    from bridge.wire.arrays import Packing

CLOUD: Final = "big-int8"


PACKINGS: Final[tuple[Packing, ...]] = ("float16", "int8", "int4")


def packed(windows: NDArray[np.float32], packing: Packing) -> NDArray[np.float32]:
    """Return N × rows × channels as the cloud reads them, each window packed by itself by the product's own code."""
    found = []
    for window in windows:
        array, beside = encode_rows(window, packing)
        found.append(decode_rows(array, scale=beside.get("scale"), zero=beside.get("zero")))
    return np.stack(found)


def answers(run: Run) -> dict[str, NDArray[np.float32]]:
    """Return by packing the cloud variant's N × 7 logits of packed windows of subjects 8–10."""
    path: Path = run.folder / f"{CLOUD}.onnx"
    return {name: run_onnx(path, packed(run.held_out.x, name)) for name in PACKINGS}


def cost(run: Run, logits: NDArray[np.float32]) -> float:
    """Return the accuracy lost against windows that were not packed, 0…1, rounded up to 4 digits; 0 where none is."""
    lost = accuracy(run.held_out_logits[CLOUD], run.held_out.y) - accuracy(logits, run.held_out.y)
    return max(0.0, math.ceil(1e4 * lost - 1e-6) / 1e4)
