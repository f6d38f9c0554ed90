"""The shipped int8 models on OpenVINO, for real: `make openvino` runs this in an environment with its ONNX Runtime."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from bridge.catalog import Catalog
from bridge.runtime import ort, recordings
from bridge.runtime.load import load
from bridge.runtime.tune import accuracy, tune

if TYPE_CHECKING:
    from bridge.catalog import Manifest
    from bridge.runtime.recordings import Recording

NAME = "OpenVINOExecutionProvider"

pytestmark = pytest.mark.skipif(NAME not in ort.providers(), reason="needs onnxruntime-openvino: make openvino")


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return Catalog()["activity"]


@pytest.fixture(scope="module")
def sample(manifest: Manifest) -> list[Recording]:
    return recordings.read(manifest.folder / "sample", manifest)


@pytest.mark.parametrize("name", ["small-int8", "big-int8", "big-fp32"])
def test_it_says_what_the_cpu_says(manifest: Manifest, sample: list[Recording], name: str) -> None:
    variant = manifest.variant(name)
    windows, labels = recordings.windows(sample, manifest)
    here = load(manifest, variant, provider="openvino")
    there = load(manifest, variant)
    assert here.provider == NAME
    assert set(here.nodes) == {NAME}, "the whole graph"
    same = (here.run(windows).argmax(axis=1) == there.run(windows).argmax(axis=1)).mean()
    found = accuracy(here, windows, labels)
    times = ", ".join(
        f"{engine.provider} {engine.run_seconds(1) * 1e6:.1f} µs alone, {engine.run_seconds(64) / 64 * 1e6:.1f} in 64"
        for engine in (there, here)
    )
    sys.stdout.write(
        f"\n{name}: the same label for {same:.2%} of {len(labels)} windows, accuracy {found:.2%}; {times}\n"
    )
    assert same >= 0.98
    assert found == pytest.approx(accuracy(there, windows, labels), abs=manifest.budget.accuracy)


def test_one_window_says_what_a_batch_says(manifest: Manifest, sample: list[Recording]) -> None:
    engine = load(manifest, manifest.variant("small-int8"), provider="openvino", max_batch=16)
    windows, _ = recordings.windows(sample[:1], manifest)
    together = engine.run(windows).argmax(axis=1).tolist()
    assert [int(engine.run(one[None]).argmax()) for one in windows] == together


@pytest.mark.parametrize("tier", ["bridge", "cloud"])
def test_the_tuner_tries_it_beside_the_cpu(manifest: Manifest, sample: list[Recording], tier: str) -> None:
    from bridge.runtime import chart

    found = tune(manifest, tier, sample, seconds=3.0)  # type: ignore[arg-type] # parametrize knows no Literal
    sys.stdout.write(f"\n{chart.render(found)}{chart.summary(found)}\n")
    assert {provider for _, provider in found.accuracies} == {"cpu", "openvino"}
    assert found.failures == ()
