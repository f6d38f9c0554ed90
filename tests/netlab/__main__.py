"""`make netlab`: real contestants in real namespaces on emulated links, side by side.

Exit status 0 when every row holds, 1 naming those that fall short, 2 when it could not measure.
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
from tests.netlab import lab, namespaces, report, rows
from tests.netlab.child import ROOT
from tests.netlab.entrants import CONTESTANTS, DEFAULT
from tests.netlab.scenarios import ALSO_CALLED, SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.netlab.lab import Outcome

REPORT = ROOT / "netlab-report"
MESSAGES, SEEDS = 3_000, 3
A_CORE = 3  # runs at once; one takes about 5 % of a core


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.netlab", description=__doc__.partition("\n")[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"only these: {', '.join(SCENARIOS)}")
    parser.add_argument(
        "--contestants",
        nargs="+",
        choices=CONTESTANTS,
        default=DEFAULT,
        metavar="NAME",
        help=f"of {', '.join(CONTESTANTS)}",
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help="runs of each (%(default)s)")
    parser.add_argument("--messages", type=int, default=MESSAGES, help="of each run (%(default)s)")
    parser.add_argument("--parallel", type=int, default=A_CORE * (os.cpu_count() or 1), help="runs at once")
    asked = parser.parse_args()
    asked.scenarios = [ALSO_CALLED.get(name, name) for name in asked.scenarios]
    if unknown := set(asked.scenarios) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    return asked


async def measure(asked: argparse.Namespace, folder: Path, say: Callable[[str], None]) -> list[Outcome]:
    """Run all; those of one scenario and seed begin together, so that they meet the same machine.

    Raises:
        ExceptionGroup: a run failed; the others were stopped.
    """
    room = asyncio.Semaphore(asked.parallel)

    async def one(scenario: str, seed: int, contestant: str) -> Outcome:
        async with room:
            begun = time.monotonic()
            outcome = await lab.measure(
                SCENARIOS[scenario], CONTESTANTS[contestant], seed=seed, messages=asked.messages,
                folder=folder / f"{scenario}-{contestant}-{seed}",
            )  # fmt: skip
            say(f"{scenario}, {contestant}, seed {seed}: {time.monotonic() - begun:.0f} s")
            return outcome

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(one(scenario, seed, contestant))
            for scenario in asked.scenarios or SCENARIOS
            for seed in range(1, asked.seeds + 1)
            for contestant in asked.contestants
        ]
    return [task.result() for task in tasks]


def _why_not() -> str | None:
    return namespaces.why_not() or (None if shutil.which("mosquitto") else "mosquitto is not installed")


def _facts(asked: argparse.Namespace) -> dict[str, Any]:
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "asked": vars(asked),
        "machine": proc.machine("mosquitto"),
        "contestants": {name: CONTESTANTS[name].about for name in asked.contestants},
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
    with tempfile.TemporaryDirectory(prefix="netlab-") as folder:
        try:
            outcomes = asyncio.run(measure(asked, Path(folder), lambda line: err.print(line, highlight=False)))
        except* (RuntimeError, ValueError) as failed:
            err.print(str(failed.exceptions[0]), markup=False)
    if not outcomes:
        return 2
    results = rows.Results(outcomes)
    found = rows.judge(results)
    facts["load_average_after"] = proc.load_average()
    report.save(REPORT, [SCENARIOS[name] for name in asked.scenarios or SCENARIOS], results, found, facts)
    for name in asked.contestants:
        console.print(f"[bold]{name}[/]: {CONTESTANTS[name].about}", highlight=False)
    console.print(report.contest(results))
    if (after := report.after_outages(results)) is not None:
        console.print(after)
    console.print(report.verdicts(found))
    console.print(f"{REPORT}/report.json, SCENARIO.svg", highlight=False)
    short = [row.name for row in found if not row.passed]
    if short:
        console.print(f"[red]falls short:[/] {', '.join(short)}")
    return 1 if short else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
