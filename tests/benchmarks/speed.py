"""Side by side: Results a second, CPU a Result, and a lone request's latency, in interleaved rounds."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import msgspec

from tests.benchmarks import stand
from tests.benchmarks.rows import Row, Spread, ratios, row, spread
from tests.benchmarks.stand import AIOMQTT, OURS, PAHO, SOCKET, Stand

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.rows import Plan
    from tests.benchmarks.task import Told

Runs = dict[str, list["Told"]]


class Contest(msgspec.Struct):
    """What each contestant did, for the plot: spreads by contestant.

    Attributes:
        rate: Results a second.
        cpu: µs of CPU a Result.
        p50: µs from publish to Result of a lone request.
        p99: the same, 99th percentile.
    """

    rate: dict[str, Spread]
    cpu: dict[str, Spread]
    p50: dict[str, Spread]
    p99: dict[str, Spread]


def measure(plan: Plan, folder: Path) -> tuple[list[Row], Contest]:
    """All rows of the contest."""
    full: Runs = {name: [] for name in stand.ALL}
    lone: Runs = {name: [] for name in stand.ALL}
    with ExitStack() as stack:
        stands = [stack.enter_context(Stand(name, folder / name)) for name in stand.ALL]
        for _ in range(plan.rounds):
            for one in stands:
                full[one.name].append(one.run(seconds=plan.seconds))
        for _ in range(plan.rounds):
            for one in stands:
                lone[one.name].append(one.run(seconds=plan.lone, warm=0.2, devices=1, outstanding=1))
    rate = {name: [told.rate for told in runs] for name, runs in full.items()}
    cpu = {name: [cpu_a_result(told) for told in runs] for name, runs in full.items()}
    p50 = {name: [told.p50 * 1e6 for told in runs] for name, runs in lone.items()}
    p99 = {name: [told.p99 * 1e6 for told in runs] for name, runs in lone.items()}
    contest = Contest(*({name: spread(found) for name, found in of.items()} for of in (rate, cpu, p50, p99)))
    raw = {name: [_raw(told) for told in runs] for name, runs in full.items()}
    raw_lone = {name: [_raw(told) for told in runs] for name, runs in lone.items()}
    ceiling = contest.cpu[SOCKET].median
    return [
        row("rate-aiomqtt", "Results/s, of aiomqtt one by one", ratios(rate[OURS], rate[AIOMQTT]), "at least", 10,
            note=_per_second(contest, AIOMQTT), raw=raw),
        row("rate-paho", "Results/s, of paho one by one", ratios(rate[OURS], rate[PAHO]), "at least", 4,
            note=_per_second(contest, PAHO)),
        row("rate-socket", "Results/s, of the bare-socket ceiling", ratios(rate[OURS], rate[SOCKET]), "at least", 0.8,
            note=_per_second(contest, SOCKET)),
        row("cpu", "CPU a Result, of the bare-socket ceiling", ratios(cpu[OURS], cpu[SOCKET]), "at most", 1.8,
            note=f"{contest.cpu[OURS].median:.1f} µs, ceiling {ceiling:.1f} µs"),
        row("lone", "p50 of a lone request, of paho", ratios(p50[OURS], p50[PAHO]), "at most", 1.2,
            note=f"p50 {contest.p50[OURS].median:.0f} µs (paho {contest.p50[PAHO].median:.0f}), "
            f"p99 {contest.p99[OURS].median:.0f} µs (paho {contest.p99[PAHO].median:.0f})", raw=raw_lone),
    ], contest  # fmt: skip


def cpu_a_result(told: Told) -> float:
    """µs of the bridge's CPU."""
    return told.cpu["bridge"] / (told.rate * told.seconds) * 1e6


def _per_second(contest: Contest, name: str) -> str:
    return f"{contest.rate[OURS].median:,.0f}/s against {contest.rate[name].median:,.0f}/s"


def _raw(told: Told) -> dict[str, Any]:
    return {
        "rate": round(told.rate, 1),
        "p50_us": round(told.p50 * 1e6, 1),
        "p99_us": round(told.p99 * 1e6, 1),
        "cpu_us_a_result": round(cpu_a_result(told), 2),
        "cores": {name: round(spent / told.seconds, 3) for name, spent in told.cpu.items()},
    }
