"""The adapter to ONNX Runtime: every session is opened, and its errors translated, here."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from bridge.runtime.providers import Choice

try:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as _native
except ImportError as _error:  # pragma: no cover # needs an environment without it
    raise ConfigError(
        f"ONNX Runtime cannot be imported ({_error}): pip install 'edge-inference-bridge[bridge]', or [gpu]"
    ) from _error

_ERRORS_ONLY = (
    3  # its severity scale; warnings would fill stderr, and the reason why a provider did not load is an error
)
onnxruntime.set_default_logger_severity(_ERRORS_ONLY)

# What is wrong with the file whatever runs it. Its exceptions share no base class of their own.
_GRAPH_ERRORS: tuple[type[Exception], ...] = (
    _native.InvalidProtobuf,
    _native.InvalidGraph,
    _native.NoSuchFile,
    _native.NoModel,
    UnicodeDecodeError,  # from its bindings, when a broken file's name of an operator is no text
)
ERRORS: tuple[type[Exception], ...] = (
    *_GRAPH_ERRORS,
    *(kind for kind in vars(_native).values() if isinstance(kind, type) and issubclass(kind, Exception)),
    RuntimeError,
    ValueError,
)


def version() -> str:
    """Version of the ONNX Runtime installed."""
    return str(onnxruntime.__version__)


def providers() -> list[str]:
    """ONNX Runtime's names of the execution providers that it was built with."""
    return list(onnxruntime.get_available_providers())


def open_session(path: Path, choice: Choice, *, threads: int, spinning: bool) -> Any:
    """Open a graph on a provider, or fail: never on another provider in silence (onnxruntime#23372).

    Args:
        path: the ONNX file.
        choice: provider and options.
        threads: threads that share one operator.
        spinning: whether they burn CPU while they wait for work.

    Returns:
        An `onnxruntime.InferenceSession`.

    Raises:
        ModelError: the file is no graph that ONNX Runtime can run.
        ConfigError: the provider did not load.
    """
    if choice.provider.name in {"cuda", "tensorrt"}:
        _preload()
    with translated(path, choice):
        session = onnxruntime.InferenceSession(
            str(path),
            _options(threads=threads, spinning=spinning),
            providers=choice.with_threads(threads).stack,
            enable_fallback=0,  # else it prints to stdout, and runs on the CPU
        )
    if session.get_providers()[0] != choice.provider.ort:
        raise ConfigError(
            f"provider: {choice.provider.name} ({choice.provider.ort}) did not load, ONNX Runtime {version()} offers "
            f"{', '.join(session.get_providers())} instead; its reason is on stderr above. Needed: "
            f"{choice.provider.install}"
        )
    nodes = placement(session)
    if nodes and choice.provider.ort not in nodes:
        raise ConfigError(
            f"provider: {choice.provider.name} ({choice.provider.ort}) loaded, but can run none of {path}'s "
            f"{nodes.total()} nodes: use another provider, or another precision of the model"
        )
    return session


def placement(session: Any) -> Counter[str]:
    """How many of the graph's nodes each provider runs, by ONNX Runtime's names; empty before version 1.24."""
    nodes: Counter[str] = Counter()
    if hasattr(session, "get_provider_graph_assignment_info"):
        for part in session.get_provider_graph_assignment_info():
            nodes[part.ep_name] += len(part.get_nodes())
    return nodes


def bound_run(session: Any, source: tuple[str, NDArray[Any]], target: tuple[str, NDArray[Any]]) -> Callable[[], object]:
    """A call that runs a session on buffers in the CPU's memory, again at each call; the buffers must outlive it.

    Args:
        session: as `open_session` gives it, on the CPU.
        source: name of the graph's input, and the C-contiguous float32 array that it reads.
        target: name of the graph's output, and the C-contiguous float32 array that it writes.
    """
    binding = session.io_binding()
    for bind, (name, array) in ((binding.bind_input, source), (binding.bind_output, target)):
        bind(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
    return functools.partial(session.run_with_iobinding, binding)


@functools.cache
def _preload() -> None:
    """Load CUDA's and cuDNN's libraries from NVIDIA's wheels, where those are installed."""
    with contextlib.redirect_stdout(sys.stderr):  # it prints, and our stdout is for the ready line
        onnxruntime.preload_dlls()


@contextlib.contextmanager
def translated(path: Path, choice: Choice) -> Iterator[None]:
    """Turn ONNX Runtime's errors while loading into ours: the file's fault, or the provider's.

    Raises:
        ModelError: the file is at fault, or it fails on the CPU, which runs every graph that is valid.
        ConfigError: it fails on a provider that may lack libraries, a device or an operator.
    """
    try:
        yield
    except ERRORS as error:
        why = str(error).strip()
        if isinstance(error, _GRAPH_ERRORS) or choice.provider.name == "cpu":
            raise ModelError(
                f"{path}: ONNX Runtime {version()} cannot load it: {why}; export the graph again and check it with "
                "onnx.checker"
            ) from error
        raise ConfigError(
            f"provider: {choice.provider.name} ({choice.provider.ort}) failed to load {path}: {why}. Needed: "
            f"{choice.provider.install}"
        ) from error


def _options(*, threads: int, spinning: bool) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The arena, filled once by the biggest batch, and no plan of memory for each shape: measured, this grows least
    # (big fp32 activity model, 50 shapes: 1.01×; 1.03× with plans; 1.6× to 1.9× with malloc instead of the arena).
    options.enable_cpu_mem_arena = True
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return options
