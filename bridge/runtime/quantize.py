"""`models quantize`: an int8 variant of a float graph, if it still knows what the float graph knew."""

from __future__ import annotations

import hashlib
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec
import numpy as np

from bridge.catalog import Variant, verify
from bridge.errors import BridgeError, ConfigError, ModelError, StoreError
from bridge.runtime import recordings as labelled
from bridge.runtime.load import load
from bridge.runtime.stopwatch import medians

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.catalog import Manifest
    from bridge.runtime.port import Engine, Windows
    from bridge.runtime.recordings import Recording

Method = Literal["static", "dynamic"]

LEAST_WINDOWS = 50  # fewer tell nothing about a loss of a few percent
TIMED_BATCH = 64
_TIMING = 1.0  # seconds


class QuantisationError(BridgeError):
    """A graph cannot be quantised; says at which step and why. `quantize` turns it into a verdict."""


class Quantiser(Protocol):
    """What quantises; the module `bridge.runtime.quantizer` does."""

    def method_for(self, graph: Path) -> Method:
        """How a graph of this type is quantised; QuantisationError where it cannot be."""
        ...

    def parameters(self, graph: Path) -> int:
        """Numbers in its weights."""
        ...

    def quantise(self, source: Path, target: Path, method: Method, *, name: str, windows: Windows) -> None:
        """Write `target`; QuantisationError where it cannot."""
        ...


class Figures(msgspec.Struct, frozen=True):
    """The int8 graph beside the float one.

    Attributes:
        windows: labelled windows measured on; none of them calibrated.
        accuracy: of the float graph and of the int8 one, 0…1.
        agreement: share of windows that both give the same label, 0…1.
        lone: seconds of a run of one window, float and int8, on the CPU with one thread.
        batch: seconds a window in a run of `TIMED_BATCH`, likewise.
    """

    windows: int
    accuracy: tuple[float, float]
    agreement: float
    lone: tuple[float, float]
    batch: tuple[float, float]

    @property
    def note(self) -> str:
        """Where the accuracy is from, to be read beside those of other variants."""
        float_one = f"{self.accuracy[0]:.4f}"
        return f"accuracy is on {self.windows} windows that calibrated nothing; the float variant has {float_one} there"


class Verdict(msgspec.Struct, frozen=True):
    """What became of a graph.

    Attributes:
        source: the float variant.
        method: how it was quantised; None when it did not come to that.
        figures: what was measured; None when it did not come to that.
        variant: the new variant; None when refused.
        refused: why the float graph stays alone; None when the new variant was written.
    """

    source: Variant
    method: Method | None = None
    figures: Figures | None = None
    variant: Variant | None = None
    refused: str | None = None


