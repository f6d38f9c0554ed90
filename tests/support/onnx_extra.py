"""Modules that need the package onnx: imported, or the test is skipped; and what they say where it is missing."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest

from bridge.errors import ConfigError

if TYPE_CHECKING:
    from types import ModuleType


def with_onnx(module: str = "onnx") -> ModuleType:
    """The module; the test is skipped where onnx is not installed."""
    pytest.importorskip("onnx", reason="needs the extra quantize")
    return importlib.import_module(module)


def without_onnx_says_what_to_install(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Import the module as where onnx is not installed, and check what it says."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'edge-inference-bridge\[quantize\]'"):
        importlib.import_module(module)
