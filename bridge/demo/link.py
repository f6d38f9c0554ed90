"""A link that the demo's packets pass: both directions of `linkmodel` on one clock, and what became of the bytes."""

from __future__ import annotations

import bisect
import heapq
import itertools
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import msgspec

from bridge.demo.linkmodel import Direction, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Way: TypeAlias = Literal["up", "down"]


class Timer(Protocol):
    """As `asyncio.TimerHandle`."""

    def when(self) -> float:
        """When it is due."""

    def cancel(self) -> None:
        """It is not wanted any more."""


class Clock(Protocol):
    """As `asyncio.AbstractEventLoop`; tests bring one that needs no time."""

    def time(self) -> float:
        """Monotonic seconds."""

    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer:
        """Calls back then."""


SLOT = 0.1  # seconds


class Slot(msgspec.Struct):
    """What was offered to the link in one `SLOT` of the schedule.

    Attributes:
        up: IP bytes towards the bridge, lost ones too.
        down: IP bytes back.
        packets: both ways.
        lost: of these, in the air or by a full queue.
    """

    up: int = 0
    down: int = 0
    packets: int = 0
    lost: int = 0


class Link:
    """Delays, queues and loses as its schedule says; the schedule begins with the first packet.

    Args:
        stages: the schedule.
        seed: of its randomness; the same seed and packets give the same fate.
        clock: the event loop.
        begun: called with the first packet.

    Attributes:
        slots: what was offered, each `SLOT` since the first packet.

    Raises:
        ValueError: the stages are none, see `Direction`.
    """

    def __init__(
        self, stages: Sequence[Stage], seed: int, clock: Clock, begun: Callable[[], object] = lambda: None
    ) -> None:
        self._ways: dict[Way, Direction] = {
            "up": Direction(stages, "up", seed),
            "down": Direction(stages, "down", seed),
        }
        self._stages = list(stages)
        self._clock = clock
        self._begun = begun
        self._start: float | None = None
        self._air: list[tuple[float, int, Callable[[], object]]] = []  # heap of (due, order, deliver)
        self._order = itertools.count()
        self._timer: Timer | None = None
        self.slots: list[Slot] = []

    @property
    def round_trip(self) -> float:
        """Seconds of propagation there and back, by the present stage."""
        start = self._clock.time() if self._start is None else self._start
        at = bisect.bisect_right(self._stages, self._clock.time() - start, key=lambda stage: stage.at) - 1
        stage = self._stages[max(0, at)]
        return stage.up.delay + stage.down.delay

    def carry(self, way: Way, size: int, deliver: Callable[[], object]) -> bool:
        """One packet; `deliver` is called when it is due, earlier ones first.

        Args:
            way: where it goes.
            size: IP bytes.
            deliver: at the other end.

        Returns:
            Whether it will arrive.
        """
        if self._start is None:
            self._start = self._clock.time()
            self._begun()
        now = self._clock.time() - self._start
        due = self._ways[way].offer(now, size)
        self._count(way, int(now / SLOT + 1e-6), size, lost=due is None)
        if due is None:
            return False
        heapq.heappush(self._air, (self._start + due, next(self._order), deliver))
        self._arm()
        return True

    def _count(self, way: Way, slot: int, size: int, *, lost: bool) -> None:
        while len(self.slots) <= slot:
            self.slots.append(Slot())
        here = self.slots[slot]
        here.packets += 1
        here.lost += lost
        if way == "up":
            here.up += size
        else:
            here.down += size

    def _arm(self) -> None:
        if self._timer is not None:
            if self._timer.when() <= self._air[0][0]:
                return
            self._timer.cancel()
        self._timer = self._clock.call_at(self._air[0][0], self._deliver)

    def _deliver(self) -> None:
        assert self._timer is not None  # noqa: S101 # it called us
        due = max(self._clock.time(), self._timer.when())  # a loop may call as early as its clock is coarse
        self._timer = None
        while self._air and self._air[0][0] <= due:
            heapq.heappop(self._air)[2]()
        if self._air:
            self._arm()
