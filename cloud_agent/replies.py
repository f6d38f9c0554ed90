"""Replies out: those of one moment to one asker together, and each delivery acknowledged when all of its are out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bridge.mqtt.messages import Publish
from bridge.seldom import Seldom
from bridge.wire.offload import MOST, Reply, encode_replies

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.mqtt.messages import Delivery
    from cloud_agent.intake import Ticket

log = logging.getLogger(__name__)

FAILURE = 0x80  # MQTT 5 section 2.4: reason codes from here on


class Line(Protocol):
    """What is needed of a `bridge.mqtt.connection.Connection`."""

    @property
    def full(self) -> bool:
        """Whether too many publishes wait for the broker."""
        ...

    def publish(self, messages: Sequence[Publish]) -> None:
        """Queue messages."""
        ...

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        """Settle deliveries."""
        ...


class Answer(NamedTuple):
    """A reply on its way.

    Attributes:
        ticket: of the delivery that asked.
        reply: what to say.
        expiry: seconds for which the broker keeps it.
    """

    ticket: Ticket
    reply: Reply
    expiry: int


class Replies:
    """Sends replies and settles tickets."""

    def __init__(self, line: Line) -> None:
        """Nothing is open.

        Args:
            line: to the broker.
        """
        self._line = line
        self._unsent = Seldom(log)

    def send(self, answers: Iterable[Answer], *, now: float) -> None:
        """Publish replies, in as few messages as may be.

        Replies to one topic travel together if what they answer has the same Correlation Data, or none, for the
        message repeats it: who asks bare questions, each with its own, gets bare replies. One id is told once.

        Args:
            answers: in order.
            now: monotonic seconds.
        """
        together: dict[tuple[str, bytes | None], list[Answer]] = {}
        for answer in answers:
            key = (answer.ticket.reply_to, answer.ticket.delivery.correlation)
            together.setdefault(key, []).append(answer)
        for (topic, correlation), group in together.items():
            for start in range(0, len(group), MOST):
                self._publish(topic, correlation, group[start : start + MOST], now)

    def close(self, tickets: Iterable[Ticket]) -> None:
        """A question of each ticket came to its end; the last one's end acknowledges the delivery."""
        for ticket in tickets:
            ticket.open -= 1
            if ticket.open <= 0:
                self._line.acknowledge([ticket.delivery])

    def _publish(self, topic: str, correlation: bytes | None, group: Sequence[Answer], now: float) -> None:
        tickets = [answer.ticket for answer in group]
        if self._line.full:  # only questions at QoS 0 get us here, and memory must not grow with them
            self._unsent.warn(f"the broker takes our replies too slowly: {len(group)} for {topic} dropped", now=now)
            self.close(tickets)
            return

        def done(code: int) -> None:
            if code >= FAILURE:
                self._unsent.warn(f"the broker refused a reply for {topic}: reason 0x{code:02X}", now=now)
            self.close(tickets)

        message = Publish(
            topic,
            encode_replies(list({answer.reply.id: answer.reply for answer in group}.values())),
            content_type="application/cbor",
            correlation=correlation,
            expiry=max(answer.expiry for answer in group),
            done=done,
        )
        self._line.publish([message])
