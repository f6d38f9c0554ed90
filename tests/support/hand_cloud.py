"""The offload client and cloud agents played by hand, on one broker."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge import topics
from bridge.mqtt.connection import Connection
from bridge.mqtt.endpoint import Endpoint
from bridge.mqtt.messages import Delivery, Publish, Settings
from bridge.offload.client import Answered, CloudClient, Unanswered
from bridge.wire.answers import encode_status
from bridge.wire.offload import Question, Reply, decode_asking, encode_replies
from tests.support.brokers import HOST
from tests.support.paho_client import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from bridge.place.decide import CloudView

VALUES = np.ones((4, 2), np.float32)


class Cloud:
    """Cloud agents by hand, all on one connection, and the bridge's client beside them."""

    def __init__(self, port: int, **options: Any) -> None:
        self.events: list[Answered | Unanswered] = []
        self.messages: list[Delivery] = []
        self.asked: list[tuple[str | None, Question]] = []  # whom, and what
        self.cancelled: list[tuple[str | None, str]] = []
        endpoint = Endpoint(HOST, port)
        self.client = CloudClient(endpoint, "gw-1", self.events.append, max_open=3, **options)
        filters = (topics.ESCALATE_FILTER, f"{topics.ESCALATE_FILTER}/+")
        self.agent = Connection(endpoint, Settings("agent", subscriptions=filters, session_expiry=0), self._received)
        self.running = [asyncio.ensure_future(one.run()) for one in (self.client.connection, self.agent)]

    async def ready(self) -> None:
        async with asyncio.timeout(10):
            await self.client.connection.ready()
            await self.agent.ready()

    async def close(self) -> None:
        for connection in (self.client.connection, self.agent):
            await connection.close()
        for task in self.running:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _received(self, deliveries: list[Delivery]) -> None:
        self.agent.acknowledge(deliveries)
        for delivery in deliveries:
            where = topics.parse_escalate(delivery.topic)
            assert where is not None
            self.messages.append(delivery)
            questions, cancelled = decode_asking(delivery.payload)
            self.asked += [(where.agent, one) for one in questions if isinstance(one, Question)]
            self.cancelled += [(where.agent, one) for one in cancelled]

    def tell(self, topic: str, payload: bytes) -> None:
        self.agent.publish([Publish(topic, payload, retain=topics.parse_cloud_status(topic) is not None)])

    def status(self, *models: str, name: str = "gpu-1", online: bool = True, **facts: Any) -> None:
        facts = {"models": dict.fromkeys(models, "1"), **facts}
        self.tell(topics.cloud_status(name), encode_status(online=online, t=0.0, **facts))

    async def there(self, *names: str, **facts: Any) -> None:
        for name in names or ("gpu-1",):
            self.status("m", name=name, **facts)
        count = len(names or ("gpu-1",)) if facts.get("direct") else 1
        await until(lambda: len(self.client._agents.serving("m")) == count)

    def reply(self, *replies: Reply) -> None:
        self.tell(topics.reply("gw-1"), encode_replies(list(replies)))

    def ask(self, window: str, patience: float = 5.0, values: Any = VALUES) -> None:
        self.client.ask(window, "m", values, time.monotonic() + patience)

    def was_asked(self, times: int) -> bool:
        return len(self.asked) >= times

    def view(self, model: str = "m", *, planned: int = 0) -> CloudView:
        return self.client.view(model, time.monotonic(), left=1.0, grace=2.0, size=32, planned=planned)

    def why(self, model: str = "m", *, planned: int = 0) -> str:
        view = self.view(model, planned=planned)
        assert view.there == (not view.why)
        return view.why


@asynccontextmanager
async def clouds(port: int) -> AsyncIterator[Callable[..., Cloud]]:
    """Makes clouds with options of the client, and closes them all at the end."""
    made: list[Cloud] = []

    def one(**options: Any) -> Cloud:
        made.append(Cloud(port, **options))
        return made[-1]

    try:
        yield one
    finally:
        for cloud in made:
            await cloud.close()
