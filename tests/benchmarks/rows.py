"""A row of the table: what was measured, its bound, and whether it holds; and how long each mode measures."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from bridge.pipeline.entries import Patience

if TYPE_CHECKING:
    from collections.abc import Sequence


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much a mode measures.

    Attributes:
        mode: its name.
        rounds: interleaved runs of each contestant.
        seconds: of each of those.
        lone: seconds of a run with one message under way.
        overload: seconds of an overload.
        overload_rounds: overloads, each beside a peak.
        fill: messages before memory is looked at: in the full mode all that it remembers of whole windows.
        device_rounds: interleaved runs with few and with many devices.
        soak: runs of the engine.
        kills: of the broker.
        tune: seconds that the tuner may spend on timing.
    """

    mode: str
    rounds: int
    seconds: float
    lone: float
    overload: float
    overload_rounds: int
    fill: int
    device_rounds: int
    soak: int
    kills: int
    tune: float


QUICK = Plan(
    mode="quick",
    rounds=3,
    seconds=0.8,
    lone=0.5,
    overload=1.5,
    overload_rounds=2,
    fill=20_000,
    device_rounds=1,
    soak=10_000,
    kills=3,
    tune=3.0,
)
FULL = Plan(
    mode="full",
    rounds=12,
    seconds=1.2,
    lone=0.8,
    overload=4.0,
    overload_rounds=5,
    fill=2 * Patience().seen,
    device_rounds=24,
    soak=100_000,
    kills=20,
    tune=20.0,
)


class Row(msgspec.Struct, kw_only=True):
    """One row.

    Attributes:
        name: to ask for it alone.
        measure: in words.
        figure: the median.
        low: the smallest of the runs.
        high: the greatest.
        unit: of these; "×" for ratios.
        bound: what is asked for; None where nothing is asked, and the row is there to be known.
        sense: which side of the bound is right.
        note: what else is to be known.
        raw: figures of each run.
    """

    name: str
    measure: str
    figure: float
    low: float
    high: float
    unit: str
    bound: float | None
    sense: Literal["at least", "at most"]
    note: str = ""
    raw: Any = None

    @property
    def passed(self) -> bool:
        if self.bound is None:
            return True
        return self.figure >= self.bound if self.sense == "at least" else self.figure <= self.bound


class Spread(msgspec.Struct, frozen=True):
    """Median, smallest and greatest."""

    median: float
    low: float
    high: float


def spread(figures: Sequence[float]) -> Spread:
    return Spread(statistics.median(figures), min(figures), max(figures))


def row(
    name: str,
    measure: str,
    figures: Sequence[float],
    sense: Literal["at least", "at most"],
    bound: float | None,
    *,
    unit: str = "×",
    note: str = "",
    raw: Any = None,
) -> Row:
    """A row of the median of figures, one a round."""
    of = spread(figures)
    return Row(
        name=name, measure=measure, figure=of.median, low=of.low, high=of.high, unit=unit, bound=bound, sense=sense,
        note=note, raw=raw,
    )  # fmt: skip


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Of runs of the same round."""
    return [one / other for one, other in zip(above, below, strict=True)]
