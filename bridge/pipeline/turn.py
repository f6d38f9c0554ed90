"""What one turn of the pipeline finds out: collected left to right, committed once, then told to the world."""

from __future__ import annotations

import msgspec

from bridge.errors import Refused
from bridge.messages import Answer, Result, SeriesKey, Window
from bridge.pipeline.arrival import Arrival, Verdict
from bridge.pipeline.routes import Route
from bridge.store.records import Changes, SavedResult
from bridge.topics import DataTopic


class Ticket(msgspec.Struct, eq=False):
    """An admitted arrival on its way to being settled.

    Attributes:
        arrival: what is to be settled.
        key: its series.
        rows: row numbers of its first and last row, for the receipt.
        receipt: the sender wants one.
        durable: its rows are in the journal, so that it is settled when that is committed.
        windows: ids of the windows it completed that are not settled yet.
        completed: how many windows it completed.
        results: their Results, as they become known.
    """

    arrival: Arrival
    key: SeriesKey
    rows: tuple[int, int]
    receipt: bool
    durable: bool
    windows: set[str]
    completed: int = 0
    results: list[Result] = []
    settled: bool = False

    def settle(self) -> None:
        """Settle the arrival, once."""
        if not self.settled:
            self.settled = True
            self.arrival.settle(Verdict(results=tuple(self.results)))


class Refusal(msgspec.Struct, frozen=True, eq=False):
    """Something refused.

    Attributes:
        why: the reason.
        source: whose message it was, if that is known.
        arrival: to be settled once the Error is out; None where its message lives on.
        reply_to: where `_infer` wants the Error.
        correlation: to repeat there.
    """

    why: Refused
    source: DataTopic | None
    arrival: Arrival | None
    reply_to: str | None = None
    correlation: bytes | None = None


class Cut(msgspec.Struct, eq=False):
    """A window with all the turn knows of it.

    Attributes:
        window: the window.
        route: its route.
        ticket: the arrival that completed it; None when a gap was given up or a restart brought it back.
        answer: what the bridge's own model says of it.
    """

    window: Window
    route: Route
    ticket: Ticket | None
    answer: Answer | None = None


class Turn(msgspec.Struct):
    """One turn.

    Attributes:
        now: monotonic seconds at which it began.
        wall: the same in seconds since 1970.
        tickets: admitted arrivals.
        refusals: refused arrivals.
        cuts: windows to be computed.
        changes: what the journal is to commit.
        publish: Results to publish after the commit.
        ask: windows to ask the cloud about after the commit.
        touched: series whose state changed.
    """

    now: float
    wall: float
    tickets: list[Ticket] = []
    refusals: list[Refusal] = []
    cuts: list[Cut] = []
    changes: Changes = msgspec.field(default_factory=Changes)
    publish: list[SavedResult] = []
    ask: list[Window] = []
    touched: set[SeriesKey] = set()
