"""Twice the load that ours can take: what still comes out, what the broker dropped, and what memory does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.rows import Row, row
from tests.benchmarks.stand import OURS, Stand

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.rows import Plan

QUEUE = 1_000  # Mosquitto's default max_queued_messages: what does not fit is dropped, and counted
ROUNDS = 5
GIVES_WAY = 19  # the load generator's niceness: devices have processors of their own, here it takes the bridge's
TWICE = 1.9  # what must really have been offered, of the peak


def measure(plan: Plan, folder: Path) -> list[Row]:
    """Goodput against the closed loop's peak, in alternating runs; memory from the first overload to the last."""
    goodput, memory, offered, raw = [], [], [], []
    lost = 0
    with Stand(OURS, folder / "overload", queue=QUEUE) as stand:
        stand.run(seconds=plan.overload)  # until everything bounded by a number of messages is full
        for _ in range(ROUNDS):
            peak = stand.run(seconds=plan.overload, nice=GIVES_WAY)
            dropped = stand.dropped()
            over = stand.run(seconds=plan.overload, rate=2 * peak.rate, nice=GIVES_WAY)
            dropped = stand.dropped() - dropped
            lost += max(0, over.missing - dropped)
            goodput.append(over.rate / peak.rate)
            offered.append(over.offered / peak.rate)
            memory.append(max(over.rss["bridge"]))
            raw.append(
                {
                    "peak": round(peak.rate, 1), "offered": round(over.offered, 1), "goodput": round(over.rate, 1),
                    "sent": over.sent, "answered": over.answered, "dropped_by_broker": dropped,
                    "missing_beyond": over.missing - dropped, "p50_ms": round(over.p50 * 1e3, 2),
                    "p99_ms": round(over.p99 * 1e3, 2), "rss": over.rss["bridge"],
                }
            )  # fmt: skip
    note = f"offered {min(offered):.2f}–{max(offered):.2f} × peak; {lost} missing beyond what the broker dropped"
    return [
        row("overload", "goodput at 2× load, of the peak", goodput, "at least", 0.9, note=note, raw=raw),
        row("overload-offered", "offered in the overload, of the peak", offered, "at least", TWICE),
        row("overload-memory", "bridge's memory, last overload of the first", [memory[-1] / memory[0]], "at most", 1.05,
            note=f"{memory[0] / 2**20:.1f} → {memory[-1] / 2**20:.1f} MiB"),
        row("overload-lost", "missing beyond what the broker dropped", [float(lost)], "at most", 0, unit="messages"),
    ]  # fmt: skip
