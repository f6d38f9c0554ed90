"""Questions in, replies out: the one place that sees a question's whole way.

`deliveries → admit → queue → engine → reply → acknowledge`. A question is acknowledged when its reply has been
acknowledged, so the broker's Receive Maximum bounds what is under way; one asked at QoS 0 is bound by the queue alone.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING, Protocol

from bridge.batch import Queue
from bridge.errors import BridgeError, Refused
from bridge.mqtt.messages import Publish
from bridge.wire.offload import Reply, encode_reply
from cloud_agent import intake
from cloud_agent.seldom import Seldom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bridge.mqtt.messages import Delivery
    from bridge.runtime.port import Outcome
    from cloud_agent.config import Limits
    from cloud_agent.engines.port import CloudEngine
    from cloud_agent.intake import Task

log = logging.getLogger(__name__)

GIVE_UP = 5  # failed batches in a row, after which this agent would only keep questions from healthier ones
FAILURE = 0x80  # MQTT 5 section 2.4: reason codes from here on
REFUSAL_EXPIRY = 30  # seconds for which the broker keeps a refusal; who was refused unread has told no patience


class Line(Protocol):
    """What the service needs of a `bridge.mqtt.connection.Connection`."""

    @property
    def full(self) -> bool:
        """Whether too many publishes wait for the broker."""
        ...

    def publish(self, messages: Iterable[Publish]) -> None:
        """Queue messages."""
        ...

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        """Settle deliveries."""
        ...


class Service:
    """Answers questions.

    Attributes:
        answered: questions answered.
        refused: questions refused, too late and overload among them.
        stopping: whether new questions are turned away.
    """

    def __init__(
        self,
        cloud: str,
        engine: CloudEngine,
        line: Line,
        limits: Limits,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Wait for `take` and `serve`.

        Args:
            cloud: this agent's id.
            engine: computes the answers.
            line: to the broker.
            limits: the section `[limits]`.
            clock: monotonic seconds.
        """
        self.answered = 0
        self.refused = 0
        self.stopping = False
        self._cloud = cloud
        self._engine = engine
        self._line = line
        self._limits = limits
        self._clock = clock
        self._queue: Queue[Task] = Queue(limits.queue)
        self._running: Sequence[Task] = ()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._unusable = Seldom(log)
        self._unsent = Seldom(log)
        self._failed = Seldom(log)

    # ---- questions in

    def take(self, deliveries: Iterable[Delivery]) -> None:
        """Queue questions; what cannot be taken is refused at once."""
        now = self._clock()
        for delivery in deliveries:
            reply_to = intake.reply_topic(delivery)
            if reply_to is None:
                self._unusable.warn(
                    f"a question on {delivery.topic} names no Response Topic under edge/v1/_reply/ "
                    f"({str(delivery.response_topic)[:100]!r}): dropped",
                    now=now,
                )
                self._line.acknowledge([delivery])
                continue
            try:
                task = intake.admit(delivery, reply_to, self._engine.served, now=now, longest=self._limits.patience)
            except Refused as why:
                self._refuse(delivery, reply_to, "", str(why), now=now)
                continue
            self._enqueue(task, now)
        if len(self._queue):
            self._idle.clear()
            self._work.set()

    def _enqueue(self, task: Task, now: float) -> None:
        if self.stopping:
            self._turn_away([task], f"{intake.STOPPING}: {self._cloud} goes away, ask again")
            return
        for gone, reason in self._queue.add(
            task, model=task.model, deadline=task.deadline, owner=task.reply_to, now=now
        ):
            if reason == "stale":
                self._turn_away([gone], f"{intake.TOO_LATE}: its patience ran out")
            else:
                self._turn_away([gone], f"overload: {len(self._queue)} questions wait at {self._cloud}")

    # ---- the engine

    async def serve(self) -> None:
        """Run what waits as soon as the engine is free, for ever.

        Raises:
            BridgeError: the engine failed several times in a row.
        """
        failures = 0
        while True:
            await self._work.wait()
            while batch := self._next_batch():
                failures = failures + 1 if (why := await self._run(batch)) else 0
                if why and failures >= GIVE_UP:
                    raise why
            self._work.clear()
            self._idle.set()

    def _next_batch(self) -> list[Task]:
        now = self._clock()
        self._turn_away(self._queue.expired(now), f"{intake.TOO_LATE}: its patience ran out while it waited")
        model = self._queue.turn(now)
        return [] if model is None else self._queue.take(now, self._engine.served[model].batch)

    async def _run(self, batch: Sequence[Task]) -> BridgeError | None:
        model = batch[0].model
        start = self._clock()
        self._running = batch
        try:
            outcomes = await self._engine.answers(model, [task.values for task in batch])
        except BridgeError as why:
            self._failed.warn(f"{model}: {why}", now=start)
            self._turn_away(self._running, f"{intake.ENGINE_FAILED}: {why}")
            return why
        else:
            if self._running:  # else `abandon` has turned them away
                self._reply(batch, outcomes, run_ms=1000.0 * (self._clock() - start))
            return None
        finally:
            self._running = ()

    # ---- replies out

    def _reply(self, batch: Sequence[Task], outcomes: Sequence[Outcome], *, run_ms: float) -> None:
        now = self._clock()
        served = self._engine.served[batch[0].model]
        for task, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Refused):
                self._turn_away([task], str(outcome))
                continue
            reply = Reply(
                id=task.id,
                cloud=self._cloud,
                label=outcome.label,
                score=outcome.score,
                version=outcome.version,
                variant=outcome.variant,
                engine=served.provider,
                run_ms=run_ms,
                batch=len(batch),
                queue=len(self._queue),
            )
            self.answered += 1
            self._send(task.delivery, task.reply_to, reply, expiry=max(1, math.ceil(task.deadline - now)), now=now)

    def _turn_away(self, tasks: Iterable[Task], why: str) -> None:
        now = self._clock()
        for task in tasks:
            self._refuse(task.delivery, task.reply_to, task.id, why, now=now)

    def _refuse(self, delivery: Delivery, reply_to: str, name: str, why: str, *, now: float) -> None:
        self.refused += 1
        reply = Reply(id=name, cloud=self._cloud, queue=len(self._queue), error=why)
        self._send(delivery, reply_to, reply, expiry=REFUSAL_EXPIRY, now=now)

    def _send(self, delivery: Delivery, reply_to: str, reply: Reply, *, expiry: int, now: float) -> None:
        if self._line.full:  # only questions at QoS 0 get us here, and memory must not grow with them
            self._unsent.warn(f"the broker takes our replies too slowly: one for {reply_to} is dropped", now=now)
            self._line.acknowledge([delivery])
            return

        def done(code: int) -> None:
            if code >= FAILURE:
                self._unsent.warn(f"the broker refused a reply for {reply_to}: reason 0x{code:02X}", now=now)
            self._line.acknowledge([delivery])

        message = Publish(
            reply_to,
            encode_reply(reply),
            content_type="application/cbor",
            correlation=delivery.correlation,
            expiry=expiry,
            done=done,
        )
        self._line.publish([message])

    # ---- the end

    async def drain(self, seconds: float) -> None:
        """Turn new questions away, and what still waits after so many seconds; `serve` must still be running."""
        self.stopping = True
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            left = len(self._queue) + len(self._running)
            log.warning("%d questions are still open after %.1f s: turned away", left, seconds)
        self.abandon()

    def abandon(self) -> None:
        """Turn away whatever waits or runs."""
        self.stopping = True
        now = self._clock()
        rest = [*self._running, *self._queue.expired(now)]
        self._running = ()
        while batch := self._queue.take(now, self._limits.queue):
            rest += batch
        self._turn_away(rest, f"{intake.STOPPING}: {self._cloud} goes away, ask again")
