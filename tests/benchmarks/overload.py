"""Twice the load that ours can take: what still comes out, what the broker dropped, and what memory does.

The windows come in JSON, as simple devices send them, so that it is the bridge that has too much. Of the contest's CBOR
windows it takes nearly as many a second as the broker, which cannot take in twice of that where all share two
processors; what comes of it then stands in the note.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import msgspec

from tests.benchmarks.rows import Row, row
from tests.benchmarks.stand import OURS, Stand

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.rows import Plan

QUEUE = 1_000  # Mosquitto's default max_queued_messages: what does not fit is dropped, and counted
INFLIGHT = 400  # and as many PUBACKs of Results: above `QUEUE` packets that wait for the bridge it drops PUBACKs, too
ROUNDS = 5
BESIDE = 2  # rounds with CBOR windows
FULL = 131_072  # messages after which the ids of whole windows, a bounded memory, fill no more
GIVES_WAY = 19  # the load generator's niceness: devices have processors of their own, here it takes the bridge's
TWICE = 1.9  # what must really have been offered, of the peak


class Round(msgspec.Struct, kw_only=True):
    """A closed loop, and an open one at twice its rate.

    Attributes:
        peak: Results a second in the closed loop.
        offered: messages a second in the open one.
        goodput: Results a second there.
        sent: messages there.
        answered: of those, the ones with a Result.
        dropped: messages that the broker says it dropped.
        beyond: messages without a Result beyond these.
        p50_ms: milliseconds to a Result, median.
        p99_ms: the same, 99th percentile.
        rss: the bridge's bytes resident.
    """

    peak: float
    offered: float
    goodput: float
    sent: int
    answered: int
    dropped: int
    beyond: int
    p50_ms: float
    p99_ms: float
    rss: list[int]


def measure(plan: Plan, folder: Path) -> list[Row]:
    """Goodput against the closed loop's peak, in alternating runs; memory from the first overload to the last."""
    found = _alternating(plan, folder / "overload", ROUNDS, text=True)
    beside = _alternating(plan, folder / "overload-cbor", BESIDE, text=False)
    goodput, offered = _of_peak(found)
    beside_goodput, beside_offered = map(statistics.median, _of_peak(beside))
    memory, lost = [max(one.rss) for one in found], sum([max(0, one.beyond) for one in found + beside])
    note = (
        f"offered {min(offered):.2f}–{max(offered):.2f} × the peak of {found[0].peak:,.0f}/s, in JSON; {lost} missing "
        f"beyond what the broker dropped. In CBOR, not judged: {beside_goodput:.2f} × the peak of "
        f"{beside[0].peak:,.0f}/s, of which the broker took {beside_offered:.2f} ×"
    )
    return [
        row("overload", "goodput at 2× load, of the peak", goodput, "at least", 0.9, note=note, raw=[found, beside]),
        row("overload-offered", "offered in the overload, of the peak", offered, "at least", TWICE),
        row("overload-memory", "bridge's memory, last overload of the first", [memory[-1] / memory[0]], "at most", 1.05,
            note=f"{memory[0] / 2**20:.1f} → {memory[-1] / 2**20:.1f} MiB"),
        row("overload-lost", "missing beyond what the broker dropped", [float(lost)], "at most", 0, unit="messages"),
    ]  # fmt: skip


def _of_peak(rounds: list[Round]) -> tuple[list[float], list[float]]:
    """Goodput and what was offered, of the peak of the same round."""
    return [one.goodput / one.peak for one in rounds], [one.offered / one.peak for one in rounds]


def _alternating(plan: Plan, folder: Path, rounds: int, *, text: bool) -> list[Round]:
    found = []
    with Stand(OURS, folder, queue=QUEUE, inflight=INFLIGHT, text=text) as stand:
        sent = 0
        while sent < FULL:  # until everything bounded by a number of messages is full
            sent += stand.run(seconds=plan.overload, warm=0.1).sent
        for _ in range(rounds):
            peak = stand.run(seconds=plan.overload, nice=GIVES_WAY)
            dropped = stand.dropped()
            over = stand.run(seconds=plan.overload, rate=2 * peak.rate, nice=GIVES_WAY)
            dropped = stand.dropped() - dropped
            found.append(
                Round(
                    peak=peak.rate, offered=over.offered, goodput=over.rate, sent=over.sent, answered=over.answered,
                    dropped=dropped, beyond=over.missing - dropped, p50_ms=round(over.p50 * 1e3, 2),
                    p99_ms=round(over.p99 * 1e3, 2), rss=over.rss["bridge"],
                )
            )  # fmt: skip
    return found
