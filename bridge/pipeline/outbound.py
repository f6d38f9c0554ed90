"""The way out: Results, Errors and Receipts are published, and what waited for them is settled.

They carry no Content Type: their first byte tells, and rumqttd's 3.1.1 listener dies of any MQTT 5 property.
"""

from __future__ import annotations

import asyncio
import logging
import time
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

    from bridge.pipeline.turn import Refusal, Ticket
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
        on_result: told topic and payload of each Result, for CoAP's GET and Observe.
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

    async def room(self) -> None:
        """Wait while the broker takes no more: then the inbox fills, and the doors close."""
        while self._publisher.full:  # noqa: ASYNC110 # the broker is slow or away; nobody is in a hurry
            await asyncio.sleep(0.05)

    def wait(self, window: str, ticket: Ticket) -> None:
        """The ticket is to know this window's Result."""
        self._waiting.setdefault(window, []).append(ticket)

    def waits_for(self, window: str) -> bool:
        """Whether this window's Result is on its way to the broker."""
        return window in self._waiting

    def forget(self, window: str) -> None:
        """This window gets no Result: nobody waits for it any more."""
        self._waiting.pop(window, None)

    def taken(self) -> list[str]:
        """Ids of journalled Results that the broker took since the last call."""
        taken, self._taken = self._taken, []
        return taken

    def refused_by_broker(self) -> list[tuple[SavedResult, list[Ticket]]]:
        """Results that the broker refused since the last call, and who waits until they are journalled."""
        refused, self._refused = self._refused, []
        return refused

    def results(self, decided: list[SavedResult], journalled: set[str]) -> None:
        """Publish Results; those journalled are struck from the journal once the broker has them."""
        messages = []
        told: list[Ticket] = []
        wall = time.time()
        for saved in decided:
            result = msgspec.structs.replace(saved.result, latency_ms=round(max(0.0, wall - saved.arrived) * 1e3, 3))
            payload = encode_answer(result)
            for ticket in self._waiting.setdefault(result.id, []):  # so that `waits_for` a Result nobody waits for yet
                ticket.results.append(result)
                told.append(ticket)
            messages.append(
                Publish(
                    saved.topic,
                    payload,
                    correlation=saved.correlation,
                    done=self._published(saved, journalled=result.id in journalled),
                )
            )
            if saved.correlation is None and topics.parse_result(saved.topic) is not None:
                self._on_result(saved.topic, payload)
        self._publisher.publish(messages)
        self.settle([ticket for ticket in told if ticket.durable])

    def _published(self, saved: SavedResult, *, journalled: bool) -> Callable[[int], None]:
        window = saved.result.id

        def done(code: int) -> None:
            tickets = [ticket for ticket in self._waiting.pop(window, ()) if not ticket.settled]
            for ticket in tickets:
                ticket.windows.discard(window)
            if code >= 0x80:
                self._counts["results_refused_by_broker"] += 1
                if self._log_gate.allows("", "refused", time.monotonic()):
                    log.error(
                        "the broker refused a Result: %s; check what the bridge may publish. It is kept for the next "
                        "start",
                        in_words(code),
                    )
                if self._counts["results_refused_by_broker"] <= MOST_REFUSED:
                    self._refused.append((saved, tickets))
                    return
            if journalled:
                self._taken.append(window)  # taken, or beyond what is kept of refused ones
            self.settle(tickets)

        return done

    def refusals(self, refused: list[Refusal], now: float) -> None:
        """Publish Errors; each arrival is settled once its Error is out, or at once where none is sent."""
        messages = []
        for refusal in refused:
            topic = self._error_topic(refusal, now)
            settle = _settler(refusal)
            if topic is None or (refusal.arrival is not None and refusal.arrival.transient):
                settle(0)
            if topic is not None:
                stream = refusal.source.stream if refusal.source is not None else None
                error = Error(refusal.why.reason, refusal.why.detail, stream, refusal.why.seq)

                def done(code: int, settle: Callable[[int], None] = settle) -> None:
                    self._note_refusal("an Error", code)
                    settle(code)

                messages.append(Publish(topic, encode_answer(error), correlation=refusal.correlation, done=done))
        self._publisher.publish(messages)

    def _note_refusal(self, what: str, code: int) -> None:
        """Count and tell, at most a few times a second, that the broker refused what we published."""
        if code >= 0x80:
            self._counts["answers_refused_by_broker"] += 1
            if self._log_gate.allows("", "refused", time.monotonic()):
                log.error("the broker refused %s: %s; check what the bridge may publish", what, in_words(code))

    def _error_topic(self, refusal: Refusal, now: float) -> str | None:
        source = refusal.source
        if refusal.reply_to is not None:
            who, topic = ("_infer", refusal.reply_to), refusal.reply_to
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
        safe: dict[tuple[str, str, str, str], list[tuple[int, int]]] = {}
        for ticket in tickets:
            waits = ticket.windows and (not ticket.durable or self._wants_result(ticket))
            if ticket.settled or waits:
                continue
            ticket.settle()
            if ticket.receipt and ticket.key.device != "_infer":
                key = ticket.key
                safe.setdefault((key.site, key.device, key.stream, key.epoch), []).append(ticket.rows)
        messages = []
        for (site, device, stream, epoch), ranges in safe.items():
            merged = merge(ranges)
            for i in range(0, len(merged), MAX_RANGES):
                payload = encode_answer(Receipt(epoch, merged[i : i + MAX_RANGES]))
                topic = topics.receipt(site, device, stream)
                messages.append(Publish(topic, payload, done=lambda code: self._note_refusal("a Receipt", code)))
        self._publisher.publish(messages)

    @staticmethod
    def _wants_result(ticket: Ticket) -> bool:
        return ticket.arrival.wants_result and ticket.completed == 1 and not ticket.results


def _settler(refusal: Refusal) -> Callable[[int], None]:
    arrival = refusal.arrival
    done = False

    def settle(_code: int) -> None:
        nonlocal done
        if arrival is not None and not done:
            done = True
            arrival.settle(Verdict(refused=refusal.why))

    return settle


def merge(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Inclusive ranges, sorted, with those that touch joined."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged
