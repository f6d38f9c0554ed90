"""What is on its way out: questions and cancellations, packed by agent and model into few messages."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

from bridge import topics
from bridge.mqtt.messages import Publish
from bridge.wire.offload import Asking, Question, pack_asking

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.mqtt.connection import Connection
    from bridge.offload.questions import Open
    from bridge.offload.sending import Sending
    from bridge.wire.offload import Packed

CONTENT_TYPE = "application/cbor"


class Outgoing:
    """Collects until the loop is idle, or until told to send.

    Args:
        bridge: this bridge's id.
        connection: to the broker.
        models: how the windows of a model are packed.
        on_failed: told the name of the agent, the ids and the code when the broker did not take questions.
    """

    def __init__(
        self,
        bridge: str,
        connection: Connection,
        models: Mapping[str, Sending],
        on_failed: Callable[[str, list[str], int], None],
    ) -> None:
        self._reply_to = topics.reply(bridge)
        self._connection = connection
        self._models = models
        self._on_failed = on_failed
        self._asks: dict[tuple[str, str], dict[str, Open]] = {}  # by agent and model, then id
        self._cancels: dict[tuple[str, str], list[str]] = {}
        self._due = False

    def ask(self, agent: str, one: Open) -> None:
        """Send a question."""
        self._asks.setdefault((agent, one.model), {})[one.id] = one
        self._schedule()

    def cancel(self, agent: str, one: Open) -> None:
        """Take back a question; one that has not left is not sent."""
        if self._asks.get((agent, one.model), {}).pop(one.id, None) is None:
            self._cancels.setdefault((agent, one.model), []).append(one.id)
            self._schedule()

    def clear(self) -> None:
        """Forget what has not left: it would be of an earlier connection."""
        self._asks.clear()
        self._cancels.clear()

    def _schedule(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Send what was collected."""
        self._due = False
        if not self._asks and not self._cancels:
            return
        asks, self._asks = self._asks, {}
        cancels, self._cancels = self._cancels, {}
        if not self._connection.connected:
            return  # questions are asked anew when the connection is back
        now = time.monotonic()
        messages: list[Publish] = []
        for where in {**asks, **cancels}:
            agent, model = where
            questions = [
                Question(one.id, model, one.values, one.deadline - now) for one in asks.get(where, {}).values()
            ]
            sending = self._models.get(model)
            packing = "float32" if sending is None else sending.packing
            asking = Asking(questions, cancels.get(where, []))
            messages += [self._message(agent, model, packed) for packed in pack_asking(asking, packing=packing)]
        self._connection.publish(messages)

    def _message(self, agent: str, model: str, packed: Packed) -> Publish:
        ids = [question.id for question in packed.questions]
        patience = max((question.patience for question in packed.questions), default=1.0)

        def done(code: int) -> None:
            if code and ids:
                self._on_failed(agent, ids, code)

        return Publish(
            topics.escalate(model, agent or None),
            packed.payload,
            qos=1 if ids else 0,
            content_type=CONTENT_TYPE,
            response_topic=self._reply_to,
            expiry=max(1, math.ceil(patience)),
            done=done,
        )
