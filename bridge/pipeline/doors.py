"""MQTT and CoAP → arrivals: the same pipeline behind either door."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from bridge import topics
from bridge.coap.messages import JSON, CoapReply, CoapRequest, ReplyCode
from bridge.pipeline.arrival import Arrival, Verdict
from bridge.wire.answers import encode_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.errors import Reason
    from bridge.mqtt.connection import Connection
    from bridge.mqtt.messages import Delivery
    from bridge.mqtt.session import Session
    from bridge.pipeline.inbox import Inbox

RETRY_AFTER = 2  # seconds a CoAP client is asked to wait

_COAP_CODES: dict[Reason, ReplyCode] = {
    "no_route": "no_route",
    "too_large": "too_large",
    "unknown_format": "unknown_format",
    "overload": "overload",
}


class MqttDoor:
    """Deliveries of the devices' broker → arrivals.

    Args:
        inbox: where arrivals go.
        may_answer: whether a Response Topic may be answered to.
        max_payload: bytes of a message above which only its size is kept, to refuse it.
    """

    def __init__(self, inbox: Inbox, may_answer: Callable[[str], bool], max_payload: int = 1 << 30) -> None:
        self._inbox = inbox
        self._may_answer = may_answer
        self._max_payload = max_payload
        self._settled: list[Delivery] = []  # what is acknowledged together
        self.connection: Connection | None = None

    def received(self, deliveries: list[Delivery]) -> None:
        """Take deliveries; stop reading while the inbox is full."""
        now = time.monotonic()
        connection = 0 if self.connection is None else self.connection.session.connects
        self._inbox.put([self._arrival(delivery, now, connection) for delivery in deliveries])
        if self._inbox.full:
            self.shut()

    def connected(self, session: Session) -> None:
        """A connection is up; what waits from before comes again as far as the broker's session goes back."""
        self._inbox.resumed(session.connects, since=session.begun)

    def space(self) -> None:
        """The inbox has room again."""
        if self.connection is not None:
            self.connection.resume()

    def shut(self) -> None:
        """The inbox has none."""
        if self.connection is not None:
            self.connection.pause()

    def _arrival(self, delivery: Delivery, now: float, connection: int) -> Arrival:
        qos, payload = delivery.qos, delivery.payload
        if qos < 2:  # at QoS 2 it is compared with its copies
            delivery.payload = b""  # only the arrival needs it, and not for as long
        arrival = Arrival(
            delivery.topic,
            payload,
            now,
            partial(self._settle, delivery),
            delivery.content_type,
            comes_again=connection if qos == 1 else 0,
            sheddable=not qos,
        )
        if len(payload) > self._max_payload and qos < 2:
            arrival.oversize = len(payload)
            arrival.payload = b""
        if delivery.response_topic is not None or delivery.correlation is not None:
            self._note_asker(delivery, arrival)
        return arrival

    def _note_asker(self, delivery: Delivery, arrival: Arrival) -> None:
        """Where a question is to be answered; of what is none it is not kept."""
        reply_to, correlation = delivery.response_topic, delivery.correlation
        if reply_to is not None and topics.parse_infer(delivery.topic) is not None and self._may_answer(reply_to):
            arrival.reply_to, arrival.correlation = reply_to, correlation or b""
        if delivery.qos < 2:
            delivery.response_topic = delivery.correlation = None

    def _settle(self, delivery: Delivery, _verdict: Verdict) -> None:
        if not self._settled:
            asyncio.get_running_loop().call_soon(self.acknowledge)
        self._settled.append(delivery)

    def acknowledge(self) -> None:
        """Acknowledge what is settled, before anything else leaves: the broker holds it until then."""
        settled, self._settled = self._settled, []
        if settled and self.connection is not None:
            self.connection.acknowledge(settled)


class CoapDoor:
    """Posted bodies → arrivals; verdicts → answers.

    Args:
        inbox: where arrivals go.
        closed: whether nothing can be made safe now.
    """

    def __init__(self, inbox: Inbox, closed: Callable[[], bool]) -> None:
        self._inbox = inbox
        self._closed = closed
        self._waiting: set[asyncio.Future[CoapReply]] = set()

    def handle(self, request: CoapRequest) -> asyncio.Future[CoapReply]:
        """Take a request now; the answer is there once it is safe, refused, or must wait."""
        answer: asyncio.Future[CoapReply] = asyncio.get_running_loop().create_future()
        if self._inbox.full or self._closed():
            answer.set_result(CoapReply("overload", b"the bridge is busy", max_age=RETRY_AFTER))
            return answer

        def settle(found: Verdict) -> None:
            if not answer.done():
                answer.set_result(_reply(found, wants_result=request.wants_result))

        arrival = Arrival(
            topic=request.path,
            payload=request.payload,
            arrived=time.monotonic(),
            settle=settle,
            content_format=request.content_format,
            transient=True,
            wants_result=request.wants_result,
        )
        self._waiting.add(answer)
        answer.add_done_callback(self._waiting.discard)
        self._inbox.put([arrival])
        return answer

    def close(self) -> None:
        """Answer what still waits: it may or may not be safe, so it is to be sent again."""
        for answer in list(self._waiting):
            if not answer.done():
                answer.set_result(CoapReply("overload", b"the bridge is stopping", max_age=RETRY_AFTER))


def _reply(verdict: Verdict, *, wants_result: bool) -> CoapReply:
    refused = verdict.refused
    if refused is not None:
        code = _COAP_CODES.get(refused.reason, "malformed")
        return CoapReply(code, str(refused).encode(), max_age=RETRY_AFTER if code == "overload" else None)
    if wants_result and len(verdict.results) == 1:
        return CoapReply("content", encode_answer(verdict.results[0]), content_format=JSON)
    return CoapReply("changed")
