"""What is left of a window after it was packed for the way to the cloud, and what that costs in accuracy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from calibrate import accuracy
from quantise import run as run_onnx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from folds import Run
    from numpy.typing import NDArray

CLOUD: Final = "big-int8"


def float16(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return N × rows × channels as 16-bit floats tell them."""
    return x.astype(np.float16).astype(np.float32)


def int8(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return N × rows × channels as 255 steps over each window's and channel's own range tell them.

    The arithmetic is that of `encode_rows` in bridge/wire/arrays.py, in double precision.
    """
    low, high = (end(x, axis=1, keepdims=True).astype(np.float64) for end in (np.min, np.max))
    wide = high > low
    scale = np.where(wide, (high - low) / 254.0, np.where(low == 0, 1.0, np.abs(low)) / 127.0)
    zero = np.where(wide, -127.0 - low / scale, 0.0)
    steps = np.clip(np.rint(x / scale + zero), -127, 127)
    return np.asarray((steps - zero) * scale, dtype=np.float32)


PACKINGS: Final[dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]]] = {"float16": float16, "int8": int8}


def answers(run: Run) -> dict[str, NDArray[np.float32]]:
    """Return by packing the cloud variant's N × 7 logits of packed windows of subjects 8–10."""
    path: Path = run.folder / f"{CLOUD}.onnx"
    return {name: run_onnx(path, pack(run.held_out.x)) for name, pack in PACKINGS.items()}


def cost(run: Run, logits: NDArray[np.float32]) -> float:
    """Return the accuracy lost against windows that were not packed, 0…1, rounded up to 4 digits; 0 where none is."""
    lost = accuracy(run.held_out_logits[CLOUD], run.held_out.y) - accuracy(logits, run.held_out.y)
    return max(0.0, math.ceil(1e4 * lost - 1e-6) / 1e4)
