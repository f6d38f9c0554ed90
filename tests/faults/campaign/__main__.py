"""`make chaos`: real programs, killed, cut off, out of disk; and nothing acknowledged may be lost.

Each seed draws one or two faults and their moments (`plan.py`), runs them on a set-up of real processes (`rig.py`,
`faults.py`), waits for quiet and compares what the source was told was accepted with what an independent subscriber
heard (`judge.py`). The table says what came of each fault; the rows, what is asked for. A seed that falls short prints
what it did, and `--first k --seeds 1` runs it alone.

Exit status: 0 all within bounds, 1 naming the rows and seeds that fall short, 2 when it could not run.
"""

from __future__ import annotations

import argparse
import datetime as dt
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tests.benchmarks import proc
from tests.benchmarks import report as bench
from tests.faults.campaign import report, rows
from tests.faults.campaign.jobs import Campaign, Folder, per_second
from tests.faults.campaign.plan import FAULTS, draw
from tests.support.fleet import ROOT

if TYPE_CHECKING:
    from tests.benchmarks.rows import Row
    from tests.faults.campaign.run import Outcome

REPORT = ROOT / "chaos-report"
JOBS = 2


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=100, help="how many (%(default)s)")
    parser.add_argument("--first", type=int, default=1, help="the first one (%(default)s)")
    parser.add_argument(
        "--only", choices=FAULTS, metavar="FAULT", help=f"of these seeds those with it: {', '.join(FAULTS)}"
    )
    parser.add_argument("--jobs", type=int, default=JOBS, help="set-ups side by side (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="keep what is known of seeds that were run before")
    parser.add_argument("--seeds-only", action="store_true", help="leave out the rows that are measured by themselves")
    parser.add_argument("--report", type=Path, default=REPORT, metavar="DIR", help="where to write (%(default)s)")
    return parser.parse_args()


class Progress:
    """Tells what is done, and keeps it."""

    def __init__(self, folder: Folder, err: Console, total: int) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self._folder = folder
        self._err = err
        self._total = total
        self._begun = time.monotonic()

    def done(self, outcome: Outcome) -> None:
        """A seed is done, or a second look at it found more."""
        seed = outcome.plan.seed
        again = seed in self.outcomes
        self.outcomes[seed] = outcome
        self._folder.keep(outcome)
        if not outcome.verdict.passed:
            self._err.print(f"FALLS SHORT: {outcome}", markup=False, highlight=False, soft_wrap=True)
        if not again and (len(self.outcomes) % 20 == 0 or len(self.outcomes) == self._total):
            self._err.print(
                f"{per_second(self._begun, len(self.outcomes))}; {self._total - len(self.outcomes)} to go",
                highlight=False,
            )


def main() -> int:
    """Run, tell, write down."""
    asked, console, err = arguments(), Console(), Console(stderr=True)
    if shutil.which("mosquitto") is None:
        err.print("mosquitto is not installed")
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as for Ctrl-C
    seeds = [
        seed
        for seed in range(asked.first, asked.first + asked.seeds)
        if asked.only is None or asked.only in draw(seed).faults
    ]
    folder = Folder(asked.report / "seeds")
    known = {seed: kept for seed in seeds if asked.resume and (kept := folder.load(seed)) is not None}
    left = [seed for seed in seeds if seed not in known]
    for seed in left:
        folder.forget(seed)
    progress = Progress(folder, err, len(left))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        Campaign(Path(scratch), progress.done).run(left, min(asked.jobs, max(1, len(left))))
        spent = time.monotonic() - begun
        outcomes = [one for _, one in sorted({**known, **progress.outcomes}.items())]
        found: list[Row] = rows.judge(outcomes)
        found += rows.pace(spent, len(left))
        found += [] if asked.seeds_only else [one for measure in rows.MEASURED for one in measure(Path(scratch))]
    facts = {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "first": asked.first,
        "only": asked.only,
        "jobs": asked.jobs,
        "machine": proc.machine("mosquitto"),
        "seconds": round(spent, 1),
    }
    report.save(asked.report, outcomes, found, facts)
    _print(console, outcomes, found, asked)
    return 0 if all(row.passed for row in found) else 1


def _print(console: Console, outcomes: list[Outcome], found: list[Row], asked: argparse.Namespace) -> None:
    if len(outcomes) == 1:
        console.print(str(outcomes[0]), markup=False, highlight=False, soft_wrap=True)
    console.print(report.table(outcomes))
    verdicts = bench.table(found)
    verdicts.title = "Nothing acknowledged is lost"
    console.print(verdicts)
    console.print(f"{asked.report}/report.json", highlight=False)
    short = [row.name for row in found if not row.passed]
    if short:
        seeds = rows.named([one.plan.seed for one in outcomes if not one.verdict.passed])
        console.print(
            f"[red]falls short:[/] {', '.join(short)}; seeds {seeds or 'none'}", highlight=False, soft_wrap=True
        )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
