"""The gate before an int8 file: a fake quantiser hands it good, bad and broken graphs; the real one makes some."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from bridge.catalog import Catalog, load_manifest, verify
from bridge.errors import ConfigError, ModelError
from bridge.runtime.load import load
from bridge.runtime.quantize import Figures, QuantisationError, float_variant, int8_name, quantize
from bridge.runtime.recordings import Recording, read
from bridge.runtime.variant_lines import add, lines

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.catalog import Manifest
    from bridge.runtime.port import Windows
    from bridge.runtime.quantize import Method


class Ticks:
    """A clock on which all takes equally long."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class FakeQuantiser:
    """Writes what it is told to, or fails."""

    def __init__(self, data: bytes = b"", failure: str = "") -> None:
        self._data, self._failure = data, failure
        self.calibration: Windows | None = None
        self.method: Method | None = None

    def method_for(self, graph: Path) -> Method:
        assert graph.is_file()
        return "static"

    def parameters(self, graph: Path) -> int:
        return graph.stat().st_size

    def quantise(self, source: Path, target: Path, method: Method, *, name: str, windows: Windows) -> None:
        assert source.is_file()
        assert name == "window"
        self.calibration, self.method = windows, method
        if self._failure:
            raise QuantisationError(self._failure)
        target.write_bytes(self._data)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """The shipped model in a folder of its own."""
    shipped = Catalog()["activity"].folder
    folder = tmp_path / "activity"
    folder.mkdir()
    for file in (*shipped.glob("*.onnx"), shipped / "model.toml"):
        shutil.copy(file, folder)
    return load_manifest(folder)


@pytest.fixture
def sample(manifest: Manifest) -> list[Recording]:
    return read(Catalog()["activity"].folder / "sample", manifest)


def as_big_says(manifest: Manifest, sample: list[Recording]) -> list[Recording]:
    """Recordings of one window, labelled with what the big float graph says of them: it is always right."""
    cut = np.stack([one.values[start : start + 128] for one in sample for start in (0, 256)])
    said = load(manifest, manifest.variant("big-fp32")).run(cut).argmax(axis=1)
    found = [Recording(manifest.folder, manifest.output.labels[i], window) for i, window in zip(said, cut, strict=True)]
    return found * 4


def run(manifest: Manifest, sample: list[Recording], quantiser: Any, source: str = "small-fp32", **more: Any) -> Any:
    return quantize(manifest, manifest.variant(source), "new-int8", sample, quantiser=quantiser, clock=Ticks(), **more)


def test_a_graph_that_stays_accurate_is_put_into_the_folder(manifest: Manifest, sample: list[Recording]) -> None:
    good = (manifest.folder / "small-int8.onnx").read_bytes()
    quantiser = FakeQuantiser(good)
    verdict = run(manifest, sample, quantiser)
    assert verdict.refused is None
    assert (verdict.variant.name, verdict.variant.precision) == ("new-int8", "int8")
    assert (manifest.folder / verdict.variant.file).read_bytes() == good
    assert quantiser.method == verdict.method == "static"
    assert quantiser.calibration is not None
    assert verdict.figures.windows + len(quantiser.calibration) == 1145, "what calibrates does not measure"
    assert verdict.figures.agreement > 0.97
    add(manifest.folder, verdict.variant, verdict.figures.note)
    again = load_manifest(manifest.folder)
    assert again.variants[:-1] == manifest.variants
    assert again.variants[-1] == verdict.variant
    verify(again, again.variants[-1])


def test_a_graph_that_loses_accuracy_is_refused(manifest: Manifest, sample: list[Recording]) -> None:
    worse = FakeQuantiser((manifest.folder / "small-int8.onnx").read_bytes())
    recordings = as_big_says(manifest, sample)
    verdict = run(manifest, recordings, worse, "big-fp32")
    assert verdict.refused.startswith("it loses accuracy: 100.0% in float, ")
    assert verdict.refused.endswith("the budget allows 1.0%")
    assert not (manifest.folder / "new-int8.onnx").exists()
    rich = msgspec.structs.replace(manifest, budget=msgspec.structs.replace(manifest.budget, accuracy=0.5))
    assert run(rich, recordings, worse, "big-fp32").refused is None


@pytest.mark.parametrize(
    ("quantiser", "told"),
    [
        (FakeQuantiser(b"no graph"), "it comes out invalid: .*new-int8.onnx: ONNX Runtime"),
        (FakeQuantiser(b""), "it comes out invalid"),
        (FakeQuantiser(failure="it fails to quantise: KeyError: 'x'"), "it fails to quantise: KeyError: 'x'"),
    ],
)
def test_a_graph_that_breaks_is_refused(
    manifest: Manifest, sample: list[Recording], quantiser: FakeQuantiser, told: str
) -> None:
    before = sorted(manifest.folder.iterdir())
    verdict = run(manifest, sample, quantiser)
    assert verdict.variant is None
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(verdict.refused)
    assert sorted(manifest.folder.iterdir()) == before


def test_names_that_are_taken_and_too_little_data(manifest: Manifest, sample: list[Recording]) -> None:
    with pytest.raises(ConfigError, match="small-int8 is there already: give the new variant another name"):
        quantize(manifest, manifest.variant("small-fp32"), "small-int8", sample, quantiser=FakeQuantiser())
    with pytest.raises(ConfigError, match="are left to measure accuracy on, 50 are needed"):
        run(manifest, sample[:2], FakeQuantiser())


def test_the_float_graph_of_a_file(manifest: Manifest, tmp_path: Path) -> None:
    quantiser = FakeQuantiser()
    assert float_variant(manifest, manifest.folder / "big-fp32.onnx", quantiser) == manifest.variant("big-fp32")
    shutil.copy(manifest.folder / "small-fp32.onnx", manifest.folder / "mine.onnx")
    mine = float_variant(manifest, manifest.folder / "mine.onnx", quantiser)
    assert (mine.name, mine.precision, mine.bytes) == ("mine", "fp32", manifest.variant("small-fp32").bytes)
    assert int8_name(mine) == "mine-int8"
    assert int8_name(manifest.variant("big-fp32")) == "big-int8"
    (tmp_path / "elsewhere.onnx").write_bytes(b"")
    with pytest.raises(ConfigError, match="is not in activity's folder"):
        float_variant(manifest, tmp_path / "elsewhere.onnx", quantiser)


def test_lines_are_read_back_as_they_were(manifest: Manifest) -> None:
    text = "".join(lines(one) for one in manifest.variants)
    file = manifest.folder / "model.toml"
    original = file.read_text()
    file.write_text(original[: original.index("[[variants]]")] + text)
    assert load_manifest(manifest.folder) == manifest
    with pytest.raises(ModelError, match=r"variants\.name: 'small-fp32' is there 2 times"):
        add(manifest.folder, manifest.variants[0])
    assert load_manifest(manifest.folder) == manifest, "it stays as it was"
    figures = Figures(9, (0.9, 0.8), 0.7, (1.0, 1.0), (1.0, 1.0))
    assert lines(manifest.variants[0], figures.note).splitlines()[:2] == [
        "# accuracy is on 9 windows that calibrated nothing; the float variant has 0.9000 there",
        "[[variants]]",
    ]
