"""The real quantiser, on graphs made here. Needs the extra `quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bridge.catalog import Catalog
from bridge.errors import ModelError
from bridge.runtime.quantize import QuantisationError, quantize
from bridge.runtime.recordings import read
from tests.support.onnx_extra import with_onnx, without_onnx_says_what_to_install

if TYPE_CHECKING:
    from types import ModuleType

    from bridge.runtime.quantize import Method

ROOT = Path(__file__).parents[2]


def test_without_onnx_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    without_onnx_says_what_to_install("bridge.runtime.quantizer", monkeypatch)


@pytest.fixture
def onnx() -> Any:
    return with_onnx()


@pytest.fixture
def quantizer() -> ModuleType:
    return with_onnx("bridge.runtime.quantizer")


def graph(onnx: Any, path: Path, kind: str, batch: int | str = "batch") -> Path:
    """A float graph: batch × 4 × 2 in, batch × 3 out."""
    make, number = onnx.helper, onnx.TensorProto.FLOAT
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> Any:
        return onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)

    nodes = {
        "product": [
            make.make_node("Flatten", ["x"], ["flat"]),
            make.make_node("MatMul", ["flat", "w"], ["hidden"]),
            make.make_node("Softmax", ["hidden"], ["y"]),
        ],
        "convolution": [
            make.make_node("Conv", ["x", "k"], ["c"]),
            make.make_node("Flatten", ["c"], ["flat"]),
            make.make_node("MatMul", ["flat", "v"], ["y"]),
        ],
        "nothing": [make.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0)],
        "broken": [
            make.make_node("Flatten", ["x"], ["flat"]),
            make.make_node("NoSuchOperator", ["flat"], ["odd"]),
            make.make_node("MatMul", ["odd", "w"], ["y"]),
        ],
    }[kind]
    weights = {"product": [weight("w", 8, 3)], "convolution": [weight("k", 5, 4, 1), weight("v", 10, 3)]}
    made = make.make_graph(
        nodes,
        kind,
        [make.make_tensor_value_info("x", number, [batch, 4, 2])],
        [make.make_tensor_value_info("y", number, [batch, 3])],
        weights.get(kind, [weight("w", 8, 3)]),
    )
    opset = [make.make_opsetid("", 13)]
    onnx.save(make.make_model(made, opset_imports=opset, ir_version=8), str(path))
    return path


@pytest.mark.parametrize(("kind", "method"), [("product", "dynamic"), ("convolution", "static")])
def test_the_method_follows_the_graph(
    onnx: Any, quantizer: ModuleType, tmp_path: Path, kind: str, method: Method
) -> None:
    source, target = graph(onnx, tmp_path / "float.onnx", kind), tmp_path / "int8.onnx"
    assert quantizer.method_for(source) == method
    assert quantizer.parameters(source) == {"product": 24, "convolution": 50}[kind]
    windows = np.random.default_rng(1).standard_normal((100, 4, 2)).astype(np.float32)
    quantizer.quantise(source, target, method, name="x", windows=windows)
    with pytest.raises(QuantisationError, match="it is quantised already"):
        quantizer.method_for(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["float.onnx", "int8.onnx"]


def test_a_graph_of_one_window_at_a_time(onnx: Any, quantizer: ModuleType, tmp_path: Path) -> None:
    source = graph(onnx, tmp_path / "float.onnx", "convolution", batch=1)
    windows = np.random.default_rng(1).standard_normal((10, 4, 2)).astype(np.float32)
    quantizer.quantise(source, tmp_path / "int8.onnx", "static", name="x", windows=windows)
    assert (tmp_path / "int8.onnx").is_file()


def test_nothing_to_quantise_and_what_fails(onnx: Any, quantizer: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(QuantisationError, match="no convolution and no matrix product, only ReduceMean"):
        quantizer.method_for(graph(onnx, tmp_path / "float.onnx", "nothing"))
    source = graph(onnx, tmp_path / "broken.onnx", "broken")
    windows = np.zeros((4, 4, 2), np.float32)
    with pytest.raises(QuantisationError, match="it fails to quantise: "):
        quantizer.quantise(source, tmp_path / "int8.onnx", "static", name="x", windows=windows)
    with pytest.raises(QuantisationError, match=r"it comes out invalid: .*NoSuchOperator"):
        quantizer.quantise(source, tmp_path / "int8.onnx", "dynamic", name="x", windows=windows)
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(ModelError, match="is no ONNX file"):
        quantizer.method_for(tmp_path / "text.onnx")
    with pytest.raises(ModelError, match="cannot be read"):
        quantizer.method_for(tmp_path / "nowhere.onnx")


def test_the_shipped_model_by_the_shipped_way(
    quantizer: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = Catalog()["activity"]
    folder = tmp_path / "models" / "activity"
    folder.mkdir(parents=True)
    for name in ("small-fp32.onnx", "model.toml"):
        (folder / name).write_bytes((shipped.folder / name).read_bytes())
    mine = Catalog(folder.parent)["activity"]
    found = read(shipped.folder / "sample", mine)
    verdict = quantize(mine, mine.variant("small-fp32"), "mine", found, quantiser=quantizer)
    assert verdict.refused is None
    assert verdict.method == "static"
    assert verdict.figures is not None
    assert verdict.figures.agreement > 0.98
    assert capsys.readouterr().out == ""
