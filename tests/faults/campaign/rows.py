"""The rows of the table: what is asked for, as figure and bound.

A row is judged of the seeds that were run (`OF_SEEDS`), or measured by itself (`MEASURED`): a function that gives rows.
Add it there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.rows import Row, row
from tests.faults.measures import backlog, ingest
from tests.faults.power import campaign as power

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.faults.campaign.run import Outcome

LOSSES = 10_000  # simulated power losses
SECONDS = 5.0  # a seed, wall time of the whole campaign by seeds
ENOUGH = 10  # seeds, to judge that


def _count(name: str, measure: str, kind: str, outcomes: Sequence[Outcome], unit: str) -> list[Row]:
    """Cases of one kind in all seeds: none."""
    cases = {one.plan.seed: len(getattr(one.verdict, kind)) for one in outcomes if getattr(one.verdict, kind)}
    note = f"seeds {named(sorted(cases))}" if cases else ""
    return [row(name, measure, [float(sum(cases.values()))], "at most", 0, unit=unit, note=note)]


def lost(outcomes: Sequence[Outcome]) -> list[Row]:
    """Nothing accepted is lost, but what a spoilt store alone held and was told of."""
    told = sum(len(one.verdict.told) for one in outcomes)
    found = _count("lost", "windows of accepted rows without an effective Result", "lost", outcomes, "windows")
    found[0].note = " · ".join(
        text for text in (found[0].note, f"{told} more lost with a spoilt store, and told" if told else "") if text
    )
    return found


def doubled(outcomes: Sequence[Outcome]) -> list[Row]:
    """No window has two different effective Results."""
    return _count("doubled", "windows with two different effective Results", "doubled", outcomes, "windows")


def order(outcomes: Sequence[Outcome]) -> list[Row]:
    """First Results come in the order of their rows."""
    return _count("order", "first Results out of order in their lane and stream", "disorder", outcomes, "windows")


def ledger(outcomes: Sequence[Outcome]) -> list[Row]:
    """The ledger adds up, and agrees with what was seen."""
    return _count("ledger", "figures of the ledger that do not add up", "ledger", outcomes, "cases")


def wrong(outcomes: Sequence[Outcome]) -> list[Row]:
    """Each Result is the answer to its own rows."""
    return _count("wrong", "Results for no window, of other rows, or numbers given twice", "wrong", outcomes, "cases")


def stuck(outcomes: Sequence[Outcome]) -> list[Row]:
    """All comes to rest by itself."""
    return _count("stuck", "agents without all receipts, programs that do not start", "stuck", outcomes, "cases")


OF_SEEDS: Sequence[Callable[[Sequence[Outcome]], list[Row]]] = (lost, doubled, order, ledger, wrong, stuck)
MEASURED: Sequence[Callable[[Path], list[Row]]] = (  # each is given a folder for its files
    ingest.measure, backlog.measure, lambda _folder: power.measure(LOSSES),
)  # fmt: skip


def pace(seconds: float, seeds: int) -> list[Row]:
    """How long a seed takes on average; nothing of a few, where starting and ending the set-ups is most of it."""
    figures = [seconds / seeds] if seeds >= ENOUGH else []
    return [row("pace", "wall time a seed", figures, "at most", SECONDS, unit="s")] if figures else []


def judge(outcomes: Sequence[Outcome]) -> list[Row]:
    """The rows of the seeds."""
    return [one for asked in OF_SEEDS for one in asked(outcomes)]


def named(seeds: Sequence[int], most: int = 12) -> str:
    """Seeds in words, the first of them."""
    more = f" and {len(seeds) - most} more" if len(seeds) > most else ""
    return ", ".join(str(seed) for seed in seeds[:most]) + more
