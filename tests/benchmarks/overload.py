"""Twice the load that ours can take: what still comes out, what the broker dropped, and what memory does.

The windows come in JSON, as simple devices send them, so that it is the bridge that has too much. Of the contest's CBOR
windows it takes nearly as many a second as the broker, which cannot take in twice of that where all share two
processors; what comes of it is a row without a bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tests.benchmarks.rows import Row, row
from tests.benchmarks.stand import OURS, Stand, settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.rows import Plan

QUEUE = 1_000  # Mosquitto's default max_queued_messages: what does not fit is dropped, and counted
INFLIGHT = 400  # and as many PUBACKs of Results: above `QUEUE` packets that wait for the bridge it drops PUBACKs, too
SETTINGS = settings(QUEUE, INFLIGHT)
BESIDE = 2  # rounds with CBOR windows
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
        beyond: messages without a Result beyond these; below 0 where the bridge's own status, to which it listens for
            a twin, was dropped, too.
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
    found = _alternating(plan, folder / "overload", plan.overload_rounds, text=True)
    cbor = _alternating(plan, folder / "overload-cbor", BESIDE, text=False)
    (goodput, offered), (cbor_goodput, cbor_offered) = _of_peak(found), _of_peak(cbor)
    memory, lost = [max(one.rss) for one in found], sum([max(0, one.beyond) for one in found + cbor])
    note = f"offered {min(offered):.2f}–{max(offered):.2f} × the peak of {found[0].peak:,.0f}/s"
    cbor_note = f"offered {min(cbor_offered):.2f}–{max(cbor_offered):.2f} × the peak of {cbor[0].peak:,.0f}/s"
    return [
        row("overload", "goodput at 2× load, of the peak; windows in JSON", goodput, "at least", 0.9,
            note=note, raw=found),
        row("overload-offered", "offered in the overload, of the peak", offered, "at least", TWICE),
        row("overload-memory", "bridge's memory, last overload of the first", [memory[-1] / memory[0]], "at most", 1.05,
            note=f"{memory[0] / 2**20:.1f} → {memory[-1] / 2**20:.1f} MiB"),
        row("overload-lost", "missing beyond what the broker dropped", [float(lost)], "at most", 0, unit="messages"),
        row("overload-cbor", "goodput where 2× is asked of the broker; windows in CBOR", cbor_goodput, "at least", None,
            note=cbor_note, raw=cbor),
    ]  # fmt: skip


def _of_peak(rounds: list[Round]) -> tuple[list[float], list[float]]:
    """Goodput and what was offered, of the peak of the same round."""
    return [one.goodput / one.peak for one in rounds], [one.offered / one.peak for one in rounds]


def _alternating(plan: Plan, folder: Path, rounds: int, *, text: bool) -> list[Round]:
    found = []
    with Stand(OURS, folder, queue=QUEUE, inflight=INFLIGHT, text=text) as stand:
        stand.dropped()
        sent = 0
        while sent < plan.fill:
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
