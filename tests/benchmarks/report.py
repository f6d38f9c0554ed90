"""The table on the terminal, `bench-report/report.json` and the plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from rich.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.rows import Row, Spread
    from tests.benchmarks.speed import Contest

NAMES = {
    "ours": "ours, acknowledges after",
    "paho": "paho, one by one",
    "aiomqtt": "aiomqtt, one by one",
    "socket": "bare socket, the ceiling",
}
COLOURS = {"ours": "#2f7ed8", "paho": "#9aa5b1", "aiomqtt": "#9aa5b1", "socket": "#d4a72c"}
LEFT, WIDE, BAR, STEP = 190, 430, 16, 24
PANELS = (
    ("rate", "Results a second, QoS 1 (more is better)"),
    ("cpu", "µs of CPU a Result (less is better)"),
    ("p50", "p50 of a lone request, µs (less is better)"),
    ("p99", "p99 of a lone request, µs (less is better)"),
)


def number(value: float) -> str:
    """Three digits that matter, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def table(rows: list[Row]) -> Table:
    """One line a row; fits 80 columns."""
    made = Table(title="Data path and engine", show_lines=True)
    made.add_column("measure", overflow="fold")
    for name in ("figure", "bound", ""):
        made.add_column(name, no_wrap=True)
    for one in rows:
        verdict = "[green]pass[/]" if one.passed else "[red]short[/]"
        bound = f"{'≥' if one.sense == 'at least' else '≤'} {number(one.bound)}" if one.bound is not None else "none"
        verdict = "" if one.bound is None else verdict
        beside = f"\n[dim]{one.note}[/]" if one.note else ""
        range_ = "" if one.low == one.high else f"\n[dim]{number(one.low)}–{number(one.high)}[/]"
        made.add_row(
            f"[bold]{one.name}[/]: {one.measure}{beside}", f"{number(one.figure)} {one.unit}{range_}",
            bound, verdict,
        )  # fmt: skip
    return made


def contest_table(contest: Contest) -> Table:
    """One line a contestant."""
    made = Table(title="Side by side: median (min–max)")
    for name in ("bridge", "Results/s", "CPU µs", "lone p50 µs", "p99 µs"):
        made.add_column(name)
    for key, name in NAMES.items():
        made.add_row(name, *(_cell(of[key]) for of in (contest.rate, contest.cpu, contest.p50, contest.p99)))
    return made


def _cell(of: Spread) -> str:
    return f"{number(of.median)}\n[dim]{number(of.low)}–{number(of.high)}[/]"


def save(folder: Path, rows: list[Row], contest: Contest | None, facts: dict[str, Any]) -> None:
    """Write `report.json`, and `bench.svg` when the contest ran; a row without a bound has neither passed nor not."""
    folder.mkdir(exist_ok=True)
    found = [{**msgspec.to_builtins(one), "passed": None if one.bound is None else one.passed} for one in rows]
    report = {**facts, "rows": found, "contest": msgspec.to_builtins(contest)}
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    if contest is not None:
        (folder / "bench.svg").write_text(plot(contest), encoding="utf-8")


def plot(contest: Contest) -> str:
    """Bars of the medians, with whiskers from the smallest to the greatest run."""
    parts: list[str] = []
    y = 10
    for key, title in PANELS:
        parts.append(f'<text x="10" y="{y + 14}" font-weight="bold">{title}</text>')
        y += 24
        of: dict[str, Spread] = getattr(contest, key)
        scale = WIDE / max(one.high for one in of.values())
        for name, one in of.items():
            parts += _bar(NAMES[name], COLOURS[name], one, scale, y)
            y += STEP
        y += 12
    width = LEFT + WIDE + 90
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _bar(name: str, colour: str, one: Spread, scale: float, y: int) -> list[str]:
    middle, low, high = y + BAR // 2, LEFT + one.low * scale, LEFT + one.high * scale
    return [
        f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{name}</text>',
        f'<rect x="{LEFT}" y="{y}" width="{one.median * scale:.1f}" height="{BAR}" fill="{colour}"/>',
        f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {y + 4}v8M{high:.1f} {y + 4}v8" stroke="#222"/>',
        f'<text x="{high + 6:.1f}" y="{y + 12}">{number(one.median)}</text>',
    ]
