"""Parts that are installed only where they are asked for: the extras of pyproject.toml."""

from __future__ import annotations

from typing import Final

_BRINGS: Final = {
    "paho": "edge",
    "mqtt5": "bridge",
    "onnxruntime": "bridge",
    "aiomqtt": "bridge",
    "iotcore": "embedded",
    "onnx": "quantize",
}


def advice(missing: ModuleNotFoundError) -> str:
    """What to install for a module that is not there.

    Raises:
        ModuleNotFoundError: the same; no extra brings it, so that it is a fault of this package.
    """
    module = (missing.name or "").partition(".")[0]
    if module not in _BRINGS:
        raise missing
    return f"the package for {module} is not installed: pip install 'edge-inference-bridge[{_BRINGS[module]}]'"
