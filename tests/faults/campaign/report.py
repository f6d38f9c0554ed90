"""The table per fault on the terminal, and `chaos-report/report.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from rich.table import Table

from tests.faults.campaign.plan import FAULTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.benchmarks.rows import Row
    from tests.faults.campaign.run import Outcome

COLUMNS = ("lost", "told", "doubled", "disorder", "wrong", "ledger", "stuck")
LEGEND = "A seed with two faults is in two lines. told: lost with a spoilt store that its program told of."


def by_fault(outcomes: Sequence[Outcome]) -> dict[str, dict[str, int]]:
    """Seeds, windows and cases of each kind, of each fault that was drawn."""
    found: dict[str, dict[str, int]] = {}
    for fault in FAULTS:
        mine = [one for one in outcomes if fault in one.plan.faults]
        if mine:
            found[fault] = {
                "seeds": len(mine),
                "windows": sum(one.verdict.windows for one in mine),
                **{kind: sum(len(getattr(one.verdict, kind)) for one in mine) for kind in COLUMNS},
            }
    return found


def table(outcomes: Sequence[Outcome]) -> Table:
    """One line a fault, and one of all seeds; fits 100 columns."""
    made = Table(title="Faults", box=None, padding=(0, 1, 0, 0), caption=LEGEND)
    made.add_column("fault", no_wrap=True)
    for name in ("seeds", "windows", *COLUMNS):
        made.add_column(name, justify="right", no_wrap=True)
    for fault, figures in by_fault(outcomes).items():
        made.add_row(fault, *(_cell(name, figure) for name, figure in figures.items()))
    made.add_row(
        "[bold]all[/]",
        str(len(outcomes)),
        str(sum(one.verdict.windows for one in outcomes)),
        *(_cell(kind, sum(len(getattr(one.verdict, kind)) for one in outcomes)) for kind in COLUMNS),
    )
    return made


def _cell(name: str, figure: int) -> str:
    short = figure and name not in {"seeds", "windows", "told"}
    return f"[red]{figure}[/]" if short else f"{figure:,}"


def save(folder: Path, outcomes: Sequence[Outcome], rows: Sequence[Row], facts: dict[str, Any]) -> None:
    """Write `report.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        **facts,
        "rows": [{**msgspec.to_builtins(one), "passed": one.passed} for one in rows],
        "faults": by_fault(outcomes),
        "seeds": len(outcomes),
        "short": [one.plan.seed for one in outcomes if not one.verdict.passed],
    }
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(found)))
