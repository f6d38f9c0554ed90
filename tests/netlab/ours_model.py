"""A model whose windows are the rows of one message, so that each message has a Result of its own."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING

import numpy as np

from tests.netlab.traffic import CHANNELS, ROWS

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = """\
schema = 1
name = "lab"
version = "1.0.0"
description = "Says whether the numbers of a message add up to more than nothing"
license = "none"
source = "made by the network laboratory"
[input]
name = "window"
rows = {rows}
hop = {rows}
channels = [{channels}]
units = [{units}]
rate_hz = 100.0
[output]
name = "logits"
kind = "logits"
labels = ["no", "yes"]
[tiers]
bridge = "only"
[[variants]]
name = "only"
file = "only.onnx"
sha256 = "{sha256}"
bytes = {bytes}
precision = "fp32"
parameters = 2
tier = "bridge"
accuracy = 1.0
"""


def make_model(models: Path) -> None:
    """Writes it into a folder of model folders."""
    data = _graph()
    folder = models / "lab"
    folder.mkdir(parents=True)
    (folder / "only.onnx").write_bytes(data)
    names = ", ".join(f'"c{n}"' for n in range(CHANNELS))
    (folder / "model.toml").write_text(
        MANIFEST.format(
            rows=ROWS,
            channels=names,
            units=", ".join(['"1"'] * CHANNELS),
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
        )
    )


@functools.cache
def _graph() -> bytes:
    """The same for all runs."""
    import onnx

    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    constants = {
        "axes": np.array([1, 2], np.int64),
        "one": np.array([1], np.int64),
        "signs": np.array([[-1.0, 1.0]], np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["window", "axes"], ["sum"], keepdims=0),
            helper.make_node("Unsqueeze", ["sum", "one"], ["column"]),
            helper.make_node("Mul", ["column", "signs"], ["logits"]),
        ],
        "lab",
        [helper.make_tensor_value_info("window", kind, ["n", ROWS, CHANNELS])],
        [helper.make_tensor_value_info("logits", kind, ["n", 2])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made)
    data: bytes = made.SerializeToString()
    return data
