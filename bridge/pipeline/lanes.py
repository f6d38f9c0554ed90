"""Computing that would hold up a turn: windows of a slow model wait here and run in threads, one a lane of the engine.

The engine seen as a nearer cloud: a turn hands windows over, and what was computed re-enters as an event. What waits is
fair between devices, the earliest deadline first; a lane that is free takes what waits, up to the batch size learned
for the model. A window whose answer nobody insists on is given up when its deadline passes (`stale`) or for want of
room (`overload`). Batches are told in the order in which they began, so that the windows of a stream stay in order.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from bridge.batch import Queue, best_size
from bridge.errors import Refused
from bridge.pipeline.chunk import EACH
from bridge.pipeline.turn import Cut
from bridge.place.cost import BridgeCost
from bridge.runtime.port import Outcome
from bridge.topics import asker

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from bridge.messages import Window
    from bridge.runtime.port import Engine

HOP = 1e-4  # seconds that a run in another thread costs besides the run
MOST = 4_096  # windows with a deadline that wait; more are given up by the queue's rule
SPARE = 2.0  # runs between the latest start and the deadline: a machine is not always as quick as at the warm-up
HELD = 1 << 25  # bytes of windows of one model
SHORT = 256  # bytes of what `_infer` is to be answered by that are no more than usual


class Computed(msgspec.Struct, frozen=True, eq=False):
    """Windows that were computed, or given up.

    Attributes:
        cuts: the windows.
        outcomes: what came of each.
        failure: why the engine failed, in which case there are no outcomes.
    """

    cuts: list[Cut]
    outcomes: list[Outcome]
    failure: Exception | None = None


class Lanes:
    """The lanes of one model.

    Args:
        engine: what computes.
        tell: takes what was computed.

    Attributes:
        held: bytes of the windows that wait or run, above `HELD` of which no more are to be handed over.
    """

    def __init__(self, engine: Engine, tell: Callable[[Computed], None]) -> None:
        self._tell = tell
        self._queue: Queue[Cut] = Queue(MOST)
        self._running: deque[tuple[list[Cut], asyncio.Future[list[Outcome]]]] = deque()
        self._busy = 0
        self._closed = False
        self._cost = BridgeCost()
        self.held = 0
        self._use(engine)

    def _use(self, engine: Engine) -> None:
        self._engine = engine
        self._batch = best_size(engine.run_seconds, engine.max_batch, overhead=HOP)
        self._threads: ThreadPoolExecutor | None = None

    @property
    def idle(self) -> bool:
        """Nothing waits or runs."""
        return not (len(self._queue) or self._running)

    def wait(self, ahead: int) -> float:
        """Seconds after which a window that comes now would be answered, behind so many more."""
        waiting = len(self._queue) + sum([len(cuts) for cuts, _ in self._running]) + ahead
        return self._cost.predict(waiting // self._engine.lanes, self._engine.run_seconds, self._batch).seconds

    def swap(self, engine: Engine) -> None:
        """Use another engine from the next batch on; what runs is finished by the old one."""
        if self._threads is not None:
            self._threads.shutdown(wait=False)
        self._use(engine)
        self._start(asyncio.get_running_loop().time())

    def add(self, cuts: list[Cut], now: float) -> None:
        """Queue windows and start what can be started."""
        for cut in cuts:
            window = cut.window
            self.held += _size(cut)
            deadline = self._latest_start(window) if cut.sheddable else math.inf
            for gone, reason in self._queue.add(
                cut,
                model="",
                deadline=deadline,
                owner=_owner(window),
                now=now,
                due=window.deadline if cut.due is None else cut.due,
            ):
                self._give_up(gone, reason, now)
        self._start(now)

    def _latest_start(self, window: Window) -> float:
        """When computing must begin for the answer to be in time; a slow model gets half of the patience at least.

        Without it an overloaded model begins each window just before its deadline, and answers each just after it.
        """
        run = SPARE * self._engine.run_seconds(self._batch)
        return window.deadline - min(run, (window.deadline - window.arrived) / 2)

    def close(self) -> None:
        """Start nothing more; what runs ends by itself."""
        self._closed = True
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self, now: float) -> None:
        while not self._closed and self._busy < self._engine.lanes and (batch := self._queue.take(now, self._batch)):
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._engine.lanes, thread_name_prefix=self._engine.model)
            self._busy += 1
            values = [cut.window.values for cut in batch]
            future = asyncio.get_running_loop().run_in_executor(self._threads, self._engine.answers, values)
            self._running.append((batch, future))
            future.add_done_callback(partial(self._done, len(batch), asyncio.get_running_loop().time()))
        for cut in self._queue.expired(now):
            self._give_up(cut, "stale", now)

    def _done(self, count: int, began: float, _future: asyncio.Future[list[Outcome]]) -> None:
        self._busy -= 1
        self._cost.ran(self._engine.run_seconds(count), asyncio.get_running_loop().time() - began)
        while self._running and self._running[0][1].done():
            cuts, future = self._running.popleft()
            if future.cancelled():
                continue
            self.held -= sum(map(_size, cuts))
            failure = future.exception()
            if isinstance(failure, Exception):
                self._tell(Computed(cuts, [], failure))
            else:
                self._tell(Computed(cuts, future.result()))
        self._start(asyncio.get_running_loop().time())

    def _give_up(self, cut: Cut, reason: str, now: float) -> None:
        self.held -= _size(cut)
        waited = now - cut.window.arrived
        if reason == "stale":
            why = Refused("stale", f"it waited {waited:.1f} s for {self._engine.model}: no answer could be in time")
        else:
            why = Refused("overload", f"{len(self._queue)} windows wait for {self._engine.model}")
        self._tell(Computed([cut], [why]))


def _owner(window: Window) -> Hashable:
    """Its device; or who asks by `_infer`, as far as that is known."""
    return (window.key.site, window.key.device) if window.reply_to is None else asker(window.reply_to)


def _size(cut: Cut) -> int:
    window = cut.window
    size = EACH + window.values.nbytes
    if window.reply_to is not None:
        size += max(0, len(window.reply_to) + len(window.correlation or b"") - SHORT)
    return size
