"""One variant of a model, loaded on one execution provider and warm."""

from __future__ import annotations

import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.catalog import verify
from bridge.errors import ModelError, Refused
from bridge.runtime import graph, ort
from bridge.runtime.providers import resolve
from bridge.runtime.scores import outcomes

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.catalog import Manifest, Variant
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
        self._temperature = variant.temperature
        path = verify(manifest, variant)
        self._session = ort.open_session(path, self.choice, threads=threads, spinning=spinning)
        self.provider: str = self._session.get_providers()[0]
        self.nodes = dict(ort.placement(self._session))
        self.max_batch = self._fit(graph.check(self._session, manifest, path), max_batch, path)
        self._input = np.zeros((self.max_batch, self.rows, self.channels), np.float32)
        self._output = np.zeros((self.max_batch, len(self.labels)), np.float32)
        self._bindings: dict[int, Any] = {}  # at most one a batch size, so at most `max_batch`
        self._lock = threading.Lock()
        self._seconds = self._warm_up(path)

    def run(self, windows: Windows) -> Logits:
        """Compute logits; see `Engine.run`."""
        self._check(windows)
        logits = np.empty((len(windows), len(self.labels)), np.float32)
        try:
            with self._lock:
                for start in range(0, len(windows), self.max_batch):
                    self._part(windows[start : start + self.max_batch], logits[start : start + self.max_batch])
        except ort.ERRORS as error:
            raise ModelError(f"{self.model}/{self.variant}: {self.provider} failed: {str(error).strip()}") from error
        return logits

    def answers(self, windows: Windows) -> list[Outcome]:
        """Label and score of each window; see `Engine.answers`."""
        return outcomes(
            self.run(windows),
            self.labels,
            temperature=self._temperature,
            model=self.model,
            version=self.version,
            variant=self.variant,
        )

    def run_seconds(self, batch: int) -> float:
        """Median seconds of a run at warm-up, straight lines between the sizes measured; see `Engine.run_seconds`."""
        whole, rest = divmod(batch, self.max_batch)
        sizes = list(self._seconds)
        seconds = whole * self._seconds[self.max_batch]
        return seconds + (float(np.interp(rest, sizes, list(self._seconds.values()))) if rest else 0.0)

    def _check(self, windows: Windows) -> None:
        if windows.shape[1:] != (self.rows, self.channels):
            raise Refused(
                "shape", f"{self.model} takes windows of {self.rows} × {self.channels}, not {windows.shape[1:]}"
            )

    def _part(self, windows: Windows, logits: Logits) -> None:
        count = len(windows)
        np.copyto(self._input[:count], windows)
        if self.choice.provider.name == "cpu":
            self._session.run_with_iobinding(self._bindings.get(count) or self._bind(count))
            np.copyto(logits, self._output[:count])
        else:  # a binding copies to a device when it is made, not when it runs: kept, it would repeat its first answer
            np.copyto(logits, self._session.run([self.manifest.output.name], self._feed(count))[0])

    def _feed(self, count: int) -> dict[str, Windows]:
        return {self.manifest.input.name: self._input[:count]}

    def _bind(self, count: int) -> Any:
        binding = self._session.io_binding()
        for bind, name, array in (
            (binding.bind_input, self.manifest.input.name, self._input[:count]),
            (binding.bind_output, self.manifest.output.name, self._output[:count]),
        ):
            bind(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        self._bindings[count] = binding
        return binding

    def _fit(self, only: int | None, wanted: int, path: Path) -> int:
        if only not in {None, 1}:
            raise ModelError(f"{path}: takes batches of {only} only; export it with a free batch dimension, or 1")
        return only or wanted

    def _warm_up(self, path: Path) -> dict[int, float]:
        """Median seconds by batch size, ascending. The biggest runs first, so that it alone sizes the arena."""
        sizes = [self.max_batch]
        while sizes[-1] > 1:
            sizes.append(sizes[-1] // 4 or 1)
        found = {}
        with ort.translated(path, self.choice):
            got = self._session.run([self.manifest.output.name], self._feed(self.max_batch))[0]
            if got.shape != self._output.shape:
                raise ModelError(
                    f"{path}: {self.max_batch} windows gave {self.manifest.output.name!r} of shape {got.shape}, not "
                    f"{self._output.shape}: one row of {len(self.labels)} logits a window"
                )
            if not np.isfinite(got).all():
                raise ModelError(f"{path}: its logits for windows of zeros are not finite")
            for size in sizes:
                found[size] = self._measure(size)
        return dict(sorted(found.items()))

    def _measure(self, size: int) -> float:
        windows, logits = np.zeros_like(self._input[:size]), np.empty_like(self._output[:size])
        self._part(windows, logits)
        taken: list[float] = []
        while not taken or (sum(taken) < WARM_UP_SECONDS and len(taken) < WARM_UP_RUNS):
            start = time.perf_counter()
            self._part(windows, logits)
            taken.append(time.perf_counter() - start)
        return statistics.median(taken)
