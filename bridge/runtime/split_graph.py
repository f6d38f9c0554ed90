"""Where an ONNX graph can be cut in two, and the two graphs; needs the package `onnx`."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

try:
    import onnx
    from onnx import shape_inference, utils
    from onnxruntime import quantization
except ImportError as _error:
    raise ConfigError(
        f"splitting needs the package onnx ({_error}): pip install 'edge-inference-bridge[quantize]'"
    ) from _error

KINDS = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.UINT8: "uint8", onnx.TensorProto.INT8: "int8"}
# Elementwise and layout: what is cut before or after them takes the same bytes and about the same time.
_LIGHT = frozenset(
    {
        *("Add", "BatchNormalization", "Clip", "Div", "HardSigmoid", "HardSwish", "LeakyRelu", "Mul", "PRelu", "Relu"),
        *("Sigmoid", "Sub", "Tanh"),
        *("Cast", "DequantizeLinear", "Dropout", "Identity", "QuantizeLinear"),
        *("Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"),
    }
)
_QUANTISED = frozenset({"QuantizeLinear", "DequantizeLinear"})  # the quantiser folded such a graph before


class CutPoint(msgspec.Struct, frozen=True):
    """A tensor through which everything passes that the output learns from the input.

    Attributes:
        tensor: its name in the graph.
        operator: type of the node that makes it.
        kind: `float32`, or `uint8` or `int8` in a quantised graph.
        values: numbers in it for one window.
    """

    tensor: str
    operator: str
    kind: str
    values: int


class Graph:
    """An ONNX file, read and with its shapes inferred.

    Args:
        path: the file.
        source: name of its input.
        output: name of the output that is wanted; others are left aside.

    Raises:
        ModelError: it is no ONNX file, keeps its weights in other files, or has no such output.
    """

    def __init__(self, path: Path, source: str, output: str) -> None:
        self._source, self._output = source, output
        self._model = _load(path, source)
        self._shapes = _shapes(self._model.graph)
        if output not in {one for node in self._model.graph.node for one in node.output}:
            raise ModelError(f"{path}: no node makes its output {output!r}")

    def cut_points(self) -> list[CutPoint]:
        """Cut points from input to output, one of each group that differs by elementwise work or layout alone.

        Of a group the last is taken; in a quantised graph the last that is an integer already, since that one is sent
        without loss. Left out are those with only such light work before or behind them: they are the whole model
        elsewhere, its input or output written in another way.
        """
        groups: list[list[CutPoint]] = [[]]  # the first begins with the input
        before = self._shapes.get(self._source, ("", 0))[1]
        for point, light in self._singles():
            if not (light and before == point.values):
                groups.append([])
            groups[-1].append(point)
            before = point.values
        kept = [group for group in groups[1:] if self._output not in {one.tensor for one in group}]
        return [next((one for one in reversed(group) if one.kind != "float32"), group[-1]) for group in kept]

    def write(self, point: CutPoint, head: Path, tail: Path) -> None:
        """Write the graph from the input to the cut, and the one from there to the output.

        Raises:
            ModelError: the graph cannot be taken apart here.
        """
        extractor = utils.Extractor(self._model)
        try:
            onnx.save(extractor.extract_model([self._source], [point.tensor]), str(head))
            onnx.save(extractor.extract_model([point.tensor], [self._output]), str(tail))
        except Exception as why:  # it raises errors of several kinds, bare ones among them
            raise ModelError(f"{point.tensor}: cannot be cut here: {type(why).__name__}: {why}") from why

    def _singles(self) -> Iterator[tuple[CutPoint, bool]]:
        """Tensors that alone separate the input from the output; and whether only light work lies behind the last one.

        In any topological order, which ONNX demands of a file, such a tensor is the only one alive right after its
        node: another one that is alive there could reach the output without it.
        """
        nodes = self._needed()
        last = {name: i for i, node in enumerate(nodes) for name in _reads(node)} | {self._output: len(nodes)}
        alive, from_input, light = {self._source}, {self._source}, True
        for i, node in enumerate(nodes):
            if from_input.isdisjoint(_reads(node)):
                continue
            from_input |= set(node.output)
            light = light and node.op_type in _LIGHT
            alive = {name for name in alive | set(node.output) if last.get(name, -1) > i}
            if len(alive) == 1 and (name := next(iter(alive))) in node.output and name in self._shapes:
                kind, values = self._shapes[name]
                yield CutPoint(name, node.op_type, kind, values), light
                light = True

    def _needed(self) -> list[Any]:
        """The nodes that the output depends on, in their order."""
        wanted, found = {self._output}, []
        for node in reversed(self._model.graph.node):
            if not wanted.isdisjoint(node.output):
                wanted |= _reads(node)
                found.append(node)
        return found[::-1]


def _load(path: Path, source: str) -> Any:
    """The file for one window at a time, with what follows from that: constants folded, shapes inferred."""
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as why:
        raise ModelError(f"{path}: cannot be read: {why.strerror or why}") from why
    except Exception as why:  # protobuf's DecodeError, by whichever of its three implementations
        raise ModelError(f"{path}: is no ONNX file: {why}") from why
    if any(one.external_data for one in model.graph.initializer):
        raise ModelError(f"{path}: keeps its weights in other files; export it as one file")
    for port in [*(one for one in model.graph.input if one.name == source), *model.graph.output]:
        _alone(port)
    del model.graph.value_info[:]
    try:
        folded = model if _QUANTISED & {node.op_type for node in model.graph.node} else _folded(model)
        return shape_inference.infer_shapes(folded, data_prop=True)
    except Exception as why:  # ONNX Runtime's and the inference's own, without a common base
        raise ModelError(f"{path}: its shapes for one window cannot be found: {why}") from why


def _alone(port: Any) -> None:
    """Fix the batch of an input or output at 1."""
    if lengths := port.type.tensor_type.shape.dim:
        lengths[0].Clear()
        lengths[0].dim_value = 1


def _folded(model: Any) -> Any:
    """Without the nodes that only compute shapes: else each Shape of the input would run past every cut."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(model, str(before))
        quantization.quant_pre_process(str(before), str(after), skip_symbolic_shape=True)
        return onnx.load(str(after))


def _reads(node: Any) -> set[str]:
    """Tensors that a node reads, in its branches and loop bodies too."""
    inner = [graph for one in node.attribute for graph in ([one.g] if one.HasField("g") else one.graphs)]
    return {name for name in node.input if name}.union(*(_reads(one) for graph in inner for one in graph.node))


def _shapes(graph: Any) -> dict[str, tuple[str, int]]:
    """Type, and numbers for one window, of each tensor that can be sent: all its lengths but the first are known."""
    found = {}
    for one in [*graph.input, *graph.value_info, *graph.output]:
        tensor = one.type.tensor_type
        lengths: Sequence[int] = [length.dim_value for length in tensor.shape.dim][1:]
        if tensor.elem_type in KINDS and tensor.shape.dim and all(lengths):
            found[one.name] = KINDS[tensor.elem_type], math.prod(lengths)
    return found
