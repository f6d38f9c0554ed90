"""Manifests and the model repository, tried on the shipped model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import bridge
from bridge.catalog import Catalog, default_directory, load_manifest, verify
from bridge.errors import ModelError

MODELS = Path(bridge.__path__[0]).parent / "models"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped model that a test may break."""
    copy = tmp_path / "models" / "activity"
    shutil.copytree(MODELS / "activity", copy, ignore=shutil.ignore_patterns("sample", "*.py", "*.png"))
    return copy


def edit(folder: Path, old: str, new: str) -> None:
    file = folder / "model.toml"
    text = file.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in the shipped manifest any more"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_shipped_model_loads_and_its_files_are_its_own() -> None:
    manifest = load_manifest(MODELS / "activity")
    assert (manifest.name, manifest.input.rows, manifest.input.hop, len(manifest.input.channels)) == (
        "activity",
        128,
        64,
        6,
    )
    assert len(manifest.output.labels) == 7
    assert manifest.for_tier("bridge").escalates_to == manifest.for_tier("cloud").name
    for variant in manifest.variants:
        assert verify(manifest, variant) == manifest.folder / variant.file
    small = manifest.for_tier("bridge")
    assert (small.measure, small.target) == ("max", "up<=0.15")
    assert len(small.escalation) > 3
    assert set(manifest.fidelity) == {"float16", "int8", "int4"}


def test_the_default_directory_lies_beside_the_package() -> None:
    assert default_directory() == MODELS
    assert list(Catalog()) == ["activity"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("schema = 1", "schema = 2", ["schema"]),
        ('name = "activity"', 'name = "a/b"', ["name"]),
        ("hop = 64", "hops = 64", ["input", "hops"]),
        ("hop = 64", "", ["input", "hop", "missing"]),
        ("hop = 64", "hop = 129", ["input.hop", "129", "128"]),
        ("rows = 128", "rows = 0", ["input.rows"]),
        ("rows = 128", 'rows = "128"', ["input.rows"]),
        ("rate_hz = 50.0", "rate_hz = nan", ["input.rate_hz"]),
        ("mean = [", "mean = [0.0, ", ["normalisation.mean", "7", "6"]),
        ("std = [", "std = [inf, ", ["normalisation.std[0]", "inf is not a finite number"]),
        ("std = [", "std = [1.0, ", ["normalisation.std", "7", "6"]),
        ('units = ["g", ', "units = [", ["input.units", "5", "6"]),
        ('channels = ["acc_x", "acc_y"', 'channels = ["acc_x", "acc_x"', ["input.channels", "acc_x"]),
        ('labels = ["pendulum", "abduction"', 'labels = ["pendulum", "pendulum"', ["output.labels", "pendulum"]),
        ('kind = "logits"', 'kind = "votes"', ["output.kind"]),
        ('applied = "graph"', 'applied = "bridge"', ["normalisation.applied"]),
        ('bridge = "small-int8"', 'bridge = "tiny"', ["tiers.bridge", "tiny"]),
        ('cloud = "big-int8"', 'cloud = "huge"', ["tiers.cloud", "huge"]),
        ('escalates_to = "big-int8"', 'escalates_to = "huge"', ["escalates_to", "huge"]),
        ('escalates_to = "big-int8"', 'escalates_to = "small-int8"', ["escalates_to", "itself"]),
        ('escalates_to = "big-int8"', "", ["escalates_to and below"]),
        ('measure = "max"', 'measure = "luck"', ["measure"]),
        ('measure = "max"', 'measure = "entropy"', ["variants[0].measure", "'max' alone", "calibrate again"]),
        ('target = "up<=0.15"', 'target = "up<=15"', ["target"]),
        ('target = "up<=0.15"', 'target = "cloud<=0.9"', ["target"]),
        ("temperature = 0.8738", 'temperature = 0.8738\ntarget = "up<=0.1"', ["target", "need escalates_to"]),
        ("temperature = 0.8738", "temperature = 0.8738\nescalation = [[0.5, 0.5]]", ["need escalates_to"]),
        ("escalation = [", "escalation = [[0.9, 0.1], ", ["variants[0].escalation[1]", "certainty 0.4412", "0.9"]),
        ("escalation = [", "escalation = [[0.1, 0.9], ", ["variants[0].escalation[1]", "share 0.4923", "0.9"]),
        ("escalation = [", "escalation = [[0.1, 1.1], ", ["escalation"]),
        ("escalation = [", "escalation = [[0.1, nan], ", ["escalation"]),
        ("escalation = [", "escalation = [[0.1], ", ["escalation"]),
        ("float16 = 0.0", "float16 = -0.1", ["fidelity"]),
        ("float16 = 0.0", "float15 = 0.0", ["fidelity", "float15"]),
        ('file = "small-int8.onnx"', 'file = "../small-int8.onnx"', ["file", "inside"]),
        ('file = "small-int8.onnx"', 'file = "/etc/passwd"', ["file", "inside"]),
        ('file = "small-int8.onnx"', "file = 'C:\\x.onnx'", ["file", "inside"]),
        ('name = "small-int8"', 'name = "big-int8"', ["variants.name", "big-int8", "2 times"]),
        ('sha256 = "', 'sha256 = "x', ["sha256"]),
        ("schema = 1", "schema = ", ["TOML"]),
        ("schema = 1", "schema = 1\nschema = 1", ["TOML"]),
    ],
)
def test_a_manifest_that_cannot_be_used_names_file_key_and_why(
    folder: Path, old: str, new: str, words: list[str]
) -> None:
    edit(folder, old, new)
    with pytest.raises(ModelError) as caught:
        load_manifest(folder)
    for word in [str(folder / "model.toml"), *words]:
        assert word in str(caught.value)


