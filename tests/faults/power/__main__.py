"""`python -m tests.faults.power`: power lost thousands of times, in one process, on a simulated disk.

Exit status 0 when nothing accepted was missing and nothing half, 1 naming the points at which it was.
"""

from __future__ import annotations

import argparse
import sys
import time

from rich.console import Console
from rich.table import Table

from tests.faults.power.campaign import Tallies, campaign, failures, replay
from tests.faults.power.lives import SABOTAGES, SUBJECTS, Point

NAMED = 20  # failures told in words


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.power", description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=10_000, help="power losses (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of everything (%(default)s)")
    parser.add_argument("--stores", nargs="+", choices=SUBJECTS, default=list(SUBJECTS), help="only these")
    parser.add_argument("--replay", type=_point, metavar="STORE:SEED:LIFE:NUMBER", help="this point alone")
    parser.add_argument("--sabotage", choices=SABOTAGES, help="see that losses are found when this is not right")
    return parser.parse_args()


def _point(text: str) -> Point:
    try:
        return Point.parse(text)
    except ValueError as why:
        raise argparse.ArgumentTypeError(str(why)) from why


def table(tallies: Tallies) -> Table:
    """A row for each store and kind of fault."""
    shown = Table(title="Power losses")
    shown.add_column("store", no_wrap=True)
    shown.add_column("fault", no_wrap=True)
    for heading in ("points", "something at stake", "commit under way survived", "points failed", "entries missing"):
        shown.add_column(heading, justify="right")
    for (subject, fault), tally in tallies.items():
        figures = (tally.points, tally.at_stake, tally.finished, len(tally.failures), tally.missing)
        shown.add_row(subject, fault, *(f"{figure:,}" for figure in figures))
    return shown


def main() -> int:
    """Runs the campaign, or one point of it."""
    asked, console = arguments(), Console()
    if asked.replay is not None:
        seen = replay(asked.replay, asked.sabotage)
        console.print(f"{asked.replay}: {seen.missing} missing; {seen.wrong or 'nothing wrong'}", highlight=False)
        return int(bool(seen.wrong))
    began = time.monotonic()
    with console.status("") as status:
        tallies = campaign(asked.points, asked.seed, subjects=asked.stores, sabotage=asked.sabotage, say=status.update)
    console.print(table(tallies))
    failed = failures(tallies)
    for one in failed[:NAMED]:
        console.print(f"FAILED {one}", highlight=False, soft_wrap=True)
    if len(failed) > NAMED:
        console.print(f"and {len(failed) - NAMED:,} more")
    if failed:
        console.print(f"one alone: python -m tests.faults.power --replay {failed[0].point}", soft_wrap=True)
    seconds = time.monotonic() - began
    console.print(f"{asked.points:,} points of seed {asked.seed} in {seconds:.0f} s: {len(failed):,} failed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
