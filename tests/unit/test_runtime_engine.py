"""ONNX Runtime on the shipped model: files that are not what the manifest says, accuracy, memory."""

from __future__ import annotations

import csv
import hashlib
import shutil
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from bridge.catalog import Catalog, Manifest, Variant, load_manifest
from bridge.errors import ModelError
from bridge.messages import Answer
from bridge.runtime import ort
from bridge.runtime.engine import OnnxEngine
from bridge.runtime.load import load
from bridge.runtime.providers import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.runtime.port import Windows


@pytest.fixture
def manifest() -> Manifest:
    return Catalog()["activity"]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def rewritten(folder: Path, data: bytes) -> tuple[Manifest, Variant]:
    """The small model in a folder of its own, with this file, and a manifest that vouches for it."""
    shipped = Catalog()["activity"]
    shutil.copy(shipped.folder / "model.toml", folder)
    variant = shipped.variant("small-int8")
    (folder / variant.file).write_bytes(data)
    return load_manifest(folder), msgspec.structs.replace(
        variant, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
    )


def sample(manifest: Manifest) -> tuple[Windows, list[str]]:
    """Every window of the held-out recordings and its label."""
    folder, rows, hop = manifest.folder / "sample", manifest.input.rows, manifest.input.hop
    windows: list[Windows] = []
    labels: list[str] = []
    with (folder / "recordings.csv").open(encoding="utf-8", newline="") as file:
        for recording in csv.DictReader(file):
            values = np.load(folder / recording["file"])["values"]
            cut = [values[start : start + rows] for start in range(0, len(values) - rows + 1, hop)]
            windows += cut
            labels += [recording["label"]] * len(cut)
    return np.stack(windows), labels


@pytest.mark.parametrize("name", ["small-int8", "small-fp32", "big-int8"])
def test_held_out_accuracy_is_what_the_manifest_says(manifest: Manifest, name: str) -> None:
    variant = manifest.variant(name)
    windows, labels = sample(manifest)
    answers = load(manifest, variant).answers(windows)
    right = sum(isinstance(one, Answer) and one.label == label for one, label in zip(answers, labels, strict=True))
    assert right / len(labels) == pytest.approx(variant.accuracy, abs=0.02)  # int8 kernels differ between CPUs


def test_it_says_what_it_runs_on(manifest: Manifest) -> None:
    engine = load(manifest, manifest.for_tier("bridge"))
    assert (engine.model, engine.version, engine.variant) == ("activity", manifest.version, "small-int8")
    assert engine.provider == "CPUExecutionProvider"
    assert set(engine.nodes) == {"CPUExecutionProvider"}
    assert engine.skipped == ()
    assert engine.below == manifest.variant("small-int8").below is not None
    assert engine.lanes == 1
    assert 1e-6 < engine.run_seconds(1) < engine.run_seconds(64) < 1.0


def test_values_beyond_the_model_are_refused_and_harm_no_other_window(manifest: Manifest) -> None:
    engine = load(manifest, manifest.variant("small-fp32"))
    windows = np.ones((3, 128, 6), np.float32)
    windows[1] = 3e38
    outcomes = engine.answers(windows)
    assert [isinstance(one, Answer) for one in outcomes] == [True, False, True]
    assert outcomes[0] == outcomes[2]


def test_a_flipped_byte_is_found_before_the_graph_is_opened(
    tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = manifest.for_tier("bridge")
    data = bytearray((manifest.folder / variant.file).read_bytes())
    data[50] ^= 1
    copy, _ = rewritten(tmp_path, bytes(data))
    monkeypatch.delattr(ort, "open_session")
    with pytest.raises(ModelError, match="sha256 expected"):
        OnnxEngine(copy, variant)


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_truncated_graph_is_an_error_and_nothing_worse(
    tmp_path: Path, manifest: Manifest, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = (manifest.folder / "small-int8.onnx").read_bytes()
    copy, variant = rewritten(tmp_path, whole[: int(len(whole) * share) or 1])
    with pytest.raises(ModelError, match=r"small-int8\.onnx: ONNX Runtime .* cannot load it"):
        load(copy, variant)
    assert capfd.readouterr().out == ""  # stdout is for the ready line


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("input", {"rows": 100, "hop": 50}, ["[", "128, 6]", "100, 6"]),
        ("input", {"channels": ("x", "y")}, ["128, 6]", "128, 2"]),
        ("input", {"name": "x"}, ["input", "'window'", "'x'"]),
        ("output", {"name": "y"}, ["output", "'logits'", "'y'"]),
        ("output", {"labels": ("a", "b")}, ["output", "7]", "2)"]),
    ],
)
def test_a_graph_that_is_not_the_manifests_is_named(
    manifest: Manifest, part: str, change: dict[str, Any], words: list[str]
) -> None:
    other = msgspec.structs.replace(manifest, **{part: msgspec.structs.replace(getattr(manifest, part), **change)})
    with pytest.raises(ModelError) as caught:
        load(other, other.for_tier("bridge"))
    for word in ["small-int8.onnx", *words]:
        assert word in str(caught.value)


def test_a_failing_run_is_our_error_and_blocks_no_later_one(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = threading.Event()
    bound_run = ort.bound_run

    def breakable(*arguments: Any) -> Callable[[], object]:
        run = bound_run(*arguments)

        def broken() -> object:
            if failing.is_set():
                raise RuntimeError("device lost")
            return run()

        return broken

    monkeypatch.setattr(ort, "bound_run", breakable)
    engine = load(manifest, manifest.for_tier("bridge"))
    windows = np.zeros((1, 128, 6), np.float32)
    failing.set()
    for call in (engine.run, engine.answers, engine.run):
        with pytest.raises(ModelError, match="activity/small-int8: CPUExecutionProvider failed: device lost"):
            call(windows)
    failing.clear()
    assert len(engine.answers(windows)) == 1


def test_the_way_without_bindings_says_the_same(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    variant, here, open_session = manifest.for_tier("bridge"), resolve("cpu"), ort.open_session
    there = msgspec.structs.replace(here, provider=msgspec.structs.replace(here.provider, name="there", kind="npu"))
    monkeypatch.setattr(ort, "open_session", lambda path, _choice, **more: open_session(path, here, **more))
    engine, other = (OnnxEngine(manifest, variant, choice=choice, max_batch=4, lanes=2) for choice in (here, there))
    windows = np.random.default_rng(0).normal(size=(10, 128, 6)).astype(np.float32)
    assert np.array_equal(engine.run(windows), other.run(windows))
    assert engine.answers(list(windows)) == other.answers(list(windows))
    assert (engine.lanes, other.lanes) == (2, 1)  # not every provider can run twice at once


def test_an_engine_let_go_is_freed_at_once(manifest: Manifest) -> None:
    engine = load(manifest, manifest.for_tier("bridge"))
    kept = weakref.ref(engine)
    del engine
    assert kept() is None


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize(("name", "runs"), [("small-int8", 5000), ("big-fp32", 300)])
def test_memory_stays_flat_over_fifty_batch_sizes(manifest: Manifest, name: str, runs: int) -> None:
    rng = np.random.default_rng(0)
    windows = rng.standard_normal((64, 128, 6)).astype(np.float32)
    engine = load(manifest, manifest.variant(name), max_batch=64)
    sizes = rng.choice(np.arange(1, 65), 50, replace=False)
    before = resident_bytes()
    for size in rng.choice(sizes, runs).tolist():
        engine.run(windows[:size])
    assert resident_bytes() <= 1.05 * before
