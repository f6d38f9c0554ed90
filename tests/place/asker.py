"""The bridge's end of a recording: asks a question at a fixed rate, and notes when its answer came.

The argument is a `Task`. The client is the product's own connection, with the settings of its cloud client; like that
one it sends nothing while it is not connected.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bridge import topics
from bridge.errors import Refused
from bridge.mqtt.connection import Connection
from bridge.mqtt.endpoint import Endpoint
from bridge.mqtt.messages import Publish, Settings
from bridge.wire.offload import Question, decode_reply, encode_question
from tests.netlab import traffic
from tests.netlab.log import Log
from tests.place import trace, windows

if TYPE_CHECKING:
    from bridge.mqtt.messages import Delivery
    from bridge.wire.offload import Reply
    from tests.netlab.traffic import Task

BRIDGE = "asker"
PATIENCE = 2.0  # s that the agent may let a question wait; counted from its arrival there
DEADLINE = 8.0  # s after which an answer counts as lost
WARM_UP = "warm-up"


class Asker:
    """Questions by number, and what became of them."""

    def __init__(self, task: Task, arrived: Log) -> None:
        of = windows.manifest()
        self._values = windows.held_out(of).windows
        self._arrived = arrived
        self._sent: list[tuple[float, int, bool]] = []  # when, bytes, connected
        self._answers: dict[int, tuple[float, Reply]] = {}
        self.agent = asyncio.Event()
        self.answered = asyncio.Event()
        settings = Settings(
            f"{BRIDGE}-cloud", subscriptions=(topics.reply(BRIDGE), topics.CLOUD_STATUS_FILTER), session_expiry=0,
            clean_start=True,
        )  # fmt: skip
        self.connection = Connection(Endpoint(task.gateway, task.port), settings, self._received)

    def warm_up(self) -> None:
        """Ask once before the clock starts."""
        self._publish(WARM_UP, 0)

    def ask(self) -> None:
        """Ask the next question, and note when."""
        number = len(self._sent)
        begun = time.monotonic()
        self._sent.append((begun, *self._publish(str(number), number)))

    def _publish(self, name: str, number: int) -> tuple[int, bool]:
        """The bytes of a question, and whether it left."""
        values = self._values[number % len(self._values)]
        payload = encode_question(Question(name, windows.MODEL, values, PATIENCE), packing=windows.PACKING)
        if not self.connection.connected:
            return len(payload), False
        self.connection.publish(
            [
                Publish(
                    topics.escalate(windows.MODEL), payload, content_type="application/cbor",
                    response_topic=topics.reply(BRIDGE), correlation=name.encode(), expiry=int(DEADLINE),
                )
            ]
        )  # fmt: skip
        return len(payload), True

    def samples(self, start: float) -> list[trace.Sample]:
        """What was found out."""
        return [self._sample(number, start) for number in range(len(self._sent))]

    def _sample(self, number: int, start: float) -> trace.Sample:
        at, size, up = self._sent[number]
        came = self._answers.get(number)
        if came is None or came[0] - at > DEADLINE or came[1].error is not None:
            return trace.Sample(t=at - start, size=size, up=up)
        when, reply = came
        return trace.Sample(
            t=at - start, size=size, up=up, took=when - at, wait=reply.wait_ms / 1e3, run=reply.run_ms / 1e3,
            batch=reply.batch, queue=reply.queue,
        )  # fmt: skip

    def _received(self, deliveries: list[Delivery]) -> None:
        now = time.monotonic()
        self.connection.acknowledge(deliveries)
        for delivery in deliveries:
            if topics.parse_cloud_status(delivery.topic) is not None:
                self.agent.set()
                continue
            try:
                reply = decode_reply(delivery.payload)
            except Refused:
                continue
            if reply.id == WARM_UP:
                self.answered.set()
            elif int(reply.id) not in self._answers:
                self._answers[int(reply.id)] = (now, reply)
                self._arrived.note(int(reply.id))


async def run(task: Task) -> None:
    """Ask on time, whatever became of the questions before."""
    with Log(task.path("sent")) as sent, Log(task.path("arrived")) as arrived:
        asker = Asker(task, arrived)
        running = asyncio.create_task(asker.connection.run())
        await asker.connection.ready()
        await asker.agent.wait()
        asker.warm_up()
        await asker.answered.wait()
        traffic.say_ready()
        start = await asyncio.to_thread(traffic.wait_go)
        for number in range(task.count):
            await asyncio.sleep(traffic.until(start + number / task.rate))
            sent.note(number)
            asker.ask()
        await asyncio.sleep(task.drain)
        running.cancel()
    trace.write(task.path("trace.csv"), asker.samples(start))


if __name__ == "__main__":
    asyncio.run(run(traffic.task()))
