"""Rows that hold in every scenario: deliveries, probes, memory, and the instrument itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.netlab.results import OURS, Gap, Results, Verdict, judged

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.netlab.costs import Measured
    from tests.netlab.lab import Outcome
    from tests.netlab.memory import Memory

LATE_MS = 2.0  # beside 25 ms of propagation, and 3 ms between the rivals of a clean link
START = 2.0  # s until the first delivery
PROBES = 0.01  # of the bytes
GROWTH, SLACK = 1.2, 4_096  # of the middle's memory, and KiB


def some(found: dict[str, float]) -> dict[str, float]:
    """What was found, by scenario.

    Raises:
        Gap: it is nothing.
    """
    if not found:
        raise Gap(f"{OURS} was not run", run=False)
    return found


def instrument(results: Results, _: Measured) -> list[Verdict]:
    """Packets leave the emulator when they are due."""

    def late() -> dict[str, float]:
        found: dict[str, float] = {}
        for one in results.outcomes:
            found[one.scenario] = max(found.get(one.scenario, 0.0), 1e3 * one.link.late_p99)
        return some(found)

    return [judged("instrument", "p99 of the emulator's lateness", late, "at most", LATE_MS, unit="ms")]


def beginning(results: Results, _: Measured) -> list[Verdict]:
    """Every scenario: how long the first message takes, where the first way may not get through either."""

    def first() -> dict[str, float]:
        found: dict[str, float] = {}
        for name in results.scenarios:
            every = [one.first for one in results.of(name, OURS)]
            if every:
                found[name] = max(float("inf") if one is None else one for one in every)
        return some(found)

    return [judged("first", "first delivery after the start, in each scenario", first, "at most", START, unit="s")]


def safe(results: Results, _: Measured) -> list[Verdict]:
    """Every scenario: nothing lost, no window with two effective Results."""

    def worst(of: Callable[[Outcome], float]) -> Callable[[], dict[str, float]]:
        return lambda: some({
            name: max(of(one) for one in results.of(name, OURS)) for name in results.scenarios if results.of(name, OURS)
        })  # fmt: skip

    lost, twice = worst(lambda one: one.figures.lost), worst(lambda one: one.twice)
    return [
        judged("lost", f"messages lost by {OURS}, in each scenario", lost, "at most", 0, unit=""),
        judged("twice", "windows with two effective Results, in each scenario", twice, "at most", 0, unit=""),
    ]


def probes(results: Results, _: Measured) -> list[Verdict]:
    """Every scenario: what was asked of the link on purpose, as a share of all that passed."""

    def shares() -> dict[str, float]:
        found: dict[str, float] = {}
        for name in results.scenarios:
            every = [one.link.probes / (one.link.up.bytes + one.link.down.bytes) for one in results.of(name, OURS)]
            if every:
                found[name] = max(every)
        return some(found)

    measure = "IP bytes of CoAP pings and PINGREQs with their answers / all, in each scenario"
    return [judged("probes", measure, shares, "at most", PROBES, unit="")]


def memory(results: Results, _: Measured) -> list[Verdict]:
    """Resident memory at the workload's end, beside its middle."""

    def growth(program: str) -> Callable[[], dict[str, float]]:
        def of() -> dict[str, float]:
            found: dict[str, float] = {}
            for name in results.scenarios:
                runs = results.of(name, OURS)
                if any(program not in one.memory for one in runs):
                    raise Gap(f"memory of the {program} was not measured in {name}")
                if runs:
                    found[name] = max(grown(one.memory[program]) for one in runs)
            return some(found)

        return of

    measure = "resident at the end less 4 MiB / in the middle, in each scenario"
    return [
        judged(f"memory-{name}", f"{name}: {measure}", growth(name), "at most", GROWTH) for name in ("agent", "bridge")
    ]


def grown(memory: Memory) -> float:
    """The end's share of the middle, the slack taken off."""
    return (memory.end - SLACK) / memory.middle