def test_a_folder_without_a_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.toml: cannot be read"):
        load_manifest(tmp_path)


def test_optional_parts_may_be_left_out(folder: Path) -> None:
    edit(folder, 'cloud = "big-int8"', "")
    edit(folder, "accuracy = 0.01", "")
    manifest = load_manifest(folder)
    assert manifest.budget.accuracy == 0.0
    with pytest.raises(ModelError, match=r"tiers\.cloud"):
        manifest.for_tier("cloud")
    with pytest.raises(ModelError, match="no variant 'huge'; there are 'small"):
        manifest.variant("huge")


def test_whole_numbers_serve_as_numbers(folder: Path) -> None:
    edit(folder, "rate_hz = 50.0", "rate_hz = 50")
    assert load_manifest(folder).input.rate_hz == 50.0


def test_verify_finds_a_flipped_byte_another_size_and_a_missing_file(folder: Path) -> None:
    manifest = load_manifest(folder)
    variant = manifest.for_tier("bridge")
    file = folder / variant.file
    whole = file.read_bytes()

    file.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    with pytest.raises(ModelError, match=f"sha256 expected {variant.sha256}, found") as caught:
        verify(manifest, variant)
    assert str(file) in str(caught.value)
    assert "put the file back" in str(caught.value)

    file.write_bytes(whole[:-1])
    with pytest.raises(ModelError, match=f"bytes expected {len(whole)}, found {len(whole) - 1}"):
        verify(manifest, variant)

    file.unlink()
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        verify(manifest, variant)


def test_one_bad_model_does_not_hide_the_good(folder: Path) -> None:
    bad = folder.with_name("broken")
    shutil.copytree(folder, bad)
    edit(bad, "hop = 64", "hop = 0")
    twin = folder.with_name("copy")
    shutil.copytree(folder, twin)
    catalog = Catalog(folder.parent)
    assert list(catalog) == ["activity"]
    assert "activity" in catalog
    assert len(catalog) == 1
    assert catalog["activity"].folder == folder
    assert set(catalog.bad) == {bad, twin}
    assert "already" in str(catalog.bad[twin])
    with pytest.raises(ModelError, match=r"input\.hop"):
        catalog["broken"]
    with pytest.raises(ModelError, match=r"no model 'other' in .*; there are: activity"):
        catalog["other"]


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere: no such folder"):
        Catalog(tmp_path / "nowhere")
