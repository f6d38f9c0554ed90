"""A cloud agent's service with an engine that is held back, a clock set by hand and a line that only remembers."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bridge import topics
from bridge.mqtt.messages import Delivery, Publish
from bridge.runtime.fake import FakeEngine
from bridge.wire.offload import Question, Reply, decode_replies, encode_question
from cloud_agent.config import Limits
from cloud_agent.engines.inprocess import InProcess
from cloud_agent.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

WINDOW = np.ones((4, 2), np.float32)
REPLY_TO = topics.reply("gw-1")


class RememberingLine:
    """Publishes to nobody; `settle` says that the broker has them."""

    def __init__(self) -> None:
        self.full = False
        self.published: list[Publish] = []
        self.acknowledged: list[Delivery] = []

    def publish(self, messages: Iterable[Publish]) -> None:
        self.published += messages

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        self.acknowledged += deliveries

    def settle(self, code: int = 0) -> None:
        for message in self.published:
            assert message.done is not None
            message.done(code)

    @property
    def replies(self) -> list[Reply]:
        return [reply for message in self.published for reply in decode_replies(message.payload)]


class Bench:
    """A service that is served, its engine held back until `go`, and a clock set by hand."""

    def __init__(self, *, times: tuple[tuple[int, float], ...] = (), **limits: int) -> None:
        """Serve two models that take 4 × 2 values.

        Args:
            times: windows and seconds of "activity" as its warm-up had measured them; nothing is known by default.
            limits: of the section `[limits]`.
        """
        self.now = 100.0
        self.took = 0.0
        self.go = threading.Event()
        self.go.set()
        self.fake = FakeEngine(rows=4, channels=2, model="activity", version="2.0.0", max_batch=8, rule=self.rule)
        self.line = RememberingLine()
        self.other = FakeEngine(rows=4, channels=2, model="other", max_batch=2, rule=self.rule)
        self.engine = InProcess([self.fake, self.other])
        unknown = {name: msgspec.structs.replace(one, times=()) for name, one in self.engine.served.items()}
        self.engine.served = {**unknown, "activity": msgspec.structs.replace(unknown["activity"], times=times)}
        self.service = Service("gpu-1", self.engine, self.line, Limits(**limits), clock=lambda: self.now)
        self.serving = asyncio.create_task(self.service.serve())

    def rule(self, window: np.ndarray) -> list[float]:
        assert self.go.wait(20)
        self.now += self.took
        return [0.0, float(window[0, 0])]

    def ask(self, *questions: Delivery) -> None:
        self.service.take(questions)

    async def replies(self, count: int) -> list[Reply]:
        async with asyncio.timeout(10):
            while len(self.line.replies) < count:  # noqa: ASYNC110 - a thread computes
                await asyncio.sleep(0.001)
        return self.line.replies


def delivery(
    payload: bytes | None = None,
    *,
    name: str = "w1",
    patience: float = 5.0,
    topic: str = "edge/v1/_escalate/activity",
    reply_to: str | None = REPLY_TO,
    qos: int = 1,
) -> Delivery:
    if payload is None:
        payload = encode_question(Question(name, "activity", WINDOW, patience))
    return Delivery(topic, payload, qos, False, "application/cbor", reply_to, name.encode(), 1)


@asynccontextmanager
async def served(*, times: tuple[tuple[int, float], ...] = (), **limits: int) -> AsyncIterator[Bench]:
    """A bench, and its end."""
    bench = Bench(times=times, **limits)
    try:
        yield bench
    finally:
        bench.go.set()
        bench.serving.cancel()
        await asyncio.gather(bench.serving, return_exceptions=True)
        bench.engine.close()
