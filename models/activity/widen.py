"""Gives the constants of the normalisation the shape of a window; what comes out is the same, bit for bit.

ONNX Runtime's element-wise kernels run over as many values at once as the smaller operand has: with six, one a channel,
normalising took 3 of the 5.4 µs that the small int8 net needs for a window in batches of 64; with 128 × 6 it takes
half a microsecond.

`python models/activity/widen.py FILE...` does it to these files, whose new sizes and sums then belong into model.toml;
train.py does it to what it ships, and writes model.toml after it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

CONSTANTS = ("mean", "scale")  # as nets.py calls them


def widen(path: Path) -> None:
    """Repeat each channel's constants for all rows of a window, in place; a file that has them so stays as it is.

    Raises:
        ValueError: the file has no such constants, or its input has no fixed number of rows.
    """
    model = onnx.load(str(path))
    rows, channels = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    found = [one for one in model.graph.initializer if one.name in CONSTANTS]
    if len(found) != len(CONSTANTS) or not rows:
        raise ValueError(f"{path.name}: no constants {' and '.join(CONSTANTS)}, or no fixed number of rows")
    if all(list(one.dims) == [rows, channels] for one in found):
        return
    for one in found:
        wide = np.broadcast_to(numpy_helper.to_array(one), (rows, channels))
        one.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(wide), one.name))
    onnx.checker.check_model(model, full_check=True)
    part = path.with_suffix(".part")
    onnx.save(model, str(part))
    part.replace(path)


if __name__ == "__main__":
    for file in sys.argv[1:]:
        widen(Path(file))
