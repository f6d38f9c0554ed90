"""Whether windows have the shape that a model takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bridge.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.messages import Rows
    from bridge.runtime.port import Windows


def check(windows: Sequence[Rows] | Windows, shape: tuple[int, int], model: str) -> None:
    """Refuse windows that are not all of one shape; a broadcast would make values up.

    Args:
        windows: one array a window, or one array of all.
        shape: (rows, channels) of the model.
        model: name of the model, for the error.

    Raises:
        Refused: `shape`: names the first that differs.
    """
    found = [windows.shape[1:]] if isinstance(windows, np.ndarray) else [window.shape for window in windows]
    if found.count(shape) != len(found):
        wrong = next(one for one in found if one != shape)
        raise Refused("shape", f"{model} takes windows of {shape[0]} × {shape[1]}, not {wrong}")
