"""What was tuned elsewhere is tuned anew while the bridge works, and taken up without a word from anybody."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import onnxruntime
import pytest

from bridge.catalog import default_directory
from tests.support.models import copy_shipped
from tests.support.programs import prepare_bridge, run_command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import RunningProgram

TOML = """
[bridge]
id = "gw-1"
retune = {retune}
[mqtt]
port = 0
port5 = 0
[coap]
enabled = false
[[routes]]
stream = "window"
model = "activity"
windows = "whole"
"""

pytestmark = pytest.mark.timeout(120)


def says(bridge: RunningProgram, text: str, within: float = 60.0) -> bool:
    end = time.monotonic() + within
    while text not in bridge.stderr and time.monotonic() < end:
        time.sleep(0.05)
    return text in bridge.stderr


def tuned_elsewhere(folder: Path, toml: str) -> Path:
    """A bridge's folder with a choice that was measured with another runtime."""
    prepare_bridge(folder, toml)
    sample, config = default_directory() / "activity" / "sample", folder / "bridge.toml"
    command = ["inference-bridge", "models", "tune", "activity", "--seconds", "0.2"]
    command += ["--recordings", str(sample), "--config", str(config)]
    done = run_command(*command, timeout=60)
    assert done.returncode == 0, done.stderr
    file = folder / "state" / "tuned.json"
    kept = json.loads(file.read_text())
    kept[0]["machine"]["runtime"] = "0.1"
    file.write_text(json.dumps(kept))
    return file


def runtime(file: Path) -> str:
    return str(json.loads(file.read_text())[0]["machine"]["runtime"])


def test_it_is_tuned_anew_beside_the_work(tmp_path: Path) -> None:
    toml = TOML.format(retune=0.2)
    file = tuned_elsewhere(tmp_path, toml)
    with prepare_bridge(tmp_path, toml).start() as bridge:
        assert says(bridge, "activity: version 1.0.0 answers from now on"), bridge.stderr
        assert "tuned here" in bridge.stderr
    assert runtime(file) == onnxruntime.__version__


def test_it_is_left_alone_where_the_owner_says_so(tmp_path: Path) -> None:
    toml = TOML.format(retune=0)
    file = tuned_elsewhere(tmp_path, toml)
    with prepare_bridge(tmp_path, toml).start() as bridge:
        assert says(bridge, "the tuned choice is not used"), bridge.stderr
        assert "tuning anew" not in bridge.stderr
    assert runtime(file) == "0.1"


def test_where_it_fails_it_says_so_and_the_manifest_s_variant_goes_on(tmp_path: Path) -> None:
    toml = TOML.format(retune=0.2).replace("retune", 'models = "models"\nretune')
    copy_shipped(tmp_path / "models")  # without recordings to measure accuracy on
    file = tuned_elsewhere(tmp_path, toml)
    with prepare_bridge(tmp_path, toml).start() as bridge:
        assert says(bridge, "activity: tuning anew failed (status 2): "), bridge.stderr
        assert bridge.running
    assert runtime(file) == "0.1"