def quantize(
    manifest: Manifest,
    source: Variant,
    name: str,
    recordings: Sequence[Recording],
    *,
    quantiser: Quantiser,
    method: Method | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Verdict:
    """Quantise, measure against the float graph, and put the file into the model's folder if the budget allows.

    Half of each label's recordings calibrate, the other half measures.

    Args:
        manifest: the model.
        source: the float variant; see `float_variant`.
        name: what to call the new variant; its file is `name`.onnx.
        recordings: labelled.
        quantiser: writes the int8 graph.
        method: "static" or "dynamic"; by the graph's type when None.
        clock: seconds that only grow.

    Raises:
        ConfigError: too few recordings, or the name is taken.
        ModelError: the float graph itself cannot be used.
        StoreError: the new file cannot be written.
    """
    file = manifest.folder / f"{name}.onnx"
    if file.exists() or any(one.name == name for one in manifest.variants):
        raise ConfigError(f"{file}: {name} is there already: give the new variant another name, with --name")
    calibrating, measuring = labelled.halves(recordings)
    windows, labels = labelled.windows(measuring, manifest)
    if len(windows) < LEAST_WINDOWS or not calibrating:
        raise ConfigError(
            f"{manifest.name}: {len(windows)} windows are left to measure accuracy on, {LEAST_WINDOWS} are needed: "
            "record more of each label"
        )
    before = load(manifest, source)
    path = verify(manifest, source)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / file.name
        try:
            fitting = quantiser.method_for(path)
            method = method or fitting
            calibration, _ = labelled.windows(calibrating, manifest)
            quantiser.quantise(path, made, method, name=manifest.input.name, windows=calibration)
            variant = _described(source, name, made)
            after = _opened(msgspec.structs.replace(manifest, folder=made.parent), variant)
            figures = _compare(before, after, windows, labels, clock)
            _gate(figures, manifest.budget.accuracy)
        except QuantisationError as why:
            return Verdict(source, method, refused=str(why))
        _publish(made, file)
    return Verdict(source, method, figures, msgspec.structs.replace(variant, accuracy=round(figures.accuracy[1], 4)))


def float_variant(manifest: Manifest, file: Path, quantiser: Quantiser) -> Variant:
    """The variant of a file in the model's folder; one that `model.toml` does not name yet is described from the file.

    Raises:
        ModelError: it is no ONNX file.
        ConfigError: it is not in the model's folder.
    """
    path = file.resolve()
    for one in manifest.variants:
        if (manifest.folder / one.file).resolve() == path:
            return one
    if path.parent != manifest.folder.resolve():
        raise ConfigError(f"{file}: is not in {manifest.name}'s folder, {manifest.folder}: put it there")
    return Variant(
        name=path.stem,
        file=path.name,
        sha256=_sha256(path),
        bytes=path.stat().st_size,
        precision="fp32",
        parameters=max(1, quantiser.parameters(path)),
        tier="bridge",
        accuracy=0.0,
    )


def int8_name(source: Variant) -> str:
    """What the int8 variant of a float one is called."""
    return source.name.replace("fp32", "int8") if "fp32" in source.name else f"{source.name}-int8"


def _described(source: Variant, name: str, made: Path) -> Variant:
    return msgspec.structs.replace(
        source,
        name=name,
        file=made.name,
        sha256=_sha256(made),
        bytes=made.stat().st_size,
        precision="int8",
        accuracy=0.0,
        macro_f1=None,
    )


def _opened(manifest: Manifest, variant: Variant) -> Engine:
    try:
        return load(manifest, variant)
    except ModelError as why:
        raise QuantisationError(f"it comes out invalid: {why}") from why


def _compare(
    before: Engine, after: Engine, windows: Windows, labels: Sequence[str], clock: Callable[[], float]
) -> Figures:
    logits = [engine.run(windows) for engine in (before, after)]
    if not np.isfinite(logits[1]).all() and np.isfinite(logits[0]).all():
        raise QuantisationError("it breaks: its logits are not finite where the float graph's are")
    truth = np.array([before.labels.index(label) for label in labels])
    said = [one.argmax(axis=1) for one in logits]
    full = windows[np.arange(TIMED_BATCH) % len(windows)]
    works = [partial(engine.run, full[:count]) for count in (1, TIMED_BATCH) for engine in (before, after)]
    lone_before, lone_after, batch_before, batch_after = medians(works, seconds=_TIMING, clock=clock)
    return Figures(
        windows=len(labels),
        accuracy=(float((said[0] == truth).mean()), float((said[1] == truth).mean())),
        agreement=float((said[0] == said[1]).mean()),
        lone=(lone_before, lone_after),
        batch=(batch_before / TIMED_BATCH, batch_after / TIMED_BATCH),
    )


def _gate(figures: Figures, budget: float) -> None:
    before, after = figures.accuracy
    if after < before - budget - 1e-9:
        raise QuantisationError(
            f"it loses accuracy: {before:.1%} in float, {after:.1%} in int8 on {figures.windows} windows, the same "
            f"label for {figures.agreement:.1%}; the budget allows {budget:.1%}"
        )


def _publish(made: Path, file: Path) -> None:
    part = file.with_suffix(".part")
    try:
        part.write_bytes(made.read_bytes())
        part.replace(file)
    except OSError as why:
        raise StoreError(f"{file}: cannot be written: {why.strerror or why}") from why


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
