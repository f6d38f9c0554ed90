"""One variant of a model, loaded on one execution provider and warm."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from bridge.catalog import verify
from bridge.errors import ModelError
from bridge.runtime import graph, ort, shapes
from bridge.runtime.lane import Lane, Lanes
from bridge.runtime.providers import resolve
from bridge.runtime.scores import outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bridge.catalog import Manifest, Variant
    from bridge.messages import Rows
    from bridge.runtime.port import Logits, Outcome, Windows
    from bridge.runtime.providers import Choice

WARM_UP_SECONDS = 0.03  # spent on each of a few batch sizes
WARM_UP_RUNS = 30


class OnnxEngine:
    """An `Engine` (see `bridge.runtime.port`) on ONNX Runtime; construct it outside the event loop, it warms up.

    Attributes:
        manifest: the model.
        choice: provider and options asked for.
        nodes: how many of the graph's nodes each execution provider runs, by ONNX Runtime's names.
        skipped: why each better provider was passed over, when `load` tried several.
    """

    def __init__(
        self,
        manifest: Manifest,
        variant: Variant,
        *,
        choice: Choice | None = None,
        threads: int = 1,
        spinning: bool = False,
        max_batch: int = 64,
        lanes: int = 1,
        skipped: tuple[str, ...] = (),
    ) -> None:
        """Verify the file, open it, compare it with the manifest and warm it up.

        Args:
            manifest: the model.
            variant: the variant of it to load.
            choice: provider and options; the CPU when None.
            threads: threads that share one operator; more than 1 slows tiny models down.
            spinning: whether those threads burn CPU while they wait.
            max_batch: windows that run at once; fixes how much memory runs may take.
            lanes: calls that compute at once, from as many threads; each that really does has memory of its own. Always
                1 on other providers than the CPU's: not all of them can run twice at once.
            skipped: kept as the attribute.

        Raises:
            ModelError: the file is not the manifest's, or is no graph that answers as the manifest says.
            ConfigError: the provider did not load.
        """
        self.manifest = manifest
        self.model = manifest.name
        self.version = manifest.version
        self.variant = variant.name
        self.labels = manifest.output.labels
        self.rows = manifest.input.rows
        self.channels = len(manifest.input.channels)
        self.choice = resolve("cpu") if choice is None else choice
        self.skipped = skipped
        self.below = variant.below
        self._bound = self.choice.provider.name == "cpu"
        self.lanes = lanes if self._bound else 1
        self._temperature = variant.temperature
        self._shape = (self.rows, self.channels)
        path = verify(manifest, variant)
        self._session = ort.open_session(path, self.choice, threads=threads, spinning=spinning)
        self.provider: str = self._session.get_providers()[0]
        self.nodes = dict(ort.placement(self._session))
        self.max_batch = self._fit(graph.check(self._session, manifest, path), max_batch, path)
        self._lanes = Lanes(self.lanes, self._lane())
        self._seconds = self._warm_up(path)  # index: windows

    def run(self, windows: Windows) -> Logits:
        """Compute logits; see `Engine.run`."""
        shapes.check(windows, self._shape, self.model)
        logits = np.empty((len(windows), len(self.labels)), np.float32)
        lane = self._lanes.take()
        try:
            for start in range(0, len(windows), self.max_batch):
                part = windows[start : start + self.max_batch]
                logits[start : start + len(part)] = lane.logits(part)
        except ort.ERRORS as error:
            raise self._failed(error) from error
        finally:
            self._lanes.give(lane)
        return logits

    def answers(self, windows: Sequence[Rows] | Windows) -> list[Outcome]:
        """Label and score of each window; see `Engine.answers`."""
        shapes.check(windows, self._shape, self.model)
        found: list[Outcome] = []
        lane = self._lanes.take()
        try:
            for start in range(0, len(windows), self.max_batch):
                found += self._outcomes(lane.logits(windows[start : start + self.max_batch]))
        except ort.ERRORS as error:
            raise self._failed(error) from error
        finally:
            self._lanes.give(lane)
        return found

    def run_seconds(self, batch: int) -> float:
        """Median seconds of a run at warm-up, straight lines between the sizes measured; see `Engine.run_seconds`."""
        if batch <= self.max_batch:
            return self._seconds[batch]
        whole, rest = divmod(batch, self.max_batch)
        return whole * self._seconds[self.max_batch] + self._seconds[rest]

    def _outcomes(self, logits: Logits) -> list[Outcome]:
        return outcomes(
            logits,
            self.labels,
            temperature=self._temperature,
            model=self.model,
            version=self.version,
            variant=self.variant,
        )

    def _failed(self, error: Exception) -> ModelError:
        return ModelError(f"{self.model}/{self.variant}: {self.provider} failed: {str(error).strip()}")

    def _lane(self) -> Callable[[], Lane]:
        """What makes a lane; it does not hold the engine, so that an engine let go is freed at once."""
        return partial(
            Lane,
            self._session,
            (self.manifest.input.name, (self.max_batch, self.rows, self.channels)),
            (self.manifest.output.name, (self.max_batch, len(self.labels))),
            bound=self._bound,
        )

    def _fit(self, only: int | None, wanted: int, path: Path) -> int:
        if only not in {None, 1}:
            raise ModelError(f"{path}: takes batches of {only} only; export it with a free batch dimension, or 1")
        return only or wanted

    def _warm_up(self, path: Path) -> list[float]:
        """Median seconds by batch size. The biggest runs first, so that it alone sizes the arena."""
        sizes = [self.max_batch]
        while sizes[-1] > 1:
            sizes.append(sizes[-1] // 4 or 1)
        found = {0: 0.0}
        lane = self._lanes.take()
        try:
            with ort.translated(path, self.choice):
                self._first_run(path)
                for size in sizes:
                    found[size] = self._measure(lane, size)
        finally:
            self._lanes.give(lane)
        at = sorted(found)
        seconds: list[float] = np.interp(range(self.max_batch + 1), at, [found[size] for size in at]).tolist()
        return seconds

    def _first_run(self, path: Path) -> None:
        """Whether the graph answers as the manifest says; not bound yet, since a wrong shape would not fit."""
        windows = np.zeros((self.max_batch, *self._shape), np.float32)
        wanted = (self.max_batch, len(self.labels))
        got = self._session.run([self.manifest.output.name], {self.manifest.input.name: windows})[0]
        if got.shape != wanted:
            raise ModelError(
                f"{path}: {self.max_batch} windows gave {self.manifest.output.name!r} of shape {got.shape}, not "
                f"{wanted}: one row of {len(self.labels)} logits a window"
            )
        if not np.isfinite(got).all():
            raise ModelError(f"{path}: its logits for windows of zeros are not finite")

    def _measure(self, lane: Lane, size: int) -> float:
        windows, logits = np.zeros((size, *self._shape), np.float32), np.empty((size, len(self.labels)), np.float32)
        np.copyto(logits, lane.logits(windows))
        taken: list[float] = []
        while not taken or (sum(taken) < WARM_UP_SECONDS and len(taken) < WARM_UP_RUNS):
            start = time.perf_counter()
            np.copyto(logits, lane.logits(windows))
            taken.append(time.perf_counter() - start)
        return statistics.median(taken)
