"""`inference-bridge models calibrate`, and `models fidelity --write`, on the shipped model."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bridge.catalog import Catalog, load_manifest
from bridge.cli import main
from bridge.errors import ModelError, StoreError
from bridge.runtime.variant_lines import set_keys

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = Catalog()["activity"].folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped model."""
    copy = tmp_path / "models/activity"
    shutil.copytree(SHIPPED, copy, ignore=shutil.ignore_patterns("*.py", "*.png"))
    return copy


def change(folder: Path, **arrays: Any) -> Path:
    """The shipped logits with other arrays; None leaves one out."""
    with np.load(folder / "calibration.npz") as data:
        held = {name: data[name] for name in data.files} | arrays
    file = folder / "calibration.npz"
    np.savez(file, **{name: array for name, array in held.items() if array is not None})
    return file


def test_the_shipped_manifest_is_what_the_commands_find(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "model.toml").read_text()
    assert main(["models", "calibrate", str(folder), "--write"]) == 0
    assert main(["models", "fidelity", str(folder), "--write"]) == 0
    assert (folder / "model.toml").read_text() == before
    assert capsys.readouterr().out.count(f"written to {folder / 'model.toml'}") == 2


def test_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    before = (SHIPPED / "model.toml").read_bytes()
    assert main(["models", "calibrate", "activity"]) == 0
    said = capsys.readouterr().out
    small = load_manifest(SHIPPED).variant("small-int8")
    assert said.startswith("activity: 2460 labelled windows, calibration.npz (out of fold, subjects 1-7, seed 0)\n")
    assert f"\nsmall-int8     90.7%       {small.temperature}  " in said
    assert f"\ntarget up<=0.15: below = {small.below}: 10.0% sent up, " in said
    assert "\nentropy " in said
    assert "\nmax stays: " in said
    assert "◀ about here" in said
    assert "\n7            405 " in said
    assert "\n# small-int8: calibrated on 2460 windows of calibration.npz" in said
    assert 'target = "up<=0.15"\n' in said
    assert (SHIPPED / "model.toml").read_bytes() == before


