"""The adapter to ONNX Runtime's quantiser, which needs `onnx`; a `bridge.runtime.quantize.Quantiser`."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import ConfigError, ModelError
from bridge.runtime.quantize import QuantisationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.runtime.port import Windows
    from bridge.runtime.quantize import Method

try:
    import onnx
    from onnxruntime import quantization
except ImportError as _error:
    raise ConfigError(
        f"quantising needs the package onnx ({_error}): pip install 'edge-inference-bridge[quantize]'"
    ) from _error

CALIBRATION_WINDOWS = 512
PERCENTILE = 99.99  # of activations; models/activity kept more labels with it than with the extremes
_BATCH = 64
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
_PRODUCTS = frozenset({"MatMul", "Gemm", "Attention", "LSTM", "GRU"})
_STATIC = ["Conv", "ConvTranspose", "MaxPool", "Gemm", "MatMul"]  # what surrounds them, normalisation say, stays float
_DYNAMIC = ["MatMul", "Gemm", "Attention", "LSTM"]
_QUANTISED = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "MatMulInteger", "ConvInteger"}
)


def method_for(graph: Path) -> Method:
    """How a graph of this type is quantised: static QDQ with convolutions, dynamic with matrix products alone.

    Dynamic quantisation makes convolution nets 2 to 5 times slower; static loses more accuracy where activations vary
    as widely as BERT's.

    Args:
        graph: a float ONNX file.

    Raises:
        ModelError: it is no ONNX file.
        QuantisationError: it is quantised already, keeps its weights in other files, or has nothing to quantise.
    """
    model = _load(graph)
    kinds = {node.op_type for node in model.graph.node}
    if kinds & _QUANTISED:
        raise QuantisationError(f"it is quantised already: it has {', '.join(sorted(kinds & _QUANTISED))}")
    if any(one.external_data for one in model.graph.initializer):
        raise QuantisationError("it keeps its weights in other files; export it as one file")
    if kinds & _CONVOLUTIONS:
        return "static"
    if kinds & _PRODUCTS:
        return "dynamic"
    raise QuantisationError(
        f"it has no convolution and no matrix product, only {', '.join(sorted(kinds)) or 'nothing'}"
    )


def parameters(graph: Path) -> int:
    """Numbers in the weights of an ONNX file.

    Raises:
        ModelError: it is no ONNX file.
    """
    return sum(int(np.prod(one.dims, dtype=np.int64)) for one in _load(graph).graph.initializer)


def quantise(source: Path, target: Path, method: Method, *, name: str, windows: Windows) -> None:
    """Write the int8 graph: int8 weights per channel, uint8 activations; `static` in QDQ format.

    Args:
        source: the float ONNX file.
        target: where to write.
        method: see `method_for`.
        name: the graph's input.
        windows: float32, shape (n, rows, channels): evenly spaced ones calibrate a `static` graph.

    Raises:
        QuantisationError: the quantiser fails, or what it writes is no valid graph.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        with _step("it fails to quantise"):
            if method == "static":
                _static(source, target, Path(folder) / "ready.onnx", _Feeds(name, windows, _batch(source)))
            else:
                _dynamic(source, target, Path(folder) / "ready.onnx")
        with _step("it comes out invalid"):
            onnx.checker.check_model(str(target), full_check=True)
        kinds = {node.op_type for node in _load(target).graph.node}
    if not kinds & _QUANTISED:
        raise QuantisationError("the quantiser left every operator in float")


def _batch(graph: Path) -> int:
    """Windows to calibrate with at once: as many as the graph insists on, or `_BATCH`."""
    first = _load(graph).graph.input[0].type.tensor_type.shape.dim
    return (first[0].dim_value if first else 0) or _BATCH


def _static(source: Path, target: Path, ready: Path, feeds: _Feeds) -> None:
    quantization.quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
    quantization.quantize_static(
        str(ready),
        str(target),
        feeds,
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=_STATIC,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=quantization.CalibrationMethod.Percentile,
        extra_options={"CalibPercentile": PERCENTILE},
    )


def _dynamic(source: Path, target: Path, ready: Path) -> None:
    ready.write_bytes(source.read_bytes())  # it writes beside its source
    quantization.quantize_dynamic(
        str(ready),
        str(target),
        op_types_to_quantize=_DYNAMIC,
        per_channel=True,
        weight_type=quantization.QuantType.QInt8,
    )


class _Feeds(quantization.CalibrationDataReader):  # type: ignore[misc] # the base class has no types
    """Hands windows to the calibrator, a batch at a time."""

    def __init__(self, name: str, windows: Windows, size: int) -> None:
        size = min(size, len(windows))
        count = min(CALIBRATION_WINDOWS, len(windows)) // size * size  # it takes batches of one size only
        chosen = windows[np.linspace(0, len(windows) - 1, count).round().astype(int)]
        self._batches = iter([{name: batch} for batch in chosen.reshape(-1, size, *chosen.shape[1:])])

    def get_next(self) -> dict[str, Windows] | None:
        """The next feed, or None at the end."""
        return next(self._batches, None)


def _load(graph: Path) -> Any:
    try:
        return onnx.load(str(graph), load_external_data=False)
    except OSError as why:
        raise ModelError(f"{graph}: cannot be read: {why.strerror or why}") from why
    except Exception as why:  # protobuf's DecodeError, by whichever of its three implementations
        raise ModelError(f"{graph}: is no ONNX file: {why}") from why


@contextlib.contextmanager
def _step(what: str) -> Iterator[None]:
    """Whatever the quantiser trips over is about this graph: it raises errors of a dozen kinds, asserts among them."""
    try:
        yield
    except Exception as why:
        raise QuantisationError(f"{what}: {type(why).__name__}: {_first_line(why)}") from why


def _first_line(why: Exception) -> str:
    return next((line.strip() for line in str(why).splitlines() if line.strip()), "no reason given")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """It prints its progress, and advises through the root logger what is done here already."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(before)
