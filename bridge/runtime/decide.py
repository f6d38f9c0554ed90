"""Which of the measured ways to run a model is taken. Arithmetic only: times and accuracies come in as arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bridge.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TIE = 1.02  # times nearer than this are one: the simpler way is taken. The tuner's promise is 1.05
FINAL = 1.15  # what is slower than this times the fastest is not measured a second time
_EXACT = 1e-9  # budgets are decimal, accuracies are ratios
_PRECISIONS = ("fp32", "fp16", "int8")  # what is as fast is taken in this order


class Setup(msgspec.Struct, frozen=True):
    """A way to load a model.

    Attributes:
        variant: name of the variant.
        precision: its precision.
        provider: name in the provider table.
        threads: threads that share one operator.
        spinning: whether they burn CPU while they wait.
    """

    variant: str
    precision: str
    provider: str
    threads: int = 1
    spinning: bool = False


class Point(msgspec.Struct, frozen=True):
    """A way to run it.

    Attributes:
        setup: how it is loaded.
        batch: windows that run together.
    """

    setup: Setup
    batch: int


def allowed(accuracies: Mapping[tuple[str, str], float], budget: float) -> frozenset[tuple[str, str]]:
    """The variants, on the providers, that are accurate enough.

    Args:
        accuracies: measured, 0…1, by names of variant and provider; at least one.
        budget: accuracy that speed may cost, against the best of them.

    Returns:
        At least one variant and provider: the best.
    """
    best = max(accuracies.values())
    return frozenset(key for key, value in accuracies.items() if value >= best - budget - _EXACT)


def finalists(seconds: Mapping[Point, float], fit: frozenset[tuple[str, str]]) -> list[Point]:
    """The accurate enough points that are worth a second, longer look."""
    good = {point: value for point, value in seconds.items() if _key(point) in fit}
    fastest = min(good.values(), default=0.0)
    return [point for point, value in good.items() if value <= FINAL * fastest]


def decide(seconds: Mapping[Point, float], fit: frozenset[tuple[str, str]]) -> Point:
    """The fastest accurate enough point; of those within `TIE`, the one with more precision, then less to run.

    So int8 is never taken where fp32 is as fast, nor a second thread that gains nothing.

    Args:
        seconds: median seconds a window (a run's time through its batch), by point.
        fit: see `allowed`.

    Raises:
        ModelError: no accurate enough point was measured.
    """
    good = {point: value for point, value in seconds.items() if _key(point) in fit}
    if not good:
        raise ModelError("nothing that is accurate enough was measured")
    fastest = min(good.values())
    return min((point for point, value in good.items() if value <= TIE * fastest), key=lambda p: (*_cost(p), good[p]))


def thread_counts(cores: int) -> list[int]:
    """1, 2, 4 … and all cores."""
    counts = [1]
    while counts[-1] < cores:
        counts.append(min(counts[-1] * 2, cores))
    return counts


def batch_sizes(most: int) -> list[int]:
    """1, 4, 16 … and the most that may run together, at least 1."""
    sizes = [1]
    while sizes[-1] < most:
        sizes.append(min(sizes[-1] * 4, most))
    return sizes


def best_batch(seconds: Mapping[Point, float], setup: Setup) -> tuple[int, float]:
    """The batch with the least time a window, and that time; for one setup that was measured."""
    return min(((point.batch, value) for point, value in seconds.items() if point.setup == setup), key=lambda of: of[1])


def setups_of(points: Sequence[Point]) -> list[Setup]:
    """Each setup once, in the order of the points."""
    return list(dict.fromkeys(point.setup for point in points))


def _key(point: Point) -> tuple[str, str]:
    return point.setup.variant, point.setup.provider


def _cost(point: Point) -> tuple[int, bool, int, bool, int]:
    setup = point.setup
    return (
        _PRECISIONS.index(setup.precision),
        setup.provider != "cpu",
        setup.threads,
        setup.spinning,
        point.batch,
    )
