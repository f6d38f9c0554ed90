"""What operators ask the bridge itself, at `edge/v1/_bridge/{bridge}/…`: taken out of the deliveries, read strictly.

A request is acknowledged at once: it may take long, and acknowledgements leave in the order of arrival. Who wants to
know what became of it gives a Response Topic (MQTT 5).
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.errors import Refused
from bridge.messages import Error
from bridge.mqtt.messages import Publish, topic_of
from bridge.pipeline.admit import ErrorGate
from bridge.wire.formats import of_payload
from bridge.wire.parse import parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.mqtt.connection import Connection
    from bridge.mqtt.messages import Delivery

log = logging.getLogger("bridge.requests")

LARGEST = 4_096  # bytes of a request
LOG_RATE = 10.0  # log lines a second about requests that were refused


class Reply(msgspec.Struct, frozen=True):
    """Where an answer goes.

    Attributes:
        topic: the Response Topic.
        correlation: to repeat.
    """

    topic: str
    correlation: bytes | None


class Requests:
    """Sorts out requests and answers them.

    Args:
        handlers: who takes what is asked at a topic: raises `Refused`, or answers later through `answer`.
        may_answer: whether a Response Topic may be answered to.
    """

    def __init__(
        self,
        handlers: dict[str, Callable[[dict[str, Any], Reply | None], None]],
        may_answer: Callable[[str], bool],
    ) -> None:
        self._handlers = handlers
        self._may_answer = may_answer
        self._log_gate = ErrorGate(rate=LOG_RATE)

    def sift(self, connection: Connection, deliveries: list[Delivery]) -> list[Delivery]:
        """Take out and hand over requests; the rest is returned."""
        handlers = self._handlers
        if handlers.keys().isdisjoint(map(topic_of, deliveries)):
            return deliveries
        asked = [delivery for delivery in deliveries if delivery.topic in handlers]
        connection.acknowledge(asked)
        for delivery in asked:
            self._hand_over(connection, delivery)
        return [delivery for delivery in deliveries if delivery.topic not in handlers]

    def _hand_over(self, connection: Connection, delivery: Delivery) -> None:
        reply = None
        wanted = delivery.response_topic
        if wanted is not None and self._may_answer(wanted):
            reply = Reply(wanted, delivery.correlation)
        try:
            self._handlers[delivery.topic](_read(delivery), reply)
        except Refused as why:
            if self._log_gate.allows("", "", time.monotonic()):
                log.warning("%s: refused: %s", delivery.topic, why)
            if reply is not None and not connection.full:
                connection.publish([answer(reply, Error(why.reason, why.detail, None, None))])


def answer(reply: Reply, what: msgspec.Struct | dict[str, Any]) -> Publish:
    """The PUBLISH of an answer, in JSON."""
    return Publish(reply.topic, msgspec.json.encode(what), correlation=reply.correlation)


def _read(delivery: Delivery) -> dict[str, Any]:
    payload = delivery.payload
    if delivery.retain:
        raise Refused("malformed", "a retained request would be made again at every connect")
    if len(payload) > LARGEST:
        raise Refused("too_large", f"{len(payload)} bytes; a request has at most {LARGEST}")
    value = parse(payload, of_payload(payload))
    if not isinstance(value, dict):
        raise Refused("malformed", "a request is an object")
    return value
