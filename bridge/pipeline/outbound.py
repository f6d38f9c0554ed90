"""The way out: Results, Errors and Receipts are published, and what waited for them is settled.

A Result's message is settled once the broker has taken the Result *and* it is kept for another publication
(`bridge/store/kept.py`); publishing waits for neither.

They carry no Content Type: their first byte tells, and rumqttd's 3.1.1 listener dies of any MQTT 5 property.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from bridge import topics
from bridge.ledger.book import Book
from bridge.messages import Result
from bridge.mqtt.codec import in_words
from bridge.mqtt.messages import Publish
from bridge.mqtt.session import NO_MATCHING_SUBSCRIBERS
from bridge.pipeline.ports import KeepsNothing
from bridge.pipeline.receipts import receipts
from bridge.pipeline.refusals import Refusals
from bridge.pipeline.unheard import Unheard
from bridge.pipeline.waiters import Waiters
from bridge.store.kept import MOST_TOGETHER, Record
from bridge.store.records import SavedResult
from bridge.wire.answers import encode_answer

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from bridge.messages import SeriesKey
    from bridge.pipeline.admit import ErrorGate
    from bridge.pipeline.ports import Keeper, Publisher
    from bridge.pipeline.turn import Decided, Refusal, Ticket

log = logging.getLogger("bridge.pipeline")

MOST_REFUSED = 10_000  # Results that the broker refused, kept for the next start; further ones are counted and dropped
SHORTEST_PAUSE, LONGEST_PAUSE = 0.002, 0.05  # seconds between two looks whether broker and disk take more
NOT_KEPT = -1  # place in a record of what is not kept: answers to `_infer`


class _Sent(msgspec.Struct, eq=False, gc=False):
    """A Result on its way to the broker: no more of it than may be needed again, for many wait here.

    Attributes:
        result: as published.
        topic: where to.
        correlation: to repeat there.
        arrived: seconds since 1970 at which the window's last row arrived.
        journalled: it is in the journal until the broker has it.
        record: in which it is kept.
        place: its place there.
    """

    result: Result
    topic: str
    correlation: bytes | None
    arrived: float
    journalled: bool
    record: Record
    place: int = NOT_KEPT

    def saved(self) -> SavedResult:
        """As the journal keeps it; the latency is set anew when it is published."""
        return SavedResult(self.result, self.arrived, self.topic, self.correlation)


class Outbound:
    """Publishes and settles.

    Args:
        publisher: the broker's connection.
        on_result: told topic and payload of each Result that is no answer to `_infer`, for CoAP's GET and Observe;
            None where nobody is.
        gate: bounds the Errors.
        counts: where to count.
        kept: keeps what is published; nothing is kept without.
        unheard: told of what the broker gave to nobody.
        earlier: ids of whole windows whose Results earlier processes kept, each with the number of its record.
        recall: asked to publish such a Result again, and to call `recalled` then.

    Attributes:
        heard_at: monotonic seconds at which the newest Result that the broker took was published; None before any.
        book: told of each window that is answered, or gets no answer.
        waiters: who waits for which Result.
    """

    def __init__(
        self,
        publisher: Publisher,
        on_result: Callable[[str, bytes], None] | None,
        gate: ErrorGate,
        counts: Counter[str],
        *,
        kept: Keeper | None = None,
        unheard: Unheard | None = None,
        earlier: dict[str, int] | None = None,
        recall: Callable[[str, int], None] = lambda _window, _record: None,
    ) -> None:
        self.book = Book()
        self._publisher = publisher
        self._on_result = on_result
        self._counts = counts
        self._kept = kept or KeepsNothing()
        self._unheard = unheard or Unheard(counts)
        self.waiters = Waiters(self.settle, earlier or {}, recall)
        self._tickets = self.waiters.tickets
        self._refusals = Refusals(gate, self.waiters.release, counts)
        self._taken: list[str] = []
        self._refused: list[tuple[SavedResult, list[Ticket]]] = []
        self.heard_at: float | None = None

    @property
    def full(self) -> bool:
        """The broker, or the disk, takes no more for now."""
        return self._publisher.full or self._kept.full

    @property
    def most(self) -> int:
        """Results that the next turn may publish, at least 1: what the disk is behind with is bounded."""
        return max(1, self._kept.room)

    async def room(self) -> None:
        """Wait while the broker or the disk takes no more: then the inbox fills, and the doors close."""
        pause = SHORTEST_PAUSE  # a disk that stalls is back in milliseconds, a broker that is away maybe in hours
        while self.full:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def taken(self) -> list[str]:
        """Ids of journalled Results that the broker took since the last call."""
        taken, self._taken = self._taken, []
        return taken

    def refused_by_broker(self) -> list[tuple[SavedResult, list[Ticket]]]:
        """Results that the broker refused since the last call, and who waits until they are journalled."""
        refused, self._refused = self._refused, []
        return refused

    def results(self, decided: list[Decided]) -> None:
        """Publish the Results of a turn."""
        wall = time.time()
        messages: list[Publish] = []
        told: list[Ticket] = []
        records = [record := self._record(wall)]
        for one in decided:
            window, arrived = one.window, one.arrived
            result = one.result(_latency(wall, arrived))
            if len(record.items) == MOST_TOGETHER:
                records.append(record := self._record(wall))
            if one.whole:
                record.whole.append(window.id)
            into = record if window.reply_to is None else _UNKEPT
            sent = _Sent(result, one.topic, window.correlation, arrived, one.journalled, into)
            messages.append(self._message(sent, told))
        self._publish(messages, records)
        if told:
            self.settle(told)

    def again(self, saved: list[SavedResult]) -> None:
        """Publish journalled Results of an earlier life."""
        wall = time.time()
        messages = []
        records = [record := self._record(wall)]
        for one in saved:
            result = msgspec.structs.replace(one.result, latency_ms=_latency(wall, one.arrived))
            if len(record.items) == MOST_TOGETHER:
                records.append(record := self._record(wall))
            into = record if topics.parse_result(one.topic) is not None else _UNKEPT
            if into is record and not result.provisional:
                self.waiters.published_here(result.id)
                record.whole.append(result.id)  # maybe: nobody knows any more, and it does no harm
            messages.append(self._message(_Sent(result, one.topic, one.correlation, one.arrived, True, into), []))
        self._publish(messages, records)

    def _record(self, wall: float) -> Record:
        return Record(wall, time.monotonic(), self._on_kept)

    def _publish(self, messages: list[Publish], records: list[Record]) -> None:
        self._publisher.publish(messages)
        for record in records:
            if record.items:
                self._kept.append(record)

    def _message(self, sent: _Sent, told: list[Ticket]) -> Publish:
        """The PUBLISH of a Result; who waits for the Result itself is told, and added to `told`.

        A provisional one ends nothing: what waits for its window goes on to wait.
        """
        result, topic, record = sent.result, sent.topic, sent.record
        payload = encode_answer(result)
        tickets = self._tickets.get(result.id)
        if tickets is None:
            if not result.provisional:
                self._tickets[result.id] = []  # so that `waits_for` a Result nobody waits for yet
        else:
            for ticket in tickets:
                if ticket.arrival.wants_result:
                    ticket.results += (result,)
                    told.append(ticket)
        if record is not _UNKEPT:
            sent.place = len(record.items)
            record.items.append((topic, payload))
            if self._on_result is not None:
                self._on_result(topic, payload)
        told_by_broker = self._published_provisional if result.provisional else self._published
        return Publish(topic, payload, correlation=sent.correlation, done=partial(told_by_broker, sent))

    def _published(self, sent: _Sent, code: int) -> None:
        """The broker took a Result, or refused it."""
        window, record, place = sent.result.id, sent.record, sent.place
        if code >= 0x80:
            self.book.refused(window, "broker")
            if self._refused_result(code):
                tickets = self._tickets.pop(window, [])
                for ticket in tickets:
                    ticket.open -= 1
                self._refused.append((sent.saved(), tickets))
                return
        else:
            self.book.answered(window)
            if place != NOT_KEPT:
                self.heard_at = record.at
                if code or self._unheard.marks:
                    self._note_heard(record, place, code)
        if record.kept:
            self._end(window, sent.journalled)
        else:
            record.early.append(sent)

    def _published_provisional(self, sent: _Sent, code: int) -> None:
        """The broker took a provisional Result, or refused it, which the final one makes good."""
        if code >= 0x80:
            self._refusals.note("a provisional Result", code)
        else:
            self.book.provisional(sent.result.id)
            self.heard_at = sent.record.at
            self._note_heard(sent.record, sent.place, code)

    def _note_heard(self, record: Record, place: int, code: int) -> None:
        """The broker took a Result that is kept, and gave it to somebody or to nobody."""
        if code == NO_MATCHING_SUBSCRIBERS:
            self._unheard.note(*record.items[place], record.n)
        elif self._unheard.marks:
            self._unheard.heard(record.items[place][0])

    def _on_kept(self, record: Record) -> None:
        """A record is on the disk: what the broker has taken of it is settled."""
        tickets: list[Ticket] = []
        pop = self._tickets.pop
        for sent in record.early:
            window = sent.result.id
            for ticket in pop(window, ()):
                ticket.open -= 1
                tickets.append(ticket)
            if sent.journalled:
                self._taken.append(window)
        record.early.clear()
        if tickets:
            self.settle(tickets)

    def _end(self, window: str, journalled: bool) -> None:
        """The broker has a Result, and it is kept."""
        tickets = self._tickets.pop(window, [])
        if journalled:
            self._taken.append(window)  # taken, or beyond what is kept of refused ones
        self.waiters.release(tickets)

    def _refused_result(self, code: int) -> bool:
        """Count and tell that the broker refused a Result; whether it is to be kept."""
        self._counts["results_refused_by_broker"] += 1
        if self._refusals.may_log():
            log.error(
                "the broker refused a Result: %s; check what the bridge may publish. It is kept for the next start",
                in_words(code),
            )
        return self._counts["results_refused_by_broker"] <= MOST_REFUSED

    def refusals(self, refused: list[Refusal], now: float) -> None:
        """Publish Errors; each arrival is settled once its Error is out, or at once where none is sent."""
        self._publisher.publish(self._refusals.errors(refused, now))

    def settle(self, tickets: list[Ticket]) -> None:
        """Settle what may be settled now, and receipt it."""
        safe: dict[SeriesKey, list[tuple[int, int]]] | None = None
        for ticket in tickets:
            if ticket.settled or (ticket.open and (not ticket.durable or ticket.waits)):
                continue
            ticket.settle()
            if ticket.receipt and ticket.key.device != "_infer":
                safe = {} if safe is None else safe
                safe.setdefault(ticket.key, []).append(ticket.rows)
        if safe is not None:
            self._publisher.publish(
                [receipt for key, rows in safe.items() for receipt in receipts(key, rows, self._receipt_out)]
            )

    def _receipt_out(self, code: int) -> None:
        self._refusals.note("a Receipt", code)


_UNKEPT = Record(0.0, 0.0, lambda _record: None, kept=True)


def _latency(wall: float, arrived: float) -> float:
    """Milliseconds since it arrived, to the microsecond; 0 when the clock was set back."""
    return int((wall - arrived) * 1e6) / 1e3 if wall > arrived else 0.0
