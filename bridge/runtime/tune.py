"""`models tune`: on this machine, what runs a model fastest without costing more accuracy than its budget?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np

from bridge.errors import ConfigError
from bridge.messages import Answer, Tier
from bridge.runtime import recordings as labelled
from bridge.runtime.decide import Point, Setup, allowed, batch_sizes, decide, finalists, thread_counts
from bridge.runtime.load import load
from bridge.runtime.machine import cores as cores_here
from bridge.runtime.providers import available
from bridge.runtime.stopwatch import rounds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.catalog import Manifest, Variant
    from bridge.runtime.port import Engine, Windows
    from bridge.runtime.providers import Provider
    from bridge.runtime.recordings import Recording

MAX_BATCH = 64
_FIRST_LOOK = 0.4  # share of the time that goes to everything; the rest is the finalists'
_NO_OPTIONS: Mapping[str, Mapping[str, str]] = MappingProxyType({})


class Open(Protocol):
    """Opens an engine; `bridge.runtime.load.load` is one."""

    def __call__(
        self,
        manifest: Manifest,
        variant: Variant,
        *,
        provider: str,
        options: Mapping[str, str],
        threads: int,
        spinning: bool,
        max_batch: int,
    ) -> Engine:
        """Open a variant, warm; ConfigError where the provider does not load."""
        ...


class Tuning(msgspec.Struct, frozen=True):
    """What was measured, and what follows.

    Attributes:
        model: name of the model.
        tier: the tier whose variants were tried.
        budget: accuracy that speed may cost, 0…1.
        accuracies: measured, 0…1, by names of variant and provider.
        windows: labelled windows that accuracy was measured on.
        seconds: median seconds a window, by point.
        failures: why a provider was left out.
        chosen: the way to run the model here.
    """

    model: str
    tier: Tier
    budget: float
    accuracies: Mapping[tuple[str, str], float]
    windows: int
    seconds: Mapping[Point, float]
    failures: tuple[str, ...]
    chosen: Point


def tune(
    manifest: Manifest,
    tier: Tier,
    recordings: Sequence[Recording],
    *,
    seconds: float,
    options: Mapping[str, Mapping[str, str]] = _NO_OPTIONS,
    cores: int | None = None,
    open_engine: Open = load,
    clock: Callable[[], float] = time.perf_counter,
) -> Tuning:
    """Measure every way to run a tier's variants here, and choose.

    All engines are open at once, since they are timed in turn; that is the memory it takes.

    Args:
        manifest: the model.
        tier: whose variants to try.
        recordings: labelled, at least one window among them.
        seconds: wall time for timing, on top of loading and of measuring accuracy once a variant and provider.
        options: the owner's options, by name of provider.
        cores: most threads to try; the cores of this machine when None.
        open_engine: opens an engine.
        clock: seconds that only grow.

    Raises:
        ModelError: the tier has no variants, or a file is not the manifest's.
        ConfigError: no provider loads.
    """
    windows, labels = labelled.windows(recordings, manifest)
    engines, failures = _open_all(manifest, tier, options, cores or cores_here(), open_engine)
    if not engines:
        raise ConfigError(f"{manifest.name}: no provider loads: {'; '.join(failures)}")
    accuracies: dict[tuple[str, str], float] = {}
    for setup, engine in engines.items():
        if (key := (setup.variant, setup.provider)) not in accuracies:
            accuracies[key] = accuracy(engine, windows, labels)
    fit = allowed(accuracies, manifest.budget.accuracy)
    points = {
        Point(setup, batch): partial(engine.run, _first(windows, batch))
        for setup, engine in engines.items()
        for batch in batch_sizes(engine.max_batch)
    }
    looked = _times(points, list(points), _FIRST_LOOK * seconds, clock)
    # nobody is out because the machine was busy: the best round decides who is looked at again, the median who wins
    last = finalists({point: min(found) for point, found in looked.items()}, fit)
    final = _medians(_times(points, last, (1.0 - _FIRST_LOOK) * seconds, clock))
    return Tuning(
        model=manifest.name,
        tier=tier,
        budget=manifest.budget.accuracy,
        accuracies=accuracies,
        windows=len(labels),
        seconds=_medians(looked) | final,
        failures=tuple(failures),
        chosen=decide(final, fit),
    )


def accuracy(engine: Engine, windows: Windows, labels: Sequence[str]) -> float:
    """Share of windows that get their label, 0…1; a window that is refused is wrong.

    Args:
        engine: the engine.
        windows: float32, shape (n, rows, channels), n at least 1.
        labels: the n labels.
    """
    answers = engine.answers(windows)
    right = sum(isinstance(one, Answer) and one.label == label for one, label in zip(answers, labels, strict=True))
    return right / len(labels)


def variants_of(manifest: Manifest, tier: Tier) -> list[Variant]:
    """The variants made for a tier, and the one that the manifest has it run.

    Raises:
        ModelError: the manifest gives this tier none.
    """
    default = manifest.for_tier(tier)
    return [one for one in manifest.variants if one.tier == tier or one.name == default.name]


def _times(
    works: Mapping[Point, Callable[[], object]],
    points: Sequence[Point],
    seconds: float,
    clock: Callable[[], float],
) -> dict[Point, list[float]]:
    """Seconds a window of each point, round by round."""
    taken = rounds([works[point] for point in points], seconds=seconds, clock=clock)
    return {point: [each / point.batch for each in found] for point, found in zip(points, taken, strict=True)}


def _medians(taken: Mapping[Point, Sequence[float]]) -> dict[Point, float]:
    return {point: statistics.median(found) for point, found in taken.items()}


def _open_all(
    manifest: Manifest, tier: Tier, options: Mapping[str, Mapping[str, str]], cores: int, open_engine: Open
) -> tuple[dict[Setup, Engine], list[str]]:
    engines: dict[Setup, Engine] = {}
    failures: list[str] = []
    for variant in variants_of(manifest, tier):
        for provider in available():
            try:
                for threads, spinning in _thread_settings(provider, cores):
                    setup = Setup(variant.name, variant.precision, provider.name, threads, spinning)
                    engines[setup] = open_engine(
                        manifest,
                        variant,
                        provider=provider.name,
                        options=options.get(provider.name, {}),
                        threads=threads,
                        spinning=spinning,
                        max_batch=MAX_BATCH,
                    )
            except ConfigError as why:
                failures.append(f"{variant.name}: {why}")
    return engines, failures


def _thread_settings(provider: Provider, cores: int) -> list[tuple[int, bool]]:
    """Threads, and whether they spin: a single thread never waits for another, and only ONNX Runtime's own spin."""
    if provider.name == "cpu":
        return [(1, False)] + [(count, spin) for count in thread_counts(cores)[1:] for spin in (False, True)]
    return [(count, False) for count in (thread_counts(cores) if provider.threads_option else [1])]


def _first(windows: Windows, count: int) -> Windows:
    """So many windows, the same again where there are fewer."""
    return np.ascontiguousarray(windows[np.arange(count) % len(windows)])
