"""What one turn of the pipeline finds out: collected left to right, committed once, then told to the world."""

from __future__ import annotations

from typing import Any

import msgspec

from bridge.errors import Refused
from bridge.messages import Answer, Placement, Result, SeriesKey, Window
from bridge.offload.messages import Ask
from bridge.pipeline.arrival import SAFE, Arrival, Verdict
from bridge.pipeline.chunk import Chunk
from bridge.pipeline.entries import Entry
from bridge.pipeline.routes import Route
from bridge.store.records import Changes, SavedResult
from bridge.topics import DataTopic
from bridge.topics import result as result_topic


class Ticket(msgspec.Struct, eq=False):
    """An admitted arrival on its way to being settled.

    Attributes:
        arrival: what is to be settled.
        key: its series.
        rows: row numbers of its first and last row, for the receipt.
        receipt: the sender wants one.
        durable: its rows are in the journal, so that it is settled when that is committed.
        open: windows it completed whose Result the broker does not have yet.
        completed: how many windows it completed.
        results: their Results, as they become known, where the sender waits for them.
        refused: why a window of it got no answer after all, where its sender is to send it again.
        settled: it was settled.
    """

    arrival: Arrival
    key: SeriesKey
    rows: tuple[int, int]
    receipt: bool
    durable: bool
    open: int = 0
    completed: int = 0
    results: tuple[Result, ...] = ()
    refused: Refused | None = None
    settled: bool = False

    @property
    def waits(self) -> bool:
        """It is too early to settle it."""
        if not self.open:
            return False
        return not self.durable or (self.arrival.wants_result and self.completed == 1 and not self.results)

    def settle(self) -> None:
        """Settle the arrival."""
        self.settled = True
        self.arrival.settle(Verdict(self.refused, self.results) if self.results or self.refused else SAFE)


class Refusal(msgspec.Struct, frozen=True, eq=False):
    """Something refused.

    Attributes:
        why: the reason.
        source: whose message it was, if that is known.
        arrival: to be settled once the Error is out; None where its message lives on.
        reply_to: where `_infer` wants the Error.
        correlation: to repeat there.
        tickets: who waited for a Result of the window that gets none; they wait for the Error instead.
    """

    why: Refused
    source: DataTopic | None
    arrival: Arrival | None
    reply_to: str | None = None
    correlation: bytes | None = None
    tickets: list[Ticket] = []


class Cut(msgspec.Struct, eq=False):
    """A window with all that is known of it.

    Attributes:
        window: the window.
        route: its route.
        ticket: the arrival that completed it; None when a gap was given up or a restart brought it back.
        sheddable: it may be given up when it is late and computing has no room: a live whole window of a sender that
            keeps no copy for a receipt, where the route says so.
        answer: what the bridge's own model says of it.
        open: it is in the journal, as waiting for its answer.
        due: when it is its turn among the windows of its device, where that is not its deadline.
        asked: the cloud was asked about it instead, in vain.
        entry: its series; None of a whole window, and of one of an earlier life.
    """

    window: Window
    route: Route
    ticket: Ticket | None
    sheddable: bool = False
    answer: Answer | None = None
    open: bool = False
    due: float | None = None
    asked: bool = False
    entry: Entry | None = None


class Decided(msgspec.Struct, eq=False):
    """A window with its answer: the final one, or a provisional one that a final one follows.

    Attributes:
        window: the window.
        answer: what is said of it.
        placement: who said so, and why.
        arrived: seconds since 1970 at which its last row arrived.
        local: what the bridge's own model said of a window that the cloud answered.
        journalled: it is in the journal until the broker has it.
        whole: it came as one message, and a copy that comes after a restart must not be answered anew.
        provisional: a final answer follows; until then the window is an open question in the journal.
        rev: 1 for a final answer that follows a provisional one, else 0.
    """

    window: Window
    answer: Answer
    placement: Placement
    arrived: float
    local: dict[str, Any] | None = None
    journalled: bool = False
    whole: bool = False
    provisional: bool = False
    rev: int = 0

    @property
    def topic(self) -> str:
        """Where its Result goes."""
        window = self.window
        return window.reply_to or result_topic(window.key.site, window.key.device, window.model)

    def result(self, latency_ms: float) -> Result:
        """Its Result, published so many milliseconds after it arrived."""
        window, answer, placement = self.window, self.answer, self.placement
        key = window.key
        return Result(
            window.id, key.device, key.stream, window.seq, key.epoch, window.t, window.model, answer.version,
            answer.label, answer.score, placement.tier, self.provisional, self.rev, latency_ms, placement.reason,
            window.lane, window.t_source, self.local,
        )  # fmt: skip

    def saved(self) -> SavedResult:
        """As the journal keeps it; the latency is set when it is published."""
        return SavedResult(self.result(0.0), self.arrived, self.topic, self.window.correlation)


class Turn(msgspec.Struct):
    """One turn.

    Attributes:
        now: monotonic seconds at which it began.
        wall: the same in seconds since 1970.
        tickets: admitted arrivals.
        refusals: refused arrivals.
        cuts: windows to be computed.
        repeats: windows cut anew that an earlier process answered, whose journal was lost.
        computed: windows with the bridge's own answer, to be placed.
        changes: what the journal is to commit.
        publish: Results to publish after the commit.
        again: Results of an earlier life to publish after the commit.
        ask: what to ask the cloud after the commit.
        explore: windows that the cloud was passed over for, maybe worth a question to learn from.
        cancel: windows that the cloud is asked about, and nobody waits for any more.
        touched: series whose state changed.
        kept: new rows, each with its series, in the order in which they came.
        made: bytes of what its messages became, rows and windows, counted as `bridge.pipeline.chunk` does.
        messages: admitted arrivals that came in this turn; so are their rows, and the bytes of their payloads by way.
    """

    now: float
    wall: float
    tickets: list[Ticket] = []
    refusals: list[Refusal] = []
    cuts: list[Cut] = []
    repeats: list[Cut] = []
    computed: list[Cut] = []
    changes: Changes = msgspec.field(default_factory=Changes)
    publish: list[Decided] = []
    again: list[SavedResult] = []
    ask: list[Ask] = []
    explore: list[tuple[Window, tuple[int, ...]]] = []
    cancel: list[str] = []
    touched: dict[SeriesKey, Entry] = {}
    kept: list[tuple[Entry, Chunk]] = []
    made: int = 0
    messages: int = 0
    rows: int = 0
    bytes_mqtt: int = 0
    bytes_coap: int = 0
