"""The rows of the table: what is asked of a run of the laboratory, as figure and bound.

A row is a function of all outcomes that gives none where it does not apply: what was not run is not judged.
Add it to `ROWS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.rows import Row, ratios, row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.netlab.lab import Outcome

LATE_MS = 2.0  # beside 25 ms of propagation, and 3 ms between the rivals of a clean link


class Results:
    """All outcomes, found by scenario and contestant."""

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        self.outcomes = sorted(outcomes, key=lambda one: one.seed)

    def of(self, scenario: str, contestant: str) -> list[Outcome]:
        """By seed; empty if it was not run."""
        return [one for one in self.outcomes if (one.scenario, one.contestant) == (scenario, contestant)]

    def latency(self, scenario: str, contestant: str, quantile: str) -> list[float]:
        """In ms, by seed; inf where it has none."""
        found = (one.figures.latency[quantile] for one in self.of(scenario, contestant))
        return [float("inf") if one is None else one for one in found]


def late(results: Results) -> list[Row]:
    """The instrument: packets leave the emulator when they are due."""
    figures = [1e3 * one.link.late_p99 for one in results.outcomes]
    measure = "p99 of the emulator's lateness, the worst of all runs"
    return [row("instrument", measure, [max(figures)], "at most", LATE_MS, unit="ms")] if figures else []


def against(results: Results, scenario: str, ours: str, rival: str, quantile: str, bound: float) -> list[Row]:
    """A quantile of ours as a share of the rival's, at most `bound`, paired by seed."""
    above, below = results.latency(scenario, ours, quantile), results.latency(scenario, rival, quantile)
    if not above or len(above) != len(below):
        return []
    measure = f"{quantile} of {ours} / {rival}"
    return [row(f"{scenario}-{quantile}", measure, ratios(above, below), "at most", bound)]


def lost(results: Results, contestant: str) -> list[Row]:
    """Messages of a contestant that never arrived, in each scenario: none."""
    found: list[Row] = []
    for scenario in dict.fromkeys(one.scenario for one in results.outcomes):
        figures = [float(one.figures.lost) for one in results.of(scenario, contestant)]
        if figures:
            worst = [max(figures)]
            found += [row(f"{scenario}-lost", f"lost by {contestant}", worst, "at most", 0, unit="messages")]
    return found


ROWS: Sequence[Callable[[Results], list[Row]]] = (late,)


def judge(results: Results) -> list[Row]:
    """Every row that applies."""
    return [one for asked in ROWS for one in asked(results)]
