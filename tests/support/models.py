"""Model folders that tests may break, and a model that is slow on purpose."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from bridge.catalog import default_directory

SLOW_ROWS, SLOW_CHANNELS = 8, 3
_SIDE = 256  # of the matrices that the slow model multiplies
_MANIFEST = """
schema = 1
name = "slow"
version = "1.0.0"
description = "Multiplies matrices for a while"
license = "none"
source = "made by a test"
[input]
name = "window"
rows = {rows}
hop = {rows}
channels = {channels}
units = {units}
rate_hz = 50.0
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
parameters = 1
tier = "bridge"
accuracy = 1.0
"""


def copy_shipped(models: Path) -> Path:
    """The shipped model in a folder of models of its own.

    Returns:
        The model's folder.
    """
    shipped = default_directory() / "activity"
    return Path(shutil.copytree(shipped, models / "activity", ignore=shutil.ignore_patterns("sample", "*.py", "*.png")))


def edit(folder: Path, *changes: tuple[str, str]) -> None:
    """Replace the first of each text in a model's manifest."""
    file = folder / "model.toml"
    text = file.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, f"{old!r} is not in {file}"
        text = text.replace(old, new, 1)
    file.write_text(text, encoding="utf-8")


def make_slow(models: Path, *, products: int = 150, channels: int = SLOW_CHANNELS) -> Path:
    """A model that takes some ten milliseconds a window, and one window at a time; says yes if its numbers add up.

    Args:
        models: the folder of model folders.
        products: products of matrices a window, each about a tenth of a millisecond.
        channels: of a row.

    Returns:
        The model's folder.
    """
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    folder = models / "slow"
    folder.mkdir(parents=True)
    eye = np.eye(_SIDE, dtype=np.float32)
    constants = {
        "shape": np.array([1, _SIDE, _SIDE], np.int64),
        "axes": np.array([1, 2], np.int64),
        "eye": eye,
        "signs": np.array([[-1.0, 1.0]], np.float32),
    }
    nodes = [
        helper.make_node("ReduceSum", ["window", "axes"], ["sum"], keepdims=1),
        helper.make_node("Expand", ["sum", "shape"], ["m0"]),
        *(helper.make_node("MatMul", [f"m{i}", "eye"], [f"m{i + 1}"]) for i in range(products)),
        helper.make_node("ReduceMean", [f"m{products}", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node("Mul", ["column", "signs"], ["logits"]),
    ]
    constants["one"] = np.array([1], np.int64)
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("window", kind, [1, SLOW_ROWS, channels])],
        [helper.make_tensor_value_info("logits", kind, [1, 2])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    (folder / "only.onnx").write_bytes(data)
    names, units = list("xyzuvw"[:channels]), ["g"] * channels
    text = _MANIFEST.format(
        rows=SLOW_ROWS,
        channels=names,
        units=units,
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
    )
    (folder / "model.toml").write_text(text, encoding="utf-8")
    return folder
