"""The way out: Results, Errors and Receipts are published, and what waited for them is settled.

They carry no Content Type: their first byte tells, and rumqttd's 3.1.1 listener dies of any MQTT 5 property.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec

from bridge import topics
from bridge.messages import Error, Receipt
from bridge.mqtt.codec import in_words
from bridge.mqtt.messages import Publish
from bridge.pipeline.admit import ErrorGate
from bridge.pipeline.arrival import Verdict
from bridge.wire.answers import encode_answer

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from bridge.messages import Result, SeriesKey
    from bridge.pipeline.turn import Decided, Refusal, Ticket
    from bridge.store.records import SavedResult

log = logging.getLogger("bridge.pipeline")

LOG_RATE = 0.2  # log lines a second about what strangers can cause again and again
MOST_REFUSED = 10_000  # Results that the broker refused, kept for the next start; further ones are counted and dropped
MAX_RANGES = 64  # of one Receipt


class Publisher(Protocol):
    """What the way out needs of a connection."""

    @property
    def full(self) -> bool:
        """More publishes wait for the broker than may."""
        ...

    def publish(self, messages: list[Publish]) -> None:
        """Queue messages."""
        ...


class Outbound:
    """Publishes and settles.

    Args:
        publisher: the broker's connection.
        on_result: told topic and payload of each Result that is no answer to `_infer`, for CoAP's GET and Observe.
        gate: bounds the Errors.
        counts: where to count.
    """

    def __init__(
        self, publisher: Publisher, on_result: Callable[[str, bytes], None], gate: ErrorGate, counts: Counter[str]
    ) -> None:
        self._publisher = publisher
        self._on_result = on_result
        self._gate = gate
        self._log_gate = ErrorGate(rate=LOG_RATE)
        self._counts = counts
        self._waiting: dict[str, list[Ticket]] = {}
        self._taken: list[str] = []
        self._refused: list[tuple[SavedResult, list[Ticket]]] = []

    @property
    def full(self) -> bool:
        """The broker takes no more for now."""
        return self._publisher.full

    async def room(self) -> None:
        """Wait while the broker takes no more: then the inbox fills, and the doors close."""
        while self._publisher.full:  # noqa: ASYNC110 # the broker is slow or away; nobody is in a hurry
            await asyncio.sleep(0.05)

    def wait(self, window: str, ticket: Ticket) -> None:
        """The ticket waits for this window's Result."""
        ticket.open += 1
        waiting = self._waiting.get(window)
        if waiting is None:
            self._waiting[window] = [ticket]
        else:
            waiting.append(ticket)

    def waits_for(self, window: str) -> bool:
        """Whether this window is being answered, or its Result on its way to the broker."""
        return window in self._waiting

    def waiting(self, window: str) -> list[Ticket]:
        """Who waits for this window's Result."""
        return self._waiting.get(window, [])

    def forget(self, window: str) -> list[Ticket]:
        """This window gets no Result; returns who still waits for it, to be released."""
        return self._waiting.pop(window, [])

    def _release(self, tickets: list[Ticket]) -> None:
        """They wait for one window less."""
        for ticket in tickets:
            ticket.open -= 1
        self.settle(tickets)

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
        for one in decided:
            result = one.result(_latency(wall, one.arrived))
            done = partial(self._published, result.id, one.journalled, one.saved)
            messages.append(self._message(result, one.topic, one.window.correlation, done, told))
        self._publisher.publish(messages)
        if told:
            self.settle(told)

    def again(self, saved: list[SavedResult]) -> None:
        """Publish journalled Results of an earlier life."""
        wall = time.time()
        messages = []
        for one in saved:
            result = msgspec.structs.replace(one.result, latency_ms=_latency(wall, one.arrived))
            done = partial(self._published, result.id, True, partial(_same, one))  # partial has no names
            messages.append(self._message(result, one.topic, one.correlation, done, []))
        self._publisher.publish(messages)

    def _message(
        self, result: Result, topic: str, correlation: bytes | None, done: Callable[[int], None], told: list[Ticket]
    ) -> Publish:
        """The PUBLISH of a Result; who waits for the Result itself is told, and added to `told`."""
        payload = encode_answer(result)
        tickets = self._waiting.get(result.id)
        if tickets is None:
            self._waiting[result.id] = []  # so that `waits_for` a Result nobody waits for yet
        else:
            for ticket in tickets:
                if ticket.arrival.wants_result:
                    ticket.results += (result,)
                    told.append(ticket)
        if correlation is None:
            self._on_result(topic, payload)
        return Publish(topic, payload, correlation=correlation, done=done)

    def _published(self, window: str, journalled: bool, saved: Callable[[], SavedResult], code: int) -> None:
        """The broker took a Result, or refused it."""
        tickets = self._waiting.pop(window, [])
        if code >= 0x80 and self._refused_result(code):
            for ticket in tickets:
                ticket.open -= 1
            self._refused.append((saved(), tickets))
            return
        if journalled:
            self._taken.append(window)  # taken, or beyond what is kept of refused ones
        self._release(tickets)

    def _refused_result(self, code: int) -> bool:
        """Count and tell that the broker refused a Result; whether it is to be kept."""
        self._counts["results_refused_by_broker"] += 1
        if self._log_gate.allows("", "refused", time.monotonic()):
            log.error(
                "the broker refused a Result: %s; check what the bridge may publish. It is kept for the next start",
                in_words(code),
            )
        return self._counts["results_refused_by_broker"] <= MOST_REFUSED

    def refusals(self, refused: list[Refusal], now: float) -> None:
        """Publish Errors; each arrival is settled once its Error is out, or at once where none is sent."""
        messages = []
        for refusal in refused:
            topic = self._error_topic(refusal, now)
            settle = self._settler(refusal)
            if topic is None or (refusal.arrival is not None and refusal.arrival.transient):
                settle(0)
            self._release([ticket for ticket in refusal.tickets if ticket.arrival.transient])
            if topic is not None:
                stream = refusal.source.stream if refusal.source is not None else None
                error = Error(refusal.why.reason, refusal.why.detail, stream, refusal.why.seq)

                def done(code: int, settle: Callable[[int], None] = settle) -> None:
                    self._note_refusal("an Error", code)
                    settle(code)

                messages.append(Publish(topic, encode_answer(error), correlation=refusal.correlation, done=done))
        self._publisher.publish(messages)

    def _settler(self, refusal: Refusal) -> Callable[[int], None]:
        arrival, tickets = refusal.arrival, [one for one in refusal.tickets if not one.arrival.transient]
        done = False

        def settle(_code: int) -> None:
            nonlocal done
            if not done:
                done = True
                if arrival is not None:
                    arrival.settle(Verdict(refused=refusal.why))
                self._release(tickets)

        return settle

    def _note_refusal(self, what: str, code: int) -> None:
        """Count and tell, at most a few times a second, that the broker refused what we published."""
        if code >= 0x80:
            self._counts["answers_refused_by_broker"] += 1
            if self._log_gate.allows("", "refused", time.monotonic()):
                log.error("the broker refused %s: %s; check what the bridge may publish", what, in_words(code))

    def _error_topic(self, refusal: Refusal, now: float) -> str | None:
        source = refusal.source
        if refusal.reply_to is not None:
            who, topic = ("_infer", topics.asker(refusal.reply_to)), refusal.reply_to
        elif source is not None:
            who, topic = (source.site, source.device), topics.error(source.site, source.device)
        else:
            who, topic = ("", ""), None
        if not self._gate.allows(*who, now):
            self._counts["errors_untold"] += 1
            return None
        if topic is None:
            log.warning("refused, and nobody to tell: %s", refusal.why)
        return topic

    def settle(self, tickets: list[Ticket]) -> None:
        """Settle what may be settled now, and receipt it."""
        safe: dict[SeriesKey, list[tuple[int, int]]] | None = None
        for ticket in tickets:
            if ticket.settled or (ticket.open and ticket.waits):
                continue
            ticket.settle()
            if ticket.receipt and ticket.key.device != "_infer":
                safe = {} if safe is None else safe
                safe.setdefault(ticket.key, []).append(ticket.rows)
        if safe is not None:
            self._publisher.publish([receipt for key, rows in safe.items() for receipt in self._receipts(key, rows)])

    def _receipts(self, key: SeriesKey, rows: list[tuple[int, int]]) -> list[Publish]:
        merged = merge(rows)
        topic = topics.receipt(key.site, key.device, key.stream)
        return [
            Publish(
                topic,
                encode_answer(Receipt(key.epoch, merged[i : i + MAX_RANGES])),
                done=lambda code: self._note_refusal("a Receipt", code),
            )
            for i in range(0, len(merged), MAX_RANGES)
        ]


def _same(saved: SavedResult) -> SavedResult:
    return saved


def _latency(wall: float, arrived: float) -> float:
    """Milliseconds since it arrived, to the microsecond; 0 when the clock was set back."""
    return int((wall - arrived) * 1e6) / 1e3 if wall > arrived else 0.0


def merge(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Inclusive ranges, sorted, with those that touch joined."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged
