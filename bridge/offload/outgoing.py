"""What is on its way out: questions and cancellations, packed by agent and model into few messages."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Final

from bridge import topics
from bridge.link.traffic import OVERHEAD
from bridge.mqtt.messages import Publish
from bridge.mqtt.sender import PACKET_TOO_LARGE
from bridge.offload.sending import PLAIN
from bridge.wire.offload import MAX_BYTES, Asking, Question, pack_asking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bridge.mqtt.connection import Connection
    from bridge.offload.choosing import Choices
    from bridge.offload.link import Link
    from bridge.offload.questions import Open
    from bridge.offload.sending import Sending
    from bridge.wire.offload import Packed

CONTENT_TYPE = "application/cbor"
PROPERTIES: Final = 24  # bytes of a message's header, properties and the map around questions, but for the texts
SURE_EVERY: Final = 0.25  # seconds, and
SURE_OF: Final = 4  # messages to an agent, of which one is acknowledged whatever the profile: it measures the link,
# and tells when nobody is subscribed

_Where = tuple[str, str]  # agent and model


class Outgoing:
    """Collects until the loop is idle, or until told to send; where the link is thin, as long as the choice says.

    Args:
        bridge: this bridge's id.
        connection: to the broker.
        models: how the windows of a model are packed.
        choices: says how many questions wait for each other and for how long.
        link: told of what leaves and arrives.
        on_failed: told the name of the agent, the ids and the code when the broker did not take questions.
    """

    def __init__(
        self,
        bridge: str,
        connection: Connection,
        models: Mapping[str, Sending],
        choices: Choices,
        link: Link,
        on_failed: Callable[[str, list[str], int], None],
    ) -> None:
        self._reply_to = topics.reply(bridge)
        self._tiny = topics.tiny(bridge)
        self._beside = PROPERTIES + len(CONTENT_TYPE + self._reply_to)  # bytes of a message but for topic and payload
        self._connection = connection
        self._models = models
        self._choices = choices
        self._link = link
        self._on_failed = on_failed
        self._asks: dict[_Where, dict[str, Open]] = {}  # then by id
        self._cancels: dict[_Where, list[str]] = {}
        self._new: dict[_Where, int] = {}  # questions since the last flush
        self._due_at: dict[_Where, float] = {}  # of those that wait for others
        self._sure: dict[str, tuple[float, int]] = {}  # by agent: when a message was acknowledged last; since then
        self._leaving: set[int] = set()  # numbers of what is being published, but for what the broker would not take
        self._pairing = False  # the next message with questions leaves right behind a tiny one
        self._due = False
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, agent: str, one: Open) -> None:
        """Send a question."""
        where = (agent, one.model)
        self._asks.setdefault(where, {})[one.id] = one
        self._new[where] = self._new.get(where, 0) + 1
        self._schedule()

    def cancel(self, agent: str, one: Open) -> None:
        """Take back a question; one that has not left is not sent."""
        if self._asks.get((agent, one.model), {}).pop(one.id, None) is None:
            self._cancels.setdefault((agent, one.model), []).append(one.id)
            self._schedule()

    def clear(self) -> None:
        """Forget what has not left: it would be of an earlier connection."""
        for waiting in (self._asks, self._cancels, self._new, self._due_at, self._sure):
            waiting.clear()

    def _schedule(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Send what was collected and need not wait."""
        self._due = False
        if not self._asks and not self._cancels:
            return
        if not self._connection.connected:
            self._asks.clear()  # questions are asked anew when the connection is back
            self._cancels.clear()
            return
        now = time.monotonic()
        self._tell(now)
        self._pairing = self._link.pair_due(now) and not self._connection.session.queued
        numbered: list[tuple[int, Publish]] = []
        for where in list({**self._asks, **self._cancels}):
            if where in self._cancels or self._ripe(where, now):
                numbered += self._messages(where, now)
        self._arm(now)
        if self._pairing and numbered and numbered[0][1].qos:
            self._pair(numbered)
        elif numbered:
            self._publish(numbered)

    def _tell(self, now: float) -> None:
        for (agent, model), count in self._new.items():
            asks = self._asks.get((agent, model))
            if asks:
                one = next(iter(asks.values()))
                topic = topics.escalate(model, agent or None)
                question = Question(one.id, model, one.values, one.deadline - now)
                self._choices.came(question, count, now, topic=len(topic), beside=self._beside)
        self._new.clear()

    def _ripe(self, where: _Where, now: float) -> bool:
        """Whether what waits there is to leave: it is complete, or one of it has waited long enough."""
        asks, rows = self._asks[where], self._choices.rows(where[1])
        if rows > 1 and len(asks) < rows:
            patience = min((one.deadline for one in asks.values()), default=now) - now
            due = min(self._due_at.get(where, math.inf), now + self._choices.longest_wait(where[1], patience))
            self._due_at[where] = due
            return due <= now
        return True

    def _arm(self, now: float) -> None:
        """See that `flush` is called when the first that waits is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._due_at:
            wait = max(0.0, min(self._due_at.values()) - now)
            self._timer = asyncio.get_running_loop().call_later(wait, self._schedule)

    def _messages(self, where: _Where, now: float) -> Iterator[tuple[int, Publish]]:
        agent, model = where
        asks, cancels = self._asks.pop(where, {}), self._cancels.pop(where, [])
        self._due_at.pop(where, None)
        questions = [Question(one.id, model, one.values, one.deadline - now) for one in asks.values()]
        packing, zstd = self._choices.coding(model, self._models.get(model, PLAIN))
        rows = self._choices.rows(model)
        together = rows if rows > 1 else len(questions)  # where the link is wide, what came together stays together
        for begin in range(0, max(len(questions), 1), max(together, 1)):
            asking = Asking(questions[begin : begin + together], cancels)
            for packed in pack_asking(asking, packing=packing, zstd=zstd, most=self._room(where)):
                yield self._message(agent, model, packed, now)
            cancels = []

    def _room(self, where: _Where) -> int:
        """Bytes that a payload to there may have, for the broker to take it."""
        agent, model = where
        largest = self._connection.session.maximum_packet
        return MAX_BYTES if largest is None else largest - len(topics.escalate(model, agent or None)) - self._beside

    def _pair(self, numbered: list[tuple[int, Publish]]) -> None:
        """A tiny message that nobody reads, and in the loop's next turn what follows: in a segment of its own."""
        number, now = numbered[0][0], time.monotonic()

        def done(_: int) -> None:
            self._link.tiny(number, time.monotonic())

        self._link.pair(number, now)
        self._connection.publish([Publish(self._tiny, b"", qos=1, expiry=1, done=done)])
        asyncio.get_running_loop().call_soon(self._publish, numbered)

    def _publish(self, numbered: list[tuple[int, Publish]]) -> None:
        if not self._connection.connected:
            return  # questions are asked anew when the connection is back
        now = time.monotonic()
        self._leaving = {number for number, _ in numbered}
        self._connection.publish([message for _, message in numbered])
        held = self._connection.session.queued  # these leave when others are acknowledged: their times tell nothing
        for number, message in numbered[: max(0, len(numbered) - held)]:
            if number in self._leaving:
                size = len(message.payload) + len(message.topic) + self._beside
                size += OVERHEAD["mqtt-1" if message.qos else "mqtt-0"][0]
                self._link.sent(number, size, now, answered=message.qos > 0)

    def _message(self, agent: str, model: str, packed: Packed, now: float) -> tuple[int, Publish]:
        ids = [question.id for question in packed.questions]
        patience = max((question.patience for question in packed.questions), default=1.0)
        number, qos = self._link.number(), self._qos(agent, model, now) if ids else 0

        def done(code: int) -> None:
            if code == PACKET_TOO_LARGE:  # the session's own word, often while it is being published
                self._leaving.discard(number)
            elif qos:
                self._link.acked(number, time.monotonic())
            if code and ids:
                self._on_failed(agent, ids, code)

        message = Publish(
            topics.escalate(model, agent or None),
            packed.payload,
            qos=qos,
            content_type=CONTENT_TYPE,
            response_topic=self._reply_to,
            expiry=max(1, math.ceil(patience)),
            done=done,
        )
        return number, message

    def _qos(self, agent: str, model: str, now: float) -> int:
        if self._choices.reliable(model):
            return 1
        at, since = self._sure.get(agent, (-math.inf, 0))
        sure = self._pairing or now - at >= SURE_EVERY or since >= SURE_OF - 1
        self._sure[agent] = (now, 0) if sure else (at, since + 1)
        return int(sure)
