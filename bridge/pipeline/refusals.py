"""Refused messages: the Error is published, and what waited for it is settled."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from bridge import topics
from bridge.messages import Error
from bridge.mqtt.codec import in_words
from bridge.mqtt.messages import Publish
from bridge.pipeline.admit import ErrorGate
from bridge.pipeline.arrival import Verdict
from bridge.wire.answers import encode_answer

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from bridge.pipeline.turn import Refusal, Ticket

log = logging.getLogger("bridge.pipeline")

LOG_RATE = 0.2  # log lines a second about what strangers can cause again and again


class Refusals:
    """Makes Errors of refusals.

    Args:
        gate: bounds the Errors.
        release: takes tickets that wait for one window less.
        counts: where to count.
    """

    def __init__(self, gate: ErrorGate, release: Callable[[list[Ticket]], None], counts: Counter[str]) -> None:
        self._gate = gate
        self._release = release
        self._counts = counts
        self._log_gate = ErrorGate(rate=LOG_RATE)

    def errors(self, refused: list[Refusal], now: float) -> list[Publish]:
        """The Errors; each arrival is settled once its Error is out, or at once where none is sent."""
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
                    self.note("an Error", code)
                    settle(code)

                messages.append(Publish(topic, encode_answer(error), correlation=refusal.correlation, done=done))
        return messages

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

    def note(self, what: str, code: int) -> None:
        """Count and tell, at most a few times a second, that the broker refused what we published."""
        if code >= 0x80:
            self._counts["answers_refused_by_broker"] += 1
            if self.may_log():
                log.error("the broker refused %s: %s; check what the bridge may publish", what, in_words(code))

    def may_log(self) -> bool:
        """Whether one more refusal of the broker may be logged now."""
        return self._log_gate.allows("", "refused", time.monotonic())

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
