"""Asks cloud agents about hard windows over MQTT 5: shared subscription there, Response Topic and Correlation Data.

Every question ends in exactly one event: `Answered`, or `Unanswered` at its deadline at the latest. A question without
an answer is asked a second time halfway, for an agent may have died with the first copy.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING, Any

import msgspec

from bridge import topics
from bridge.errors import Refused
from bridge.messages import Rows
from bridge.mqtt.connection import Connection
from bridge.mqtt.messages import Delivery, Publish, Settings
from bridge.mqtt.session import NO_MATCHING_SUBSCRIBERS
from bridge.offload.breaker import Breaker
from bridge.place.confidence import CloudView
from bridge.wire.answers import decode_status
from bridge.wire.offload import Question, Reply, decode_reply, encode_question

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.mqtt.endpoint import Endpoint

log = logging.getLogger("bridge.offload")

ASK_AGAIN = ("stopping", "overload")  # refusals that another agent, or the same one soon, may not repeat
AGAIN_AFTER = 0.05  # seconds
MOST_AGAIN = 8
MAX_AGENTS = 256  # cloud agents remembered


class Answered(msgspec.Struct, frozen=True):
    """A cloud agent answered in time."""

    id: str
    reply: Reply


class Unanswered(msgspec.Struct, frozen=True):
    """No answer will come any more, and why."""

    id: str
    why: str


class _Asked(msgspec.Struct, eq=False):
    model: str
    values: Rows
    asked_at: float
    deadline: float
    timers: list[asyncio.TimerHandle]
    again: int = 0


class CloudClient:
    """The bridge's side of the cloud.

    Attributes:
        connection: its own MQTT session.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        bridge: str,
        on_event: Callable[[Answered | Unanswered], None],
        *,
        keep_alive: int = 30,
        max_open: int = 1_024,
    ) -> None:
        """Prepare; `connection.run()` connects.

        Args:
            endpoint: the broker that cloud agents use.
            bridge: this bridge's id.
            on_event: takes the end of each question.
            keep_alive: seconds of silence after which the connection is tested.
            max_open: questions under way, above which the bridge answers itself.
        """
        self._bridge = bridge
        self._on_event = on_event
        self._max_open = max_open
        self._open: dict[str, _Asked] = {}
        self._agents: dict[str, tuple[int, frozenset[str]]] = {}  # on which connection it was seen, and its models
        self._breaker = Breaker()
        self._round_trip = 0.0
        settings = Settings(
            client_id=f"{bridge}-cloud",
            subscriptions=(topics.reply(bridge), topics.CLOUD_STATUS_FILTER),
            keep_alive=keep_alive,
            session_expiry=0,
            clean_start=True,
        )
        settings = msgspec.structs.replace(settings, username=endpoint.username, password=endpoint.password)
        self.connection = Connection(endpoint, settings, self._received)

    @property
    def open(self) -> int:
        """Questions under way."""
        return len(self._open)

    def view(self, model: str, now: float, *, planned: int = 0) -> CloudView:
        """What is known of the cloud now, for one model.

        Args:
            model: the model.
            now: monotonic seconds.
            planned: questions decided on and not asked yet.
        """
        connects = self.connection.session.connects
        if not self.connection.connected:
            return CloudView(there=False, why="the cloud's broker is not there")
        if not any(model in models for seen, models in self._agents.values() if seen == connects):
            return CloudView(there=False, why=f"no cloud agent serves {model}")
        if not self._breaker.allows(now) or (planned and self._breaker.open):
            return CloudView(there=False, why="the cloud did not answer lately")
        if len(self._open) + planned >= self._max_open:
            return CloudView(there=False, why=f"{len(self._open) + planned} questions are under way")
        return CloudView(there=True, round_trip=self._round_trip)

    def ask(self, window: str, model: str, values: Rows, deadline: float) -> None:
        """Ask about a window.

        Args:
            window: its id.
            model: model asked.
            values: float32, shape (rows, channels).
            deadline: monotonic seconds; the end is told by then.
        """
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        self._breaker.asked(now)
        halfway = loop.call_later(max(0.0, (deadline - now) / 2), self._send, window)
        end = loop.call_later(max(0.0, deadline - now), self._late, window)
        self._open[window] = _Asked(model, values, now, deadline, [halfway, end])
        self._send(window)

    def _send(self, window: str) -> None:
        asked = self._open.get(window)
        patience = asked.deadline - time.monotonic() if asked is not None else 0.0
        if asked is None or patience <= 0 or not self.connection.connected:
            return

        def sent(code: int) -> None:
            if code == NO_MATCHING_SUBSCRIBERS:
                self._end(Unanswered(window, "no cloud agent was subscribed"))
            elif code >= 0x80:
                self._end(Unanswered(window, f"the cloud's broker refused the question (0x{code:02X})"))

        question = Question(window, asked.model, asked.values, patience)
        self.connection.publish(
            [
                Publish(
                    topics.escalate(asked.model),
                    encode_question(question),
                    content_type="application/cbor",
                    response_topic=topics.reply(self._bridge),
                    correlation=window.encode(),
                    expiry=max(1, math.ceil(patience)),
                    done=sent,
                )
            ]
        )

    def _late(self, window: str) -> None:
        asked = self._open.get(window)
        if asked is not None:
            now = time.monotonic()
            self._breaker.silent(now)
            self._end(Unanswered(window, f"the cloud did not answer within {now - asked.asked_at:.1f} s"))

    def _end(self, event: Answered | Unanswered) -> None:
        asked = self._open.pop(event.id, None)
        if asked is None:
            return
        for timer in asked.timers:
            timer.cancel()
        self._on_event(event)

    def _received(self, deliveries: list[Delivery]) -> None:
        self.connection.acknowledge(deliveries)
        for delivery in deliveries:
            agent = topics.parse_cloud_status(delivery.topic)
            try:
                if agent is not None:
                    self._status(agent, delivery.payload)
                else:
                    self._replied(delivery)
            except Refused as why:
                log.warning("cloud: %s: %s", delivery.topic, why)

    def _status(self, agent: str, payload: bytes) -> None:
        status = decode_status(payload) if payload else {"online": False}
        models: Any = status.get("models", {})
        if status["online"] and isinstance(models, dict) and (agent in self._agents or len(self._agents) < MAX_AGENTS):
            if agent not in self._agents:
                log.info("cloud agent %s serves %s on %s", agent, ", ".join(models) or "nothing", status.get("engine"))
            # Retained, so told again on each connection: one that is not told again is gone, or its broker forgot it.
            self._agents[agent] = (self.connection.session.connects, frozenset(models))
        elif self._agents.pop(agent, None) is not None:
            log.warning("cloud agent %s is gone", agent)

    def _replied(self, delivery: Delivery) -> None:
        reply = decode_reply(delivery.payload)
        asked = self._open.get(reply.id)
        if asked is None:
            return  # the second copy of an answer, or one after its deadline
        self._breaker.answered()
        if (reply.error or "").startswith(ASK_AGAIN) and asked.again < MOST_AGAIN:
            asked.again += 1
            asked.timers.append(asyncio.get_running_loop().call_later(AGAIN_AFTER, self._send, reply.id))
            return
        if reply.label is None or reply.score is None:
            self._end(Unanswered(reply.id, f"{reply.cloud} refused: {reply.error or 'no label'}"))
            return
        took = time.monotonic() - asked.asked_at
        self._round_trip += 0.125 * (took - self._round_trip) if self._round_trip else took  # gain of RFC 6298
        self._end(Answered(reply.id, reply))
