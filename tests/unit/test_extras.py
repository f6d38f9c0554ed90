"""A command whose optional package is not there says which to install."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bridge.extras import advice

ROOT = Path(__file__).parents[2]
WITHOUT = """
import sys
sys.modules[{module!r}] = None
from {package}.cli import main
sys.exit(main({arguments!r}))
"""
AGENT = """
[agent]
site = "home"
device = "w1"
url = "mqtt://127.0.0.1:1"
state = "{store}"
[[streams]]
name = "wrist"
source = "stdin"
"""


@pytest.mark.parametrize(
    ("module", "extra", "package", "arguments"),
    [
        ("paho", "edge", "edge_agent", ["run", "--config", "agent.toml"]),
        ("mqtt5", "bridge", "bridge", ["run"]),
        ("onnxruntime", "bridge", "bridge", ["check"]),
        ("mqtt5", "bridge", "cloud_agent", ["run"]),
    ],
)
def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it(
    tmp_path: Path, module: str, extra: str, package: str, arguments: list[str]
) -> None:
    (tmp_path / "agent.toml").write_text(AGENT.format(store=tmp_path))
    program = WITHOUT.format(module=module, package=package, arguments=arguments)
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, "Traceback" in ran.stderr) == (2, False), ran.stderr
    assert f"[{extra}]" in ran.stderr


def test_what_no_extra_brings_is_a_fault_of_ours() -> None:
    with pytest.raises(ModuleNotFoundError):
        advice(ModuleNotFoundError("No module named 'bridge.gone'", name="bridge.gone"))


def test_every_extra_named_is_one() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for module in ("paho.mqtt.client", "mqtt5", "onnxruntime", "aiomqtt", "iotcore", "onnx"):
        named = advice(ModuleNotFoundError(name=module)).rpartition("[")[2].rstrip("]'")
        assert any(one.startswith(module.partition(".")[0]) for one in extras[named]), module
