"""Does the graph take and give what the manifest says? Asked once, when it is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bridge.catalog import Manifest

_FLOAT32 = "tensor(float)"


def check(session: Any, manifest: Manifest, path: Path) -> int | None:
    """Compare a session's input and output with the manifest.

    Args:
        session: an `onnxruntime.InferenceSession`.
        manifest: the model it should be.
        path: its file, for errors.

    Returns:
        The only batch size that the graph takes; None when it takes any.

    Raises:
        ModelError: name, shape or type differ; says both, and what to change.
    """
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise ModelError(f"{path}: takes {len(inputs)} inputs, {_names(inputs)}; the bridge feeds exactly one")
    shape = manifest.input
    size = _agree(path, "input", inputs[0], shape.name, (shape.rows, len(shape.channels)), "rows, channels")
    output = next((one for one in session.get_outputs() if one.name == manifest.output.name), None)
    if output is None:
        raise ModelError(
            f"{path}: has no output {manifest.output.name!r} (model.toml: output.name), only "
            f"{_names(session.get_outputs())}"
        )
    _agree(path, "output", output, manifest.output.name, (len(manifest.output.labels),), "labels")
    return size


def _agree(path: Path, side: str, port: Any, name: str, tail: tuple[int, ...], words: str) -> int | None:
    if port.name != name:
        raise ModelError(f"{path}: its {side} is called {port.name!r}, model.toml says {side}.name = {name!r}")
    if port.type != _FLOAT32:
        raise ModelError(f"{path}: {side} {name!r} is {port.type}, not float32 ({_FLOAT32}); export it with float32")
    shape = list(port.shape)
    if len(shape) != 1 + len(tail) or any(isinstance(n, int) and n != m for n, m in zip(shape[1:], tail, strict=True)):
        raise ModelError(
            f"{path}: {side} {name!r} has shape {shape}, model.toml asks for (batch, {words}) = (any, "
            f"{', '.join(map(str, tail))})"
        )
    return shape[0] if isinstance(shape[0], int) else None


def _names(ports: Sequence[Any]) -> str:
    return ", ".join(repr(port.name) for port in ports)
