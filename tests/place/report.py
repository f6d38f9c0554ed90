"""The tables on the terminal, `place-report/report.json` and `placement.svg`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from rich.table import Table

from tests.benchmarks import report as bench
from tests.place import picture
from tests.place.contest import DEADLINES, NAMES, ORACLE
from tests.place.weather import WEATHERS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.place.contest import Results
    from tests.place.measures import Ceiling
    from tests.place.rows import Row
    from tests.place.trace import Trace
    from tests.place.windows import Judged


def verdicts(rows: list[Row]) -> Table:
    """The rows with their bounds."""
    made = bench.table(rows)
    made.title = "Where to compute"
    return made


def contest(results: Results, deadline: float) -> Table:
    """Right by the deadline in %, a line for each trace and one for all; fits 80 columns."""
    made = Table(title=f"Right within {deadline:g} s, %", box=None, padding=(0, 2, 0, 0))
    made.add_column("trace", no_wrap=True)
    for name in NAMES:
        made.add_column(name, justify="right", no_wrap=True)
    for trace in [*results.traces, None]:
        made.add_row(trace or "all", *(f"{100 * results.share(name, deadline, trace):.2f}" for name in NAMES))
    sent = (f"{100 * _mean(results, name, deadline, 'sent'):.1f}" for name in NAMES)
    slow = ("–" if name == ORACLE else f"{1e3 * _mean(results, name, deadline, 'latency'):.0f}" for name in NAMES)
    made.add_row("sent up, %", *sent)
    made.add_row("mean ms", *slow)
    return made


def limit(found: Ceiling) -> str:
    """How near to the oracle certainty comes at best."""
    return (
        f"where link and cloud never fail: ours {found.ours:.4f} of the oracle's; the best threshold in hindsight "
        f"{found.best:.4f} (below {found.below:.3f}): which of the bridge's answers are wrong, it cannot tell"
    )


def _mean(results: Results, name: str, deadline: float, of: str, trace: str | None = None) -> float:
    return float(np.mean([getattr(one, of) for group in results.of(name, deadline, trace) for one in group]))


def figures(results: Results) -> list[dict[str, Any]]:
    """For the report: each policy on each trace, means of the seeds."""
    return [
        {
            "trace": trace, "policy": name, "deadline": deadline,
            "right_in_time": round(results.share(name, deadline, trace), 5),
            "by_seed": results.right_in_time(name, deadline, trace),
            **{of: round(_mean(results, name, deadline, of, trace), 5) for of in ("right", "sent", "latency")},
        }
        for trace in results.traces
        for deadline in DEADLINES
        for name in NAMES
    ]  # fmt: skip


def save(folder: Path, rows: Sequence[Row], facts: dict[str, Any], results: Results | None) -> None:
    """Write `report.json`."""
    found = {
        **facts,
        "rows": [{**msgspec.to_builtins(one), "passed": one.passed} for one in rows],
        "replay": figures(results) if results is not None else None,
    }
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(found)))


def draw(folder: Path, results: Results, links: Sequence[Trace], judged: Judged) -> None:
    """Write `placement.svg`."""
    about = {name: one.scenario.about for name, one in WEATHERS.items()}
    (folder / "placement.svg").write_text(picture.picture(results, links, about, judged), encoding="utf-8")