def test_the_shipped_temperatures_keep_the_bound_on_people_they_were_not_fitted_to(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["models", "calibrate", "activity", "--recordings", str(SHIPPED / "sample")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    errors = {cells[0]: float(cells[4]) for cells in lines if len(cells) == 6 and cells[1].endswith("%")}
    assert {name for name, error in errors.items() if 0.0 < error <= 0.05} >= {"small-int8", "big-int8"}


@pytest.mark.parametrize(("target", "told"), [("up<=0.05", "sent up"), ("cloud>=0.98", "nothing need be sent up")])
def test_another_target_moves_the_threshold(
    folder: Path, target: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = load_manifest(folder).variant("small-int8")
    assert main(["models", "calibrate", str(folder), "--target", target, "--write"]) == 0
    assert told in capsys.readouterr().out
    after = load_manifest(folder).variant("small-int8")
    assert after.target == target
    assert after.below is not None
    assert before.below is not None
    assert after.below < before.below
    assert (after.temperature, after.escalation) == (before.temperature, before.escalation)
    text = (folder / "model.toml").read_text()
    assert text.startswith("# Written by train.py")
    assert f"seed 0), target {target}\ntemperature" in text


def test_recordings_of_ones_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = folder / "sample"
    assert main(["models", "calibrate", str(folder), "--recordings", str(sample), "--write"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("activity: 1145 labelled windows, recordings in sample\n")
    assert "\n10           400 " in said
    assert (
        "# calibrated on 1145 windows of recordings in sample, target up<=0.15\n" in (folder / "model.toml").read_text()
    )
    load_manifest(folder)
    table = (sample / "recordings.csv").read_text().replace(",10,", ",,")
    (sample / "recordings.csv").write_text(table)
    assert main(["models", "calibrate", str(folder), "--recordings", str(sample)]) == 0
    assert "subject  windows" not in capsys.readouterr().out  # not known of all


def test_a_model_that_escalates_nothing_yet_gets_what_it_needs(folder: Path) -> None:
    file = folder / "model.toml"
    wanted = load_manifest(folder).variants
    drop = ("escalates_to", "below", "measure", "escalation", "target", "temperature", "# calibrated")
    lines = file.read_text().splitlines()
    file.write_text("".join(f"{line}\n" for line in lines if not line.startswith(drop)))
    assert main(["models", "calibrate", str(folder), "--target", "up<=0.15", "--write"]) == 0
    found = load_manifest(folder)
    assert found.variant("small-int8") == wanted[1]
    assert found.variant("small-fp32").escalates_to == "big-int8"  # the cloud's
    assert found.variant("big-int8") == wanted[3]


def test_without_a_target_nothing_is_typed_in_blind(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "model.toml"
    file.write_text(file.read_text().replace('target = "up<=0.15"\n', ""))
    assert main(["models", "calibrate", str(folder), "--write"]) == 2
    assert "activity/small-fp32: no target is declared" in capsys.readouterr().err


def test_logits_without_subjects_labels_and_source(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = change(folder, subject=None, labels=None, about=None, **{"logits/small-int8": None, "logits/big-int8": None})
    mine = file.rename(folder.parent / "mine.npz")
    assert main(["models", "calibrate", str(folder), "--logits", str(mine)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("activity: 2460 labelled windows, mine.npz\n")
    assert "small-fp32 → big-fp32" in said
    assert "int8" not in said.replace(str(folder), "")
    assert "\nsubject " not in said


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"y": None}, "y: must be there"),
        ({"logits/big-int8": None}, "has logits of small-int8, but not of big-int8, to which it escalates"),
        ({"y": np.zeros(2460)}, "y: must be there, whole numbers"),
        ({"y": np.full(2460, 7)}, "y: 7 to 7 are not columns of 7 labels"),
        ({"y": np.zeros(50, np.int8)}, "must be finite numbers of shape (50, 7)"),
        ({"labels": np.array(["a", "b"])}, "labels: are not activity's, pendulum"),
        ({"subject": np.zeros(3)}, "subject: shape (3,) for 2460 windows"),
        ({"logits/big-int8": np.full((2460, 7), np.nan, np.float32)}, "logits/big-int8: must be finite"),
        ({"about": np.array({}, object)}, "calibration.npz: logits of labelled windows cannot be read"),
        (
            {f"logits/{name}": None for name in ("small-int8", "small-fp32", "big-int8", "big-fp32")},
            "has logits of nothing",
        ),
    ],
)
def test_logits_that_do_not_fit(
    folder: Path, arrays: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(folder, **arrays)
    assert main(["models", "calibrate", str(folder)]) == 2
    assert told in capsys.readouterr().err


def test_too_few_windows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with np.load(folder / "calibration.npz") as data:
        few = {name: data[name][:99] for name in data.files if name not in {"labels", "about"}}
    change(folder, **few)
    assert main(["models", "calibrate", str(folder)]) == 2
    assert "99 windows to calibrate with, 100 are needed" in capsys.readouterr().err


def test_no_data_is_not_replaced_by_the_held_out_sample(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "calibration.npz").unlink()
    assert main(["models", "calibrate", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "calibration.npz: logits of labelled windows cannot be read: No such file" in said
    assert "or give --recordings" in said


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["calibrate", "activity", "--target", "0.7"], "--target: '0.7' is no target"),
        (["calibrate", "activity", "--recordings", "nowhere"], "nowhere/recordings.csv"),
        (["calibrate", "nowhere"], "no model 'nowhere'"),
        (["fidelity", "activity", "--write", "--tier", "cloud"], "leave out --tier and --rows"),
        (["fidelity", "activity", "--write", "--rows", "64"], "leave out --tier and --rows"),
    ],
)
def test_what_cannot_be_used_is_2(more: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", *more]) == 2
    assert told in capsys.readouterr().err


def test_a_manifest_that_would_contradict_itself_stays_as_it_was(folder: Path) -> None:
    before = (folder / "model.toml").read_bytes()
    with pytest.raises(ModelError, match="placed by 'max' alone"):
        set_keys(folder, {"small-int8": ({"measure": "margin"}, "calibrated by hand")})
    assert (folder / "model.toml").read_bytes() == before
    (folder / "model.part").mkdir()
    with pytest.raises(StoreError, match=r"model\.toml: cannot be written: Is a directory"):
        set_keys(folder, {"small-int8": ({"below": 0.5}, "calibrated by hand")})
    assert (folder / "model.toml").read_bytes() == before


def test_a_better_measure_is_told_and_not_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wavering, leading = [0.5, 0.48] + [0.004] * 5, [0.45] + [0.55 / 6] * 6
    truth = [0] * 9 + [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6]  # of 20 that lead: as often as they say
    y = np.array([c for _ in range(15) for k, lead in enumerate(truth) for c in (k % 2, lead)])
    small = np.log(np.array([wavering, leading] * 300)).astype(np.float32)
    right = (y + [0, 1] * 300) % 7  # the cloud knows the wavering ones, and none that lead
    big = np.where(right[:, None] == np.arange(7), 5.0, 0.0).astype(np.float32)
    file = folder.parent / "mine.npz"
    np.savez(file, y=y, **{"logits/small-int8": small, "logits/big-int8": big})
    assert main(["models", "calibrate", str(folder), "--logits", str(file), "--write"]) == 0
    assert "margin would choose better; this version places by max" in capsys.readouterr().out
    assert load_manifest(folder).variant("small-int8").measure == "max"


def test_a_manifest_that_cannot_be_edited_stays_as_it_was(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "model.toml"
    text = file.read_text()
    before = text[: text.index("\n[fidelity]")].replace("\n[input]", "\nfidelity = { int8 = 0.5 }\n\n[input]")
    before += text[text.index("[[variants]]") :]
    file.write_text(before)
    assert main(["models", "fidelity", str(folder), "--write"]) == 2
    assert "cannot be edited: it has no [fidelity] table under a header" in capsys.readouterr().err
    assert file.read_text() == before
