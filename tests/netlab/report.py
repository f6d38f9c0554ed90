"""The tables on the terminal, `netlab-report/report.json`, and a picture for each scenario."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import msgspec
from rich.table import Table

from tests.benchmarks import report as bench
from tests.netlab import changes, rows, timeline
from tests.netlab.record import QUANTILES
from tests.netlab.results import OURS, Unjudged, shown
from tests.netlab.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tests.netlab.costs import Measured
    from tests.netlab.lab import Outcome
    from tests.netlab.results import Results, Verdict
    from tests.netlab.scenarios import Scenario

TITLE = "From hand-over to Result in ms, median of {} seed(s)"
LEGEND = (
    "/s, of: messages a second, and in a run · lost: never arrived, + arrived again, all seeds · sent: packets with "
    "payload a message · bytes: IP, both ways, a message · –: too few messages, or lost"
)
UTILITY = "U of bridge/link/utility.py, mean of a run's seconds; best: the greatest of others that carry every message"
SWITCHES = "needless: beyond one a change of the link, or over 2 s and 5 round trips after it, in the worst run"
MEASURED = (3, 3_000)  # seeds, messages a run: from so many on, the bounds are meant
MOST_WHY = 4  # unjudged rows that are named one by one


def _median(figures: Iterable[float | None]) -> str:
    """Of the runs; – where one has none."""
    every = list(figures)
    known = [one for one in every if one is not None]
    if len(known) < len(every):
        return "–"
    return bench.number(round(statistics.median(known), 2))


def _table(title: str, names: Sequence[str], figures: Sequence[str], caption: str = "") -> Table:
    """Fits 80 columns."""
    made = Table(title=title, box=None, padding=(0, 1, 0, 0), caption=caption or None)
    for name in names:
        made.add_column(name, no_wrap=True)
    for name in figures:
        made.add_column(name, justify="right", no_wrap=True)
    return made


def contest(results: Results) -> Table:
    """One line for each scenario and contestant."""
    title = TITLE.format(len({one.seed for one in results.outcomes}))
    made = _table(title, ("scenario", "by"), ("/s", "of", *QUANTILES, "lost", "sent", "bytes"), LEGEND)
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


def utilities(results: Results) -> Table:
    """One line a scenario, one column a contestant."""
    by = list(dict.fromkeys(one.contestant for one in results.outcomes))
    made = _table("Utility, median of the seeds", ("scenario",), (*by, f"{OURS} of the best"), UTILITY)
    for scenario in results.scenarios:
        of = {name: [one.utility for one in results.of(scenario, name)] for name in by}
        middle = {name: statistics.median(found) for name, found in of.items() if found}
        whole = {name for name in middle if results.of(scenario, name)[0].rate >= SCENARIOS[scenario].rate}
        best = max((middle[name] for name in whole - {OURS}), default=0.0)
        share = f"{middle[OURS] / best:.3f}" if OURS in middle and best > 0 else "–"
        made.add_row(scenario, *(f"{middle[name]:.3f}" if name in middle else "" for name in by), share)
    return made


def switches(results: Results, contestant: str = OURS) -> Table:
    """Which profiles were in use, how often they were switched, and how often without need."""
    names = ("scenario", "profiles, of the first seed, and s in use")
    made = _table(f"Switches of {contestant}", names, ("switches", "changes", "needless"), SWITCHES)
    made.columns[1].no_wrap = False
    for scenario in results.scenarios:
        runs = results.of(scenario, contestant)
        if not runs or scenario not in SCENARIOS:
            continue
        told = SCENARIOS[scenario]
        none = told.constant or scenario == rows.NOISE
        find = changes.settled if none else changes.unexplained
        made.add_row(
            scenario,
            _in_use(runs[0]),
            f"{statistics.median(max(0, len(one.switches) - 1) for one in runs):.0f}",
            "0" if none else str(len(told.stages) - 1),
            str(max(len(find(one.switches, told)) for one in runs)),
        )
    return made


def _in_use(one: Outcome) -> str:
    """Each profile with its seconds, the longest first."""
    ends = [*(switch.t for switch in one.switches[1:]), float(len(one.worst))]
    seconds: dict[str, float] = {}
    for switch, end in zip(one.switches, ends, strict=True):
        seconds[switch.profile] = seconds.get(switch.profile, 0.0) + max(0.0, end - max(0.0, switch.t))
    found = sorted(seconds.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{name} {duration:.0f}" for name, duration in found)


def after_outages(results: Results) -> Table | None:
    """How contestants took up again: the worst of all outages and seeds; None where there was no outage."""
    made = _table("After outages, the worst, s", ("scenario", "by", "first arrival", "first within 1 s"), ())
    for pair in dict.fromkeys((one.scenario, one.contestant) for one in results.outcomes if one.returns):
        every = [end for one in results.of(*pair) for end in one.returns]
        made.add_row(*pair, _worst(end.first for end in every), _worst(end.fresh for end in every))
    return made if made.row_count else None


def _worst(figures: Iterable[float | None]) -> str:
    every = list(figures)
    known = [one for one in every if one is not None]
    return f"{max(known):.2f}" if len(known) == len(every) else "never"


def verdicts(found: Sequence[Verdict]) -> Table:
    """The rows that have a figure, with their bounds."""
    made = bench.table(rows.figures(found))
    made.title = "Bounds"
    return made


def not_judged(found: Sequence[Verdict]) -> list[str]:
    """Lines that say which rows have no figure, and why."""
    missing = [one for one in found if isinstance(one, Unjudged)]
    lines = [f"not judged: {one.name}: {one.why}" for one in missing if one.run]
    others = [one.name for one in missing if not one.run]
    if others:
        some = ", ".join(others[:MOST_WHY]) + (f" and {len(others) - MOST_WHY} more" if len(others) > MOST_WHY else "")
        lines.append(f"not judged, since not run: {some}")
    return lines


def enough(results: Results) -> str | None:
    """Why the figures are less than the bounds are meant for; None: they are not."""
    seeds = len({one.seed for one in results.outcomes})
    messages = min((one.figures.messages for one in results.outcomes if one.contestant == OURS), default=0)
    if seeds >= MEASURED[0] and messages >= MEASURED[1]:
        return None
    return (
        f"a look, no measurement: {seeds} seed(s), {messages} messages a run; the bounds are meant for "
        f"medians of {MEASURED[0]} seeds of {MEASURED[1]:,}"
    )


def save(
    folder: Path,
    scenarios: Sequence[Scenario],
    results: Results,
    found: Sequence[Verdict],
    measured: Measured,
    facts: dict[str, Any],
) -> None:
    """Write `report.json`, and `NAME.svg` for each scenario, of its first seed."""
    folder.mkdir(exist_ok=True)
    told = {
        **facts,
        "enough": enough(results),
        "rows": [_row(one) for one in found],
        "measured": msgspec.to_builtins(measured),
        "scenarios": scenarios,
        "outcomes": results.outcomes,
    }
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(told)))
    for scenario in scenarios:
        runs = [one for one in results.outcomes if one.scenario == scenario.name]
        first = [one for one in runs if one.seed == runs[0].seed]
        if first:
            (folder / f"{scenario.name}.svg").write_text(timeline.picture(scenario, first), encoding="utf-8")


def _row(one: Verdict) -> dict[str, Any]:
    """As JSON takes it: `verdict` is `pass`, `short` or `not judged`."""
    said = {key: shown(value) for key, value in msgspec.structs.asdict(one).items()}
    if isinstance(one, Unjudged):
        return {**said, "verdict": "not judged"}
    return {**said, "passed": one.passed, "verdict": "pass" if one.passed else "short"}
