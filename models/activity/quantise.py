"""ONNX files: export in float, static QDQ int8, and how they are run and timed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import torch
from dataset import CHANNELS, ROWS
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

if TYPE_CHECKING:
    from nets import Classifier
    from numpy.typing import NDArray

OPSET = 17
CALIBRATION_WINDOWS = 512
QUANTISED_OPERATORS = ["Conv", "MaxPool", "Gemm"]


def export(net: Classifier, path: Path) -> None:
    """Write the float graph: input `window` batch × 128 × 6, output `logits` batch × 7, opset 17.

    The file appears only when it is complete and valid.

    The TorchScript exporter is used because it needs no further package and folds the batch normalisation.
    """
    part = path.with_suffix(".part")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch announces the end of this exporter
        torch.onnx.export(
            net.eval(),
            (torch.zeros(1, ROWS, len(CHANNELS)),),
            str(part),
            input_names=["window"],
            output_names=["logits"],
            dynamic_axes={"window": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(str(part), full_check=True)
    part.rename(path)


class _Windows(CalibrationDataReader):  # type: ignore[misc]  # the base class is untyped
    """Hands calibration windows to the quantiser, a batch at a time."""

    def __init__(self, x: NDArray[np.float32]) -> None:
        self._batches = iter(np.array_split(x, max(1, len(x) // 64)))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next feed, or None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {"window": batch}


def quantise(source: Path, target: Path, windows: NDArray[np.float32]) -> None:
    """Write the int8 file: uint8 activations, int8 weights per channel, QDQ format.

    Activation ranges are the 99.99 percentile: on out-of-fold windows that kept more labels than the extremes did. Only
    convolutions, pooling and the head are quantised, so normalisation and transpose stay in float ahead of the first
    QuantizeLinear.

    Args:
        source: Float graph.
        target: Where to write.
        windows: N × 128 × 6 float32 raw windows of training subjects; evenly spaced ones calibrate.
    """
    chosen = windows[np.linspace(0, len(windows) - 1, CALIBRATION_WINDOWS).round().astype(int)]
    logging.getLogger().setLevel(logging.ERROR)  # the quantiser advises, through the root logger, what is done here
    try:
        # The calibrator prints its progress.
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            ready = Path(folder) / "ready.onnx"
            quant_pre_process(str(source), str(ready), skip_optimization=True, skip_symbolic_shape=True)
            quantize_static(
                str(ready),
                str(target),
                _Windows(chosen),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=QUANTISED_OPERATORS,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.Percentile,
                extra_options={"CalibPercentile": 99.99},
            )
    finally:
        logging.getLogger().setLevel(logging.INFO)
    onnx.checker.check_model(str(target), full_check=True)


def session(path: Path) -> onnxruntime.InferenceSession:
    """Open a file on the CPU with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(path: Path, x: NDArray[np.float32], batch: int = 64) -> NDArray[np.float32]:
    """Return N × 7 float32 logits of N × 128 × 6 raw windows, run `batch` at a time."""
    opened = session(path)
    parts = [opened.run(["logits"], {"window": x[i : i + batch]})[0] for i in range(0, len(x), batch)]
    return np.concatenate(parts)


def microseconds(path: Path, x: NDArray[np.float32], batch: int, seconds: float = 1.0) -> float:
    """Return the median time of one window in µs, one thread, batches of `batch`, over about `seconds`."""
    opened = session(path)
    feed = {"window": x[:batch]}
    for _ in range(20):
        opened.run(["logits"], feed)
    taken = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        opened.run(["logits"], feed)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken)) / batch * 1e6


def sha256(path: Path) -> str:
    """Return the hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
