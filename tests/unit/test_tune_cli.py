"""`inference-bridge models tune | quantize` and what `check` says of it, on the shipped model."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from bridge.catalog import Catalog
from bridge.cli import main
from bridge.runtime import ort, providers
from bridge.runtime.machine import cores

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = '[bridge]\nid = "gw-1"\n[[routes]]\nstream = "a"\nmodel = "activity"\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "bridge.toml"
    file.write_text(CONFIG)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped model."""
    shipped, copy = Catalog()["activity"].folder, tmp_path / "models/activity"
    shutil.copytree(shipped, copy, ignore=shutil.ignore_patterns("*.py", "*.png"))
    return copy


def test_tune_measures_remembers_and_check_shows_it(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["check", "--config", str(config)]) == 0
    assert "not tuned here" in capsys.readouterr().out
    assert main(["models", "tune", "activity", "--config", str(config), "--seconds", "0.01"]) == 0
    printed = capsys.readouterr().out
    (kept,) = json.loads((config.parent / "state/tuned.json").read_bytes())
    assert kept["accuracy"] >= 0.87
    assert kept["files"].keys() == {"small-fp32", "small-int8"}
    assert f"chosen   {kept['variant']} on {kept['provider']}" in printed
    assert printed.count("small-int8  cpu") == printed.count("small-fp32  cpu")
    assert printed.count("█") > 10
    assert ("2 spinning" in printed) == (cores() > 1)
    assert main(["check", "--config", str(config)]) == 0
    shown = capsys.readouterr().out
    assert f"1.0.0: {kept['variant']} on CPUExecutionProvider" in shown
    assert "tuned here: " in shown
    monkeypatch.setattr(ort, "version", lambda: "9.9.9")
    assert main(["check", "--config", str(config)]) == 0
    assert "is not used: ONNX Runtime was " in capsys.readouterr().out


def test_a_model_by_its_folder_and_recordings_of_ones_own(
    config: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = config.parent / "mine"
    shutil.move(folder / "sample", mine)
    tune = ["models", "tune", str(folder), "--tier", "cloud", "--config", str(config), "--seconds", "0.01"]
    assert main(tune) == 2
    assert "sample/recordings.csv: labelled recordings are needed" in capsys.readouterr().err
    table = (mine / "recordings.csv").read_text().splitlines()
    (mine / "recordings.csv").write_text("\n".join(table[:3]) + "\n")
    assert main([*tune, "--recordings", str(mine)]) == 0
    assert "tier cloud" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tune", "nowhere"], "no model 'nowhere'"),
        (["tune", "activity", "--seconds", "0"], "--seconds"),
        (["tune", "activity", "--seconds", "nan"], "--seconds"),
        (["tune", "activity", "--recordings", "nowhere"], "nowhere/recordings.csv"),
        (["tune", "nowhere.onnx"], "nowhere.onnx: no such file"),
        (["tune", "activity", "--config", "nowhere.toml"], "nowhere.toml: no such file"),
    ],
)
def test_what_cannot_be_used_is_2(
    arguments: list[str],
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["models", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_check_says_which_provider_does_not_load(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [providers.BY_NAME[name].ort for name in ("openvino", "cpu")]
    if names[0] in ort.providers():
        pytest.skip("this ONNX Runtime has OpenVINO")
    monkeypatch.setattr(ort, "providers", lambda: names)
    with pytest.warns(UserWarning, match="OpenVINO"):
        assert main(["check", "--config", str(config)]) == 0
    shown = capsys.readouterr().out
    assert "provider openvino: DOES NOT LOAD: " in shown
    assert "provider cpu: loads\n" in shown
    assert f"ONNX Runtime {ort.version()}" in shown


def test_quantize_without_onnx_says_what_to_install(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "bridge.runtime.quantizer", raising=False)
    monkeypatch.delattr("bridge.runtime.quantizer", raising=False)
    assert main(["models", "quantize", str(folder)]) == 2
    assert "pip install 'edge-inference-bridge[quantize]'" in capsys.readouterr().err


class TestQuantize:
    @pytest.fixture(autouse=True)
    def _needs_onnx(self) -> None:
        pytest.importorskip("onnx", reason="needs the extra quantize")

    def test_writes_a_variant_that_the_catalog_takes(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        command = ["models", "quantize", str(folder / "small-fp32.onnx"), "--name", "mine"]
        assert main(command) == 0
        assert '[[variants]]\nname = "mine"\nfile = "mine.onnx"\n' in capsys.readouterr().out
        (folder / "mine.onnx").unlink()
        assert main([*command, "--write"]) == 0
        mine = Catalog(folder.parent)["activity"].variant("mine")
        assert (mine.precision, mine.tier) == ("int8", "bridge")
        float_one = Catalog(folder.parent)["activity"].variant("small-fp32")
        assert (mine.below, mine.escalation, mine.target) == (float_one.below, float_one.escalation, None)
        assert main([*command, "--write"]) == 2
        assert "mine is there already" in capsys.readouterr().err

    def test_refuses_with_1_and_says_why(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["models", "quantize", str(folder / "small-int8.onnx"), "--name", "mine"]) == 1
        assert "small-int8.onnx is not quantised, and stays as it is: it is quantised" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("more", "told"),
        [
            ([], "each fp32 variant has an int8 one"),
            (["--name", "x"], "several float variants, small-fp32, big-fp32"),
            (["--variant", "nowhere", "--name", "x"], "no variant 'nowhere'"),
        ],
    )
    def test_which_variant(self, folder: Path, more: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["models", "quantize", str(folder), *more]) == 2
        assert told in capsys.readouterr().err

    @pytest.mark.parametrize("name", ["../../evil", "a/b", "", "."])
    def test_a_name_that_is_none_writes_nothing(
        self, folder: Path, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = sorted(folder.parents[1].rglob("*"))
        assert main(["models", "quantize", str(folder), "--variant", "small-fp32", "--name", name]) == 2
        assert f"--name: {name!r} is not a name" in capsys.readouterr().err
        assert sorted(folder.parents[1].rglob("*")) == before

    def test_a_file_without_a_manifest(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "x.onnx").write_bytes(b"")
        assert main(["models", "quantize", str(tmp_path / "x.onnx")]) == 2
        assert "no model.toml beside it" in capsys.readouterr().err
