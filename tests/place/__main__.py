"""`make bench-place`: where to compute, beside fixed rivals and an oracle, and with real processes that fail.

Exit status 0 when every row holds, 1 naming those that fall short, 2 when it could not measure.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from bridge.errors import BridgeError
from tests.benchmarks import proc
from tests.place import contest, measures, real, report, rows, trace, windows

PARTS = ("models", "replay", "real")
REPORT = Path(__file__).resolve().parents[2] / "place-report"


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.place", description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these: {', '.join(PARTS)}")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    asked.parts = asked.parts or list(PARTS)
    return asked


def _facts(parts: list[str]) -> dict[str, Any]:
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "parts": parts,
        "deadlines": contest.DEADLINES,
        "seeds": contest.SEEDS,
        "machine": proc.machine(shutil.which("mosquitto") or "true"),
        "load_average": proc.load_average(),
    }


def measure(parts: list[str], console: Console) -> tuple[list[rows.Row], contest.Results | None]:
    """The rows of these parts; the picture and tables of the replay are made on the way.

    Raises:
        BridgeError: a model cannot be used.
        ValueError: a trace cannot be read.
    """
    found: list[rows.Row] = []
    results = None
    judged = windows.judge()
    if "models" in parts:
        found += [*measures.accuracy(judged), *measures.calibration(judged), *measures.cost(judged)]
    if "replay" in parts:
        links = trace.links()
        results = contest.Results(contest.run(judged, links, trace.bridge(), console.print))
        found += [*contest.changing(results), *contest.latency(results, judged)]
        report.draw(REPORT, results, links, judged)
        for deadline in contest.DEADLINES:
            console.print(report.contest(results, deadline))
        console.print(report.limit(measures.ceiling(judged)), highlight=False)
    if "real" in parts:
        found += real.rows(REPORT)
    return found, results


def main() -> int:
    """Measure, tell, write down."""
    asked, console, err = arguments(), Console(), Console(stderr=True)
    REPORT.mkdir(exist_ok=True)
    logging.getLogger("bridge").setLevel(logging.ERROR)  # the client in the replay warns of every breaker that opens
    facts = _facts(asked.parts)
    try:
        found, results = measure(asked.parts, console)
    except (BridgeError, OSError, ValueError) as why:
        err.print(f"could not measure: {why}", markup=False)
        return 2
    facts["load_average_after"] = proc.load_average()
    report.save(REPORT, found, facts, results)
    console.print(report.verdicts(found))
    console.print(f"{REPORT}/report.json, placement.svg", highlight=False)
    missing = rows.missing(found) if asked.parts == list(PARTS) else []
    if missing:
        console.print(f"[red]not measured:[/] {', '.join(missing)}")
    short = rows.short(found)
    if short:
        console.print(f"[red]falls short:[/] {', '.join(short)}")
    return 1 if short or missing else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
