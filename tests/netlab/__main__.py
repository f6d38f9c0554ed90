"""`make netlab`: real contestants in real namespaces on emulated links, side by side.

Exit status 0 when every row holds, 1 naming those that fall short or have no figure though they were run, 2 when it
could not measure.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from tests.benchmarks import proc
from tests.netlab import cloud_rows, costs, lab, namespaces, report, rows
from tests.netlab.child import ROOT
from tests.netlab.contestants import full_load
from tests.netlab.entrants import CONTESTANTS, DEFAULT, enters
from tests.netlab.results import ORACLE, OURS, Results
from tests.netlab.room import Room
from tests.netlab.scenarios import ALSO_CALLED, SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.netlab.cloud_rows import Run
    from tests.netlab.lab import Outcome
    from tests.netlab.results import Verdict

REPORT = ROOT / "netlab-report"
MESSAGES, SEEDS = 3_000, 3
EVERY = (*SCENARIOS, *cloud_rows.CLOUD)
A_CORE = 8  # runs at once; one takes 5 to 6 % of a core


def _count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return int(text)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.netlab", description=__doc__.partition("\n")[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"only these: {', '.join(EVERY)}")
    parser.add_argument(
        "--contestants",
        nargs="+",
        choices=CONTESTANTS,
        metavar="NAME",
        help=f"of {', '.join(CONTESTANTS)}; {ORACLE} by itself only where the link changes",
    )
    parser.add_argument("--seeds", type=_count, default=SEEDS, help="runs of each (%(default)s)")
    parser.add_argument("--messages", type=_count, default=MESSAGES, help="of each run (%(default)s)")
    parser.add_argument("--parallel", type=_count, default=A_CORE * (os.cpu_count() or 1), help="runs at once")
    asked = parser.parse_args(argv)
    named = [ALSO_CALLED.get(name, name) for name in asked.scenarios] or list(EVERY)
    if unknown := set(named) - set(EVERY):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(EVERY)}")
    asked.scenarios = [name for name in named if name in SCENARIOS]
    ours = OURS in (asked.contestants or [OURS])
    asked.cloud = [name for name in named if name in cloud_rows.CLOUD and ours]
    return asked


def contestants(asked: argparse.Namespace, scenario: str) -> list[str]:
    """Who runs there: those that were named, or all, the oracle only where it has something to know beforehand."""
    return asked.contestants or [name for name in DEFAULT if enters(name, SCENARIOS[scenario])]


async def measure(
    asked: argparse.Namespace, folder: Path, say: Callable[[str], None]
) -> tuple[list[Outcome], list[Run]]:
    """Run all, the longest first; those of one scenario and seed begin together, so that they meet the same machine.

    Raises:
        ExceptionGroup: a run failed; the others were stopped.
    """
    room = Room(asked.parallel)

    async def one(scenario: str, seed: int, contestant: str) -> Outcome:
        async with room.place() as phase:
            begun = time.monotonic()
            own = folder / f"{scenario}-{contestant}-{seed}"
            outcome = await lab.measure(
                SCENARIOS[scenario], CONTESTANTS[contestant], seed=seed, messages=asked.messages, folder=own,
                phase=phase,
            )  # fmt: skip
            shutil.rmtree(own)  # 10 MB each, in memory
            say(f"{scenario}, {contestant}, seed {seed}: {time.monotonic() - begun:.0f} s")
            return outcome

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(one(scenario, seed, contestant))
            for scenario in sorted(asked.scenarios, key=lambda name: -_seconds(name, asked.messages))
            for seed in range(1, asked.seeds + 1)
            for contestant in contestants(asked, scenario)
        ]
        cloud = group.create_task(
            cloud_rows.measure(
                asked.cloud, seeds=asked.seeds, messages=asked.messages, folder=folder, room=room, say=say
            )
        )
    return [task.result() for task in tasks], cloud.result()


def _seconds(scenario: str, messages: int) -> float:
    load = full_load(SCENARIOS[scenario], messages)
    return load.count / load.rate


def _why_not() -> str | None:
    return namespaces.why_not() or (None if shutil.which("mosquitto") else "mosquitto is not installed")


def _facts(asked: argparse.Namespace) -> dict[str, Any]:
    every = dict.fromkeys(name for scenario in asked.scenarios for name in contestants(asked, scenario))
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "asked": vars(asked),
        "machine": proc.machine("mosquitto"),
        "contestants": {name: CONTESTANTS[name].about for name in every},
        "run_folders": str(lab.scratch() or tempfile.gettempdir()),
        "load_average": proc.load_average(),
    }


def main() -> int:
    """Measure, tell, write down."""
    asked, console, err = arguments(), Console(), Console(stderr=True)
    if why := _why_not():
        err.print(f"no laboratory here: {why}")
        return 2
    for name in namespaces.left_behind():
        namespaces.remove(name)
        err.print(f"removed {name} of a run that died")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as for Ctrl-C
    facts = _facts(asked)
    outcomes: list[Outcome] = []
    cloud: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="netlab-", dir=lab.scratch()) as folder:
        try:
            outcomes, cloud = asyncio.run(measure(asked, Path(folder), lambda line: err.print(line, highlight=False)))
        except* (RuntimeError, ValueError) as failed:
            err.print(str(failed.exceptions[0]), markup=False)
    if not outcomes and not cloud:
        return 2
    results = Results(outcomes)
    measured = costs.measure(results)
    found = [*rows.judge(results, measured), *cloud_rows.judge(cloud)]
    facts["load_average_after"] = proc.load_average()
    report.save(REPORT, [SCENARIOS[name] for name in asked.scenarios], results, found, measured, facts)
    tell(console, results, found, facts)
    if (why := cloud_rows.enough(cloud)) is not None:
        console.print(why, style="yellow", highlight=False)
    return 1 if rows.short(found) or rows.unjudged(found) else 0


def tell(console: Console, results: Results, found: Sequence[Verdict], facts: dict[str, Any]) -> None:
    """All tables, and what falls short."""
    for name, about in facts["contestants"].items():
        console.print(f"[bold]{name}[/]: {about}", highlight=False)
    if results.outcomes:
        console.print(report.contest(results))
        console.print(report.utilities(results))
    for name in (OURS, ORACLE):
        if any(one.switches for one in results.outcomes if one.contestant == name):
            console.print(report.switches(results, name))
    if (after := report.after_outages(results)) is not None:
        console.print(after)
    console.print(report.verdicts(found))
    for line in report.not_judged(found):
        console.print(line, style="dim", highlight=False)
    if results.outcomes and (why := report.enough(results)) is not None:
        console.print(why, style="yellow", highlight=False)
    console.print(f"{REPORT}/report.json, SCENARIO.svg", highlight=False)
    if short := rows.short(found):
        console.print(f"[red]falls short:[/] {', '.join(short)}")
    if missing := rows.unjudged(found):
        console.print(f"[red]no figure:[/] {', '.join(one.name for one in missing)}")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
