"""The shipped graphs' constants: as wide as a window, and the same answers as with one value a channel."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest

from bridge.catalog import default_directory
from tests.support.onnx_extra import with_onnx

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

onnx = with_onnx()
FOLDER = default_directory() / "activity"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("widen", FOLDER / "widen.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def narrow(source: Path, target: Path, constants: tuple[str, ...]) -> None:
    """The graph as it is exported: one value a channel."""
    model = onnx.load(str(source))
    for one in model.graph.initializer:
        if one.name in constants:
            one.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(one)[0].copy(), one.name))
    onnx.save(model, str(target))


def answers(file: Path, windows: Any) -> Any:
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"window": windows})[0]


@pytest.mark.parametrize("variant", ["small-fp32", "small-int8", "big-fp32", "big-int8"])
def test_a_widened_graph_is_the_shipped_one_and_answers_as_before(
    variant: str, script: ModuleType, tmp_path: Path
) -> None:
    shipped, file = FOLDER / f"{variant}.onnx", tmp_path / "graph.onnx"
    narrow(shipped, file, script.CONSTANTS)
    assert file.stat().st_size < shipped.stat().st_size
    windows = np.random.default_rng(1).standard_normal((16, 128, 6)).astype(np.float32)
    before = answers(file, windows)
    script.widen(file)
    assert file.read_bytes() == shipped.read_bytes()
    assert np.array_equal(answers(file, windows), before)
    written = file.stat().st_mtime_ns
    script.widen(file)
    assert file.stat().st_mtime_ns == written


def test_a_graph_without_such_constants_is_refused(script: ModuleType, tmp_path: Path) -> None:
    model = onnx.load(str(FOLDER / "small-fp32.onnx"))
    model.graph.initializer.remove(next(one for one in model.graph.initializer if one.name == "scale"))
    onnx.save(model, str(tmp_path / "graph.onnx"))
    with pytest.raises(ValueError, match=r"graph.onnx: no constants mean and scale"):
        script.widen(tmp_path / "graph.onnx")
