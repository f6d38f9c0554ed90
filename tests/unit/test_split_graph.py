"""Where graphs can be cut, on graphs made here. Needs the extra `quantize`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bridge.errors import ModelError
from tests.support.onnx_extra import with_onnx, without_onnx_says_what_to_install

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


def test_without_onnx_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    without_onnx_says_what_to_install("bridge.runtime.split_graph", monkeypatch)


@pytest.fixture
def onnx() -> Any:
    return with_onnx()


@pytest.fixture
def split_graph() -> ModuleType:
    return with_onnx("bridge.runtime.split_graph")


def save(onnx: Any, path: Path, *nodes: tuple[Any, ...], **attributes: dict[str, Any]) -> Path:
    """A graph of (operator, inputs, output), batch × 4 in as x, y out; weights a 4 × 4, b 4 × 2."""
    make, rng = onnx.helper, np.random.default_rng(0)
    arrays = {
        "a": rng.standard_normal((4, 4)).astype(np.float32),
        "b": rng.standard_normal((4, 2)).astype(np.float32),
        "scale": np.float32(0.05),
        "zero": np.uint8(128),
    }
    made = make.make_graph(
        [
            make.make_node(kind, inputs.split(), output.split(), **attributes.get(output, {}))
            for kind, inputs, output in nodes
        ],
        "made",
        [make.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 4])],
        [make.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    model = make.make_model(made, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


CASES = {
    "chain": ([("MatMul", "x a", "p"), ("MatMul", "p a", "q"), ("MatMul", "q b", "y")], ["p", "q"]),
    "light work around a product is one place": (
        [("MatMul", "x a", "p"), ("Relu", "p", "r"), ("Neg", "r", "n"), ("MatMul", "n b", "y")],
        ["r", "n"],
    ),
    "none where the whole is only written in another way": (
        [("Relu", "x", "r"), ("MatMul", "r a", "p"), ("MatMul", "p b", "q"), ("Sigmoid", "q", "y")],
        ["p"],
    ),
    "none inside a residual block": (
        [
            ("MatMul", "x a", "p"),
            ("MatMul", "p a", "q"),
            ("MatMul", "q a", "r"),
            ("Add", "p r", "s"),
            ("MatMul", "s b", "y"),
        ],
        ["p", "s"],
    ),
    "none where the input goes past": (
        [("MatMul", "x a", "p"), ("MatMul", "p a", "q"), ("Add", "q x", "s"), ("MatMul", "s b", "y")],
        ["s"],
    ),
    "a branch that nobody needs is none": (
        [("MatMul", "x a", "p"), ("MatMul", "p a", "aside"), ("MatMul", "p a", "q"), ("MatMul", "q b", "y")],
        ["p", "q"],
    ),
    "what weights alone make is no path": (
        [("MatMul", "x a", "p"), ("MatMul", "a b", "w"), ("MatMul", "p a", "q"), ("MatMul", "q w", "y")],
        ["p", "q"],
    ),
    "the length of the input is known, so it is no path": (
        [
            ("MatMul", "x a", "p"),
            ("Shape", "x", "shape"),
            ("MatMul", "p a", "q"),
            ("Reshape", "q shape", "s"),
            ("MatMul", "s b", "y"),
        ],
        ["p", "s"],
    ),
    "an integer of the place is taken": (
        [
            ("MatMul", "x a", "p"),
            ("QuantizeLinear", "p scale zero", "n"),
            ("DequantizeLinear", "n scale zero", "d"),
            ("MatMul", "d b", "y"),
        ],
        ["n"],
    ),
    "both of two outputs": (
        [("MatMul", "x a", "p"), ("Split", "p", "s t"), ("Concat", "s t", "q"), ("MatMul", "q b", "y")],
        ["p", "q"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_where(name: str, split_graph: ModuleType, onnx: Any, tmp_path: Path) -> None:
    nodes, wanted = CASES[name]
    path = save(
        onnx, tmp_path / "graph.onnx", *nodes, q={"axis": 1} if "Concat" in str(nodes) else {}, **{"s t": {"axis": 1}}
    )
    found = split_graph.Graph(path, "x", "y").cut_points()
    assert [one.tensor for one in found] == wanted
    assert {one.values for one in found} == {4}
    assert [one.kind for one in found] == ["uint8" if "Quantize" in str(nodes) else "float32"] * len(found)


@pytest.mark.parametrize("name", CASES)
def test_the_halves_are_the_whole(name: str, split_graph: ModuleType, onnx: Any, tmp_path: Path) -> None:
    from bridge.runtime import ort
    from bridge.runtime.providers import resolve

    def run(path: Path, source: str, output: str, feed: Any) -> Any:
        session = ort.open_session(path, resolve("cpu"), threads=1, spinning=False)
        return session.run([output], {source: feed})[0]

    nodes, wanted = CASES[name]
    path = save(
        onnx, tmp_path / "graph.onnx", *nodes, q={"axis": 1} if "Concat" in str(nodes) else {}, **{"s t": {"axis": 1}}
    )
    parsed = split_graph.Graph(path, "x", "y")
    window = np.random.default_rng(1).standard_normal((1, 4)).astype(np.float32)
    whole = run(path, "x", "y", window)
    assert wanted
    for point in parsed.cut_points():
        parsed.write(point, tmp_path / "head.onnx", tmp_path / "tail.onnx")
        between = run(tmp_path / "head.onnx", "x", point.tensor, window)
        assert between.dtype.name == point.kind
        assert between.size == point.values
        np.testing.assert_allclose(run(tmp_path / "tail.onnx", point.tensor, "y", between), whole, rtol=1e-5, atol=1e-6)


def test_what_a_branch_reads_is_a_path(split_graph: ModuleType, onnx: Any, tmp_path: Path) -> None:
    make = onnx.helper
    result = make.make_tensor_value_info("r", onnx.TensorProto.FLOAT, None)
    branch = make.make_graph([make.make_node("MatMul", ["p", "a"], ["r"])], "branch", [], [result])
    nodes = [
        ("MatMul", "x a", "p"),
        ("MatMul", "p a", "q"),
        ("ReduceMax", "q", "m"),
        ("Cast", "m", "c"),
        ("If", "c", "i"),
    ]
    path = save(
        onnx,
        tmp_path / "graph.onnx",
        *nodes,
        ("MatMul", "i b", "y"),
        m={"keepdims": 0},
        c={"to": onnx.TensorProto.BOOL},
        i={"then_branch": branch, "else_branch": branch},
    )
    assert [one.tensor for one in split_graph.Graph(path, "x", "y").cut_points()] == ["p", "i"]


def test_a_place_that_cannot_be_taken_apart_says_so(split_graph: ModuleType, onnx: Any, tmp_path: Path) -> None:
    nodes, _ = CASES["chain"]
    parsed = split_graph.Graph(save(onnx, tmp_path / "graph.onnx", *nodes), "x", "y")
    with pytest.raises(ModelError, match="nowhere: cannot be cut here"):
        parsed.write(split_graph.CutPoint("nowhere", "", "float32", 4), tmp_path / "head.onnx", tmp_path / "tail.onnx")


def test_files_that_cannot_be_used(split_graph: ModuleType, onnx: Any, tmp_path: Path) -> None:
    nodes, _ = CASES["chain"]
    path = save(onnx, tmp_path / "graph.onnx", *nodes)
    with pytest.raises(ModelError, match="no node makes its output 'z'"):
        split_graph.Graph(path, "x", "z")
    with pytest.raises(ModelError, match="cannot be read"):
        split_graph.Graph(tmp_path / "nowhere.onnx", "x", "y")
    (tmp_path / "text.onnx").write_text("no protobuf")
    with pytest.raises(ModelError, match="is no ONNX file"):
        split_graph.Graph(tmp_path / "text.onnx", "x", "y")
    model = onnx.load(str(path))
    onnx.save(model, str(path), save_as_external_data=True, size_threshold=0)
    with pytest.raises(ModelError, match="keeps its weights in other files"):
        split_graph.Graph(path, "x", "y")


def test_what_the_inference_of_shapes_says_is_about_this_graph(
    split_graph: ModuleType, onnx: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("too odd")

    monkeypatch.setattr(split_graph.shape_inference, "infer_shapes", refuse)
    with pytest.raises(ModelError, match=r"graph\.onnx: its shapes for one window cannot be found: too odd"):
        split_graph.Graph(save(onnx, tmp_path / "graph.onnx", *CASES["an integer of the place is taken"][0]), "x", "y")
