"""The tables on the terminal, `netlab-report/report.json`, and a picture for each scenario."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import msgspec
from rich.table import Table

from tests.benchmarks import report as bench
from tests.netlab import timeline
from tests.netlab.record import QUANTILES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tests.benchmarks.rows import Row
    from tests.netlab.rows import Results
    from tests.netlab.scenarios import Scenario

TITLE = "One-way latency in ms, median of {} seed(s)"
LEGEND = (
    "/s, of: messages a second, and in a run · lost: never arrived, + arrived again, all seeds · "
    "sent: packets with payload a message · bytes: IP, both ways, a message · –: too few messages, or lost"
)


def _median(figures: Iterable[float | None]) -> str:
    """Of the runs; – where one has none."""
    every = list(figures)
    known = [one for one in every if one is not None]
    if len(known) < len(every):
        return "–"
    return bench.number(round(statistics.median(known), 2))


def contest(results: Results) -> Table:
    """One line for each scenario and contestant; fits 80 columns."""
    made = Table(
        title=TITLE.format(len({one.seed for one in results.outcomes})),
        box=None,
        padding=(0, 1, 0, 0),
        caption=LEGEND,
    )
    for name in ("scenario", "by"):
        made.add_column(name, no_wrap=True)
    for name in ("/s", "of", *QUANTILES, "lost", "sent", "bytes"):
        made.add_column(name, justify="right", no_wrap=True)
    for pair in dict.fromkeys((one.scenario, one.contestant) for one in results.outcomes):
        runs = results.of(*pair)
        of = [one.figures for one in runs]
        lost, twice = sum(one.lost for one in of), sum(one.duplicates for one in of)
        made.add_row(
            *pair,
            f"{runs[0].rate:.2g}",
            str(of[0].messages),
            *(_median(one.latency[name] for one in of) for name in QUANTILES),
            f"{lost} +{twice}" if twice else str(lost),
            f"{statistics.median(one.transmissions for one in of):.2f}",
            f"{statistics.median(one.bytes for one in of):.0f}",
        )
    return made


def after_outages(results: Results) -> Table | None:
    """How contestants took up again: the worst of all outages and seeds; None where there was no outage."""
    made = Table(title="After outages, the worst, s", box=None, padding=(0, 1, 0, 0))
    for name in ("scenario", "by", "first arrival", "first that arrives within 1 s"):
        made.add_column(name, no_wrap=True)
    for pair in dict.fromkeys((one.scenario, one.contestant) for one in results.outcomes if one.returns):
        every = [end for one in results.of(*pair) for end in one.returns]
        made.add_row(*pair, _worst(end.first for end in every), _worst(end.fresh for end in every))
    return made if made.row_count else None


def _worst(figures: Iterable[float | None]) -> str:
    every = list(figures)
    known = [one for one in every if one is not None]
    return f"{max(known):.2f}" if len(known) == len(every) else "never"


def verdicts(rows: list[Row]) -> Table:
    """The rows with their bounds."""
    made = bench.table(rows)
    made.title = "Bounds"
    return made


def save(
    folder: Path, scenarios: Sequence[Scenario], results: Results, rows: Sequence[Row], facts: dict[str, Any]
) -> None:
    """Write `report.json`, and `NAME.svg` for each scenario, of its first seed."""
    folder.mkdir(exist_ok=True)
    found = {
        **facts,
        "rows": [{**msgspec.to_builtins(one), "passed": one.passed} for one in rows],
        "scenarios": scenarios,
        "outcomes": results.outcomes,
    }
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    for scenario in scenarios:
        runs = [one for one in results.outcomes if one.scenario == scenario.name]
        first = [one for one in runs if one.seed == runs[0].seed]
        if first:
            (folder / f"{scenario.name}.svg").write_text(timeline.picture(scenario, first), encoding="utf-8")
