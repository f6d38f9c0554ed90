"""The tuner's choice against an exhaustive search: every way it may choose, timed here by another clockwork."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from bridge.catalog import Catalog, default_directory
from bridge.runtime import recordings as labelled
from bridge.runtime.decide import allowed
from bridge.runtime.load import load
from bridge.runtime.tune import MAX_BATCH, tune
from tests.benchmarks import work
from tests.benchmarks.rows import Row, row

if TYPE_CHECKING:
    from bridge.catalog import Manifest
    from bridge.runtime.decide import Point
    from bridge.runtime.port import Engine, Windows
    from tests.benchmarks.rows import Plan

ROUNDS = 15  # through all points; each time the best of a burst counts, in the end the median of the rounds
BURST = 0.004  # seconds


def measure(plan: Plan) -> list[Row]:
    """Tune, then search."""
    manifest = Catalog(default_directory())[work.MODEL]
    recordings = labelled.read(manifest.folder / "sample", manifest)
    tuning = tune(manifest, "bridge", recordings, seconds=plan.tune)
    fit = allowed(tuning.accuracies, tuning.budget)
    points = [point for point in tuning.seconds if (point.setup.variant, point.setup.provider) in fit]
    found = _search(manifest, points)
    best = min(found, key=found.__getitem__)
    ratio = found[tuning.chosen] / found[best]
    raw = {_words(point): round(seconds * 1e6, 3) for point, seconds in found.items()}
    note = (
        f"chose {_words(tuning.chosen)}, {found[tuning.chosen] * 1e6:.2f} µs a window; best of {len(points)}: "
        f"{_words(best)}, {found[best] * 1e6:.2f} µs"
    )
    return [row("tuner", "tuner's choice, of an exhaustive search", [ratio], "at most", 1.05, note=note, raw=raw)]


def _search(manifest: Manifest, points: list[Point]) -> dict[Point, float]:
    """Seconds a window of each point."""
    windows = np.random.default_rng(1).standard_normal((MAX_BATCH, work.ROWS, work.CHANNELS), np.float32)
    engines: dict[object, Engine] = {}
    for setup in dict.fromkeys(point.setup for point in points):
        engines[setup] = load(
            manifest, manifest.variant(setup.variant), provider=setup.provider, threads=setup.threads,
            spinning=setup.spinning, max_batch=MAX_BATCH,
        )  # fmt: skip
    taken: dict[Point, list[float]] = {point: [] for point in points}
    for _ in range(ROUNDS):
        for point in points:
            taken[point].append(_burst(engines[point.setup], windows[: point.batch]) / point.batch)
    return {point: statistics.median(times) for point, times in taken.items()}


def _burst(engine: Engine, windows: Windows) -> float:
    """Seconds of the fastest run of a burst: what interrupts it is not the engine's."""
    engine.run(windows)
    times: list[float] = []
    end = time.perf_counter() + BURST
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        engine.run(windows)
        times.append(time.perf_counter() - start)
    return min(times)


def _words(point: Point) -> str:
    setup = point.setup
    spinning = ", spinning" if setup.spinning else ""
    return f"{setup.variant} on {setup.provider}, {setup.threads} threads{spinning}, batches of {point.batch}"
