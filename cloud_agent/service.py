"""Questions in, replies out: the one place that sees a question's whole way.

`deliveries → admit → forecast → queue → engine → replies → acknowledge`. A delivery is acknowledged when all its
replies have been, so the broker's Receive Maximum bounds what is under way; what is asked at QoS 0 the queue alone
bounds.

What cannot be answered in time is not computed: a question is refused when it comes if what waits before it, at the run
times measured, is more than its patience; and before its batch begins, if that would end too late.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from functools import partial
from typing import TYPE_CHECKING

from bridge.batch import Queue
from bridge.errors import BridgeError, Refused
from bridge.seldom import Seldom
from bridge.wire.offload import ENGINE_FAILED, OVERLOAD, STOPPING, TOO_LATE, Reply
from cloud_agent import intake
from cloud_agent.forecast import Forecast
from cloud_agent.replies import Answer, Replies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bridge.mqtt.messages import Delivery
    from bridge.runtime.port import Outcome
    from cloud_agent.config import Limits
    from cloud_agent.engines.port import CloudEngine
    from cloud_agent.intake import Task, Ticket
    from cloud_agent.replies import Line

log = logging.getLogger(__name__)

GIVE_UP = 5  # failed batches in a row, after which this agent would only keep questions from healthier ones
REFUSAL_EXPIRY = 30  # seconds for which the broker keeps a refusal; who was refused unread has told no patience
LONGEST_ERROR = 300  # characters of a refusal: an engine's words may be pages


class Service:
    """Answers questions.

    Attributes:
        answered: questions answered.
        refused: questions refused, too late and overload among them.
        cancelled: questions that were withdrawn while they waited.
        forecast: run times as measured.
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
        self.cancelled = 0
        self.stopping = False
        self.forecast = Forecast(engine.served, clock())
        self._cloud = cloud
        self._engine = engine
        self._line = line
        self._replies = Replies(line)
        self._limits = limits
        self._clock = clock
        self._queue: Queue[Task] = Queue(limits.queue)
        self._running: Sequence[Task] = ()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._unusable = Seldom(log)
        self._failed = Seldom(log)

    # ---- questions in

    def take(self, deliveries: Iterable[Delivery]) -> None:
        """Queue questions and forget those cancelled; what cannot be taken is refused at once."""
        now = self._clock()
        refusals: list[Answer] = []
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
            found = intake.admit(delivery, reply_to, self._engine.served, now=now, longest=self._limits.patience)
            self._cancel(reply_to, found.cancel)
            refusals += [self._refusal(found.ticket, name, str(why)) for name, why in found.bad]
            for task in found.tasks:
                refusals += self._enqueue(task, now)
            if not found.ticket.open:
                self._line.acknowledge([delivery])
        self._replies.send(refusals, now=now)
        if len(self._queue):
            self._idle.clear()
            self._work.set()

    def _cancel(self, reply_to: str, names: Iterable[str]) -> None:
        cancelled = frozenset(names)
        if cancelled:
            gone = self._queue.withdraw(reply_to, lambda task: task.id not in cancelled)
            self.cancelled += len(gone)
            self._replies.close(task.ticket for task in gone)

    def _enqueue(self, task: Task, now: float) -> list[Answer]:
        """Refusals: of the task, or of others that make room for it."""
        if self.stopping:
            return self._refusals([task], f"{STOPPING}: {self._cloud} goes away, ask again")
        if 0 < task.deadline - now < (predicted := self._predicted(task, now)):
            words = f"{TOO_LATE}: predicted {predicted:.3f} s, patience {task.deadline - now:.3f} s"
            return self._refusals([task], words)
        refusals = []
        for gone, reason in self._queue.add(
            task, model=task.model, deadline=task.deadline, owner=task.ticket.reply_to, now=now
        ):
            if reason == "stale":
                words = f"{TOO_LATE}: its patience ran out"
            else:
                words = f"{OVERLOAD}: {len(self._queue)} questions wait at {self._cloud}"
            refusals += self._refusals([gone], words)
        return refusals

    def _predicted(self, task: Task, now: float) -> float:
        """Seconds until it would be answered; 0.0 while the times known are too old to refuse it for them."""
        if not self.forecast.trusted(task.model, now):
            return 0.0
        ahead = self._queue.ahead(task.ticket.reply_to, task.deadline)
        return self.forecast.answer(task.model, ahead, len(self._queue), now=now)

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
        """What runs next: as many as gain from running together, none of them in vain.

        While there is less than a full batch, none joins by which another would be too late. Else the batch is full,
        for smaller ones would only make all that wait later.
        """
        now = self._clock()
        self._turn_away(self._queue.expired(now), f"{TOO_LATE}: its patience ran out while it waited")
        batch: list[Task] = []
        while not batch and (model := self._queue.turn(now)) is not None:
            most = self._engine.served[model].batch
            if len(self._queue) < most:
                some = self._queue.take(now, most, joins=partial(self._joins, now))
                batch = self._in_time(some, len(some), now)
            else:
                batch = self._full(model, most, now)
        return batch

    def _full(self, model: str, most: int, now: float) -> list[Task]:
        batch: list[Task] = []
        while len(batch) < most and self._queue.turn(now) == model:
            batch += self._in_time(self._queue.take(now, most - len(batch)), most, now)
        return batch

    def _joins(self, now: float, batch: Sequence[Task], task: Task) -> bool:
        first = min(task.deadline, *(one.deadline for one in batch))
        return first >= now + self.forecast.run(task.model, len(batch) + 1, now=now)

    def _in_time(self, tasks: list[Task], size: int, now: float) -> list[Task]:
        """Those that a batch of this size answers in time; the others are told."""
        model = tasks[0].model
        if not self.forecast.trusted(model, now):
            return tasks
        run = self.forecast.run(model, size, now=now)
        late = [task for task in tasks if task.deadline < now + run]
        self._turn_away(late, f"{TOO_LATE}: predicted to run {run:.3f} s, longer than its patience lasts")
        return [task for task in tasks if task.deadline >= now + run] if late else tasks

    async def _run(self, batch: Sequence[Task]) -> BridgeError | None:
        model = batch[0].model
        start = self._clock()
        self._running = batch
        self.forecast.began(model, len(batch), now=start)
        try:
            outcomes = await self._engine.answers(model, [task.values for task in batch])
        except BridgeError as why:
            self.forecast.ended(now=self._clock())
            self._failed.warn(f"{model}: {why}", now=start)
            self._turn_away(self._running, f"{ENGINE_FAILED}: {why}")
            return why
        else:
            now = self._clock()
            self.forecast.ran(model, len(batch), now - start, now=now)
            if self._running:  # else `abandon` has turned them away
                self._answer(batch, outcomes, start=start, now=now)
            return None
        finally:
            self._running = ()

    # ---- replies out

    def _answer(self, batch: Sequence[Task], outcomes: Sequence[Outcome], *, start: float, now: float) -> None:
        served = self._engine.served[batch[0].model]
        answers = []
        for task, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Refused):
                answers.append(self._refusal(task.ticket, task.id, str(outcome)))
                continue
            self.answered += 1
            reply = Reply(
                id=task.id,
                cloud=self._cloud,
                label=outcome.label,
                score=outcome.score,
                version=outcome.version,
                variant=outcome.variant,
                engine=served.provider,
                run_ms=1000.0 * (now - start),
                batch=len(batch),
                queue=len(self._queue),
                wait_ms=1000.0 * (start - task.came),
            )
            answers.append(Answer(task.ticket, reply, max(1, math.ceil(task.deadline - now))))
        self._replies.send(answers, now=now)

    def _turn_away(self, tasks: Iterable[Task], why: str) -> None:
        self._replies.send(self._refusals(tasks, why), now=self._clock())

    def _refusals(self, tasks: Iterable[Task], why: str) -> list[Answer]:
        return [self._refusal(task.ticket, task.id, why) for task in tasks]

    def _refusal(self, ticket: Ticket, name: str, why: str) -> Answer:
        self.refused += 1
        reply = Reply(id=name, cloud=self._cloud, queue=len(self._queue), error=why[:LONGEST_ERROR])
        return Answer(ticket, reply, REFUSAL_EXPIRY)

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
        self._turn_away(rest, f"{STOPPING}: {self._cloud} goes away, ask again")
