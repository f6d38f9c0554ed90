"""Twice the load that ours can take: what still comes out, what the broker dropped, and what memory does.

The windows come in JSON, as simple devices send them, so that it is the bridge that has too much. Of the CBOR windows of
the contest it takes nearly as many a second as the broker, which then cannot hand on twice of it where all share two
processors; what comes of that stands in the note.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from tests.benchmarks.rows import Row, row
from tests.benchmarks.stand import OURS, Stand

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.rows import Plan

QUEUE = 1_000  # Mosquitto's default max_queued_messages: what does not fit is dropped, and counted
ROUNDS = 5
BESIDE = 2  # rounds with CBOR windows
GIVES_WAY = 19  # the load generator's niceness: devices have processors of their own, here it takes the bridge's
TWICE = 1.9  # what must really have been offered, of the peak


def measure(plan: Plan, folder: Path) -> list[Row]:
    """Goodput against the closed loop's peak, in alternating runs; memory from the first overload to the last."""
    found = _alternating(plan, folder / "overload", ROUNDS, text=True)
    beside = _alternating(plan, folder / "overload-cbor", BESIDE, text=False)
    goodput, offered = [one["goodput"] / one["peak"] for one in found], [one["offered"] / one["peak"] for one in found]
    memory, lost = [max(one["rss"]) for one in found], sum([max(0, one["missing_beyond"]) for one in found + beside])
    note = (
        f"offered {min(offered):.2f}–{max(offered):.2f} × peak of {found[0]['peak']:,.0f}/s, in JSON; {lost} missing "
        f"beyond what the broker dropped; in CBOR, not judged: {_of_peak(beside, 'goodput'):.2f} × the peak of "
        f"{beside[0]['peak']:,.0f}/s, where {_of_peak(beside, 'offered'):.2f} × could be offered"
    )
    return [
        row("overload", "goodput at 2× load, of the peak", goodput, "at least", 0.9, note=note, raw=[found, beside]),
        row("overload-offered", "offered in the overload, of the peak", offered, "at least", TWICE),
        row("overload-memory", "bridge's memory, last overload of the first", [memory[-1] / memory[0]], "at most", 1.05,
            note=f"{memory[0] / 2**20:.1f} → {memory[-1] / 2**20:.1f} MiB"),
        row("overload-lost", "missing beyond what the broker dropped", [float(lost)], "at most", 0, unit="messages"),
    ]  # fmt: skip


def _of_peak(rounds: list[dict[str, Any]], what: str) -> float:
    return statistics.median([one[what] / one["peak"] for one in rounds])


def _alternating(plan: Plan, folder: Path, rounds: int, *, text: bool) -> list[dict[str, Any]]:
    """What each round gave: Results and messages a second, counts, seconds, bytes."""
    found = []
    with Stand(OURS, folder, queue=QUEUE, text=text) as stand:
        stand.run(seconds=plan.overload)  # until everything bounded by a number of messages is full
        for _ in range(rounds):
            peak = stand.run(seconds=plan.overload, nice=GIVES_WAY)
            dropped = stand.dropped()
            over = stand.run(seconds=plan.overload, rate=2 * peak.rate, nice=GIVES_WAY)
            dropped = stand.dropped() - dropped
            found.append(
                {
                    "peak": peak.rate, "offered": over.offered, "goodput": over.rate, "sent": over.sent,
                    "answered": over.answered, "dropped_by_broker": dropped, "missing_beyond": over.missing - dropped,
                    "p50_ms": round(over.p50 * 1e3, 2), "p99_ms": round(over.p99 * 1e3, 2), "rss": over.rss["bridge"],
                }
            )  # fmt: skip
    return found
