"""All outcomes of the laboratory, and what a row says of them: a figure and its bound, or why there is none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from tests.benchmarks.rows import Row, row
from tests.netlab.record import QUANTILES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.netlab.lab import Outcome

OURS, ORACLE = "ours", "oracle"
FIXED = ("mqtt", "coap")


class Gap(Exception):  # nobody erred: there is nothing to judge
    """A row cannot be judged.

    Attributes:
        run: although what it is about was run.
    """

    def __init__(self, why: str, *, run: bool = True) -> None:
        super().__init__(why)
        self.run = run


class Unjudged(msgspec.Struct, frozen=True, kw_only=True):
    """A row without a figure: it does not pass.

    Attributes:
        name: of the row.
        measure: in words.
        why: there is none.
        run: what it is about was run, so that it should have one.
    """

    name: str
    measure: str
    why: str
    run: bool


Verdict: TypeAlias = Row | Unjudged


def judged(
    name: str,
    measure: str,
    figures: Callable[[], list[float] | dict[str, float]],
    sense: Literal["at least", "at most"],
    bound: float,
    *,
    unit: str = "×",
) -> Verdict:
    """A row of the median of figures, or of the worst of named ones; `Unjudged` where they raise `Gap`."""
    try:
        found = figures()
    except Gap as gap:
        return Unjudged(name=name, measure=measure, why=str(gap), run=gap.run)
    if isinstance(found, list):
        return row(name, measure, found, sense, bound, unit=unit, raw=found)
    outside = [where for where, figure in found.items() if (figure < bound if sense == "at least" else figure > bound)]
    every = list(found.values())
    worst = min(every) if sense == "at least" else max(every)
    note = f"beyond it: {', '.join(outside)}" if outside else f"the worst of {len(every)}"
    return Row(
        name=name, measure=measure, figure=worst, low=min(every), high=max(every), unit=unit, bound=bound, sense=sense,
        note=note, raw=found,
    )  # fmt: skip


class Results:
    """All outcomes, found by scenario and contestant."""

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        self.outcomes = sorted(outcomes, key=lambda one: one.seed)

    @property
    def scenarios(self) -> list[str]:
        """Those that were run."""
        return list(dict.fromkeys(one.scenario for one in self.outcomes))

    def of(self, scenario: str, contestant: str) -> list[Outcome]:
        """By seed; empty if it was not run."""
        return [one for one in self.outcomes if (one.scenario, one.contestant) == (scenario, contestant)]

    def runs(self, scenario: str, contestant: str = OURS) -> list[Outcome]:
        """By seed, at least one.

        Raises:
            Gap: it was not run.
        """
        found = self.of(scenario, contestant)
        if not found:
            raise Gap(f"{contestant} was not run in {scenario}", run=False)
        return found

    def pairs(self, scenario: str, rival: str) -> list[tuple[Outcome, Outcome]]:
        """Ours and a rival's, by seed.

        Raises:
            Gap: one of them was not run, or not with the same seeds.
        """
        ours, theirs = self.runs(scenario), self.runs(scenario, rival)
        if [one.seed for one in ours] != [one.seed for one in theirs]:
            raise Gap(f"seeds of {OURS} and {rival} differ in {scenario}")
        return list(zip(ours, theirs, strict=True))


def latency(of: Outcome, quantile: str) -> float:
    """In ms; infinite where so many were lost.

    Raises:
        Gap: too few messages for this quantile.
    """
    found = of.figures.latency[quantile]
    if found is not None:
        return found
    least = round(1 / (1 - QUANTILES[quantile]))
    if of.figures.messages < least:
        raise Gap(f"{of.figures.messages} messages of {of.contestant} in {of.scenario}, {quantile} needs {least}")
    return math.inf


def ratio(above: float, below: float) -> float:
    """As a share of the other; infinite where neither ends."""
    if math.isinf(above):
        return math.inf
    return above / below if below else math.inf


def share_of_best(ours: float, best: float) -> float:
    """Of a utility that may be negative: 1 if at least as good as one that is no gain at all, else 0."""
    if best > 0:
        return ours / best
    return 1.0 if ours >= best else 0.0


def shown(value: Any) -> Any:
    """For JSON: infinite figures become None in msgspec, so they are told in words."""
    if isinstance(value, float) and math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    if isinstance(value, dict):
        return {key: shown(one) for key, one in value.items()}
    return [shown(one) for one in value] if isinstance(value, list) else value
