"""`make bench`: the data path and the engine against what is asked of them, one run, side by side.

Exit status 0 when every row holds, 1 naming those that fall short, 2 when it could not measure.
"""

from __future__ import annotations

import argparse
import datetime as dt
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from bridge.runtime import ort
from tests.benchmarks import devices, overload, proc, report, restarts, soak, speed, stand, tuner
from tests.benchmarks.rows import FULL, QUICK, Plan, Row
from tests.support.real import require_tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.benchmarks.speed import Contest

REPORT = stand.ROOT / "bench-report"
SETTINGS = stand.settings(stand.QUEUE, stand.INFLIGHT)
GROUPS: dict[str, tuple[str, ...]] = {
    "speed": ("rate-aiomqtt", "rate-paho", "rate-socket", "cpu", "lone"),
    "overload": ("overload", "overload-offered", "overload-memory", "overload-lost", "overload-cbor"),
    "devices-whole": ("devices-whole", "devices-whole-memory"),
    "devices-rows": ("devices-rows", "devices-rows-memory"),
    "tuner": ("tuner",),
    "soak": ("soak",),
    "restarts": ("restarts", "restarts-stuck"),
}


def groups(wanted: list[str]) -> list[str]:
    """Names of the groups that hold the rows wanted; all for none."""
    return [name for name, rows in GROUPS.items() if not wanted or name in wanted or set(rows) & set(wanted)]


def measure(names: list[str], plan: Plan, folder: Path, say: Callable[[str], None]) -> tuple[list[Row], Contest | None]:
    """Measure groups one after the other."""
    contest: Contest | None = None
    found: list[Row] = []
    for name in names:
        begun = time.monotonic()
        if name == "speed":
            rows, contest = speed.measure(plan, folder)
        else:
            rows = _others(plan, folder)[name]()
        found += rows
        say(f"{name}: {time.monotonic() - begun:.0f} s, load average {proc.load_average()[0]:.1f}")
    return found, contest


def _others(plan: Plan, folder: Path) -> dict[str, Callable[[], list[Row]]]:
    return {
        "overload": lambda: overload.measure(plan, folder),
        "devices-whole": lambda: devices.measure(plan, folder, series=False),
        "devices-rows": lambda: devices.measure(plan, folder, series=True),
        "tuner": lambda: tuner.measure(plan),
        "soak": lambda: soak.measure(plan),
        "restarts": lambda: restarts.measure(plan, folder),
    }


def main() -> int:
    """Measure, tell, write down."""
    rows = [row for group in GROUPS.values() for row in group]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about two minutes, instead of about eight")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"only these: {', '.join(rows)}, or speed")
    asked = parser.parse_args()
    unknown = set(asked.rows) - set(rows) - set(GROUPS)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that brokers and bridges end with us
    plan, console, err = QUICK if asked.quick else FULL, Console(), Console(stderr=True)
    try:
        facts = _facts(plan, proc.machine(require_tool("mosquitto")))
    except (pytest.skip.Exception, pytest.fail.Exception) as why:
        err.print(str(why))
        return 2
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        found, contest = measure(groups(asked.rows), plan, Path(folder), err.print)
    facts["load_average_after"] = proc.load_average()
    if asked.rows:
        found = [row for row in found if row.name in asked.rows or set(asked.rows) & set(groups([row.name]))]
    report.save(REPORT, found, contest, facts)
    if contest is not None:
        console.print(report.contest_table(contest))
    console.print(report.table(found))
    console.print(
        f"load average {facts['load_average'][0]:.1f} before; {REPORT}/report.json, bench.svg", highlight=False
    )
    short = [row.name for row in found if not row.passed]
    if short:
        console.print(f"[red]falls short:[/] {', '.join(short)}")
    return 1 if short else 0


def _facts(plan: Plan, machine: dict[str, Any]) -> dict[str, Any]:
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "mode": plan.mode,
        "machine": machine | {"onnxruntime": ort.version()},
        "settings": SETTINGS,
        "settings_overload": overload.SETTINGS,
        "load_average": proc.load_average(),
    }


if __name__ == "__main__":
    sys.exit(main())
