"""What waits for the pipeline, bounded in bytes: doors stop reading before memory grows.

Fair between owners (devices, and the models each sends to), so that the flood of one delays the others by about one
turn, over however many topics it comes. What nobody acknowledges (QoS 0) is given up instead when there is no room: of
each owner that holds more than its share, the oldest first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from bridge.batch import FairQueue
from bridge.offload.client import Answered, Unanswered
from bridge.pipeline.arrival import Arrival
from bridge.pipeline.lanes import Computed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable

Told: TypeAlias = Answered | Unanswered | Computed
Event: TypeAlias = Arrival | Told

OVERHEAD = 512  # bytes counted for a message besides its payload
KEPT = 0.75  # of the limit, when something has to be given up: not again at the very next message
ASKERS = 1_024  # Response Topics of which is remembered, until it is told, that their questions were given up


class GivenUp(msgspec.Struct):
    """Messages given up for want of room.

    Attributes:
        topic: where they came.
        reply_to: where `_infer` was to answer them.
        correlation: to repeat there, of the newest of them.
        count: how many they are.
    """

    topic: str
    reply_to: str | None
    correlation: bytes | None
    count: int


class Inbox:
    """A queue that hands out what waits; what an earlier turn asked for (answers) first.

    Args:
        limit: bytes of arrivals above which it is full.
        on_space: called when a full inbox has room again.
        owner: whose an arrival of this topic and this Response Topic is; asked only when not everything fits into a
            turn.
    """

    def __init__(self, limit: int, on_space: Callable[[], None], owner: Callable[[str, str | None], Hashable]) -> None:
        self._limit = limit
        self._on_space = on_space
        self._arrivals: FairQueue[Arrival] = FairQueue(owner=lambda one: owner(one.topic, one.reply_to), size=_size)
        self._told: deque[Told] = deque()  # bounded by what is asked
        self._given_up: dict[tuple[str, str | None], GivenUp] = {}
        self._askers = 0
        self._wake: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._told) + len(self._arrivals)

    @property
    def full(self) -> bool:
        """More waits than may."""
        return self._arrivals.size >= self._limit

    def put(self, arrivals: list[Arrival]) -> None:
        """Add arrivals; the caller looks at `full` and stops reading."""
        self._arrivals.add(arrivals, sum([len(one.payload) for one in arrivals]) + OVERHEAD * len(arrivals))
        if self._arrivals.size >= self._limit and any(one.sheddable for one in arrivals):
            for one in self._arrivals.shed(int(KEPT * self._limit), _sheddable):
                self._give_up(one)
        self._notify()

    def tell(self, event: Told) -> None:
        """Add the end of something that a turn began; it goes before all arrivals."""
        self._told.append(event)
        self._notify()

    def given_up(self) -> Collection[GivenUp]:
        """Messages given up since the last call, by topic, and questions by who asked.

        Of more than `ASKERS` Response Topics the others are left out, and what was asked with them is one count.
        """
        if not self._given_up:
            return ()
        given_up, self._given_up, self._askers = self._given_up, {}, 0
        return given_up.values()

    def _give_up(self, one: Arrival) -> None:
        key = one.topic, one.reply_to
        found = self._given_up.get(key)
        if found is None and one.reply_to is not None:
            if self._askers < ASKERS:
                self._askers += 1
            else:
                key = one.topic, None
                found = self._given_up.get(key)
        if found is None:
            found = self._given_up[key] = GivenUp(*key, None, 0)
        found.count += 1
        if found.reply_to is not None:
            found.correlation = one.correlation

    def resumed(self, connection: int) -> None:
        """Drop what waits from earlier connections and comes again on this one: the session was resumed."""
        was_full = self.full
        self._arrivals.keep(lambda one: not 0 < one.comes_again < connection)
        if was_full and not self.full:
            self._on_space()

    async def take(
        self, *, most: int, size: int, wait: float, blocked: Callable[[Any], bool] | None = None
    ) -> list[Event]:
        """What is waiting, at most so much; empty when nothing came for about `wait` seconds.

        Args:
            most: arrivals.
            size: bytes after which no more arrivals are taken; one may pass it.
            wait: seconds.
            blocked: owners whose arrivals are to stay.
        """
        events = self._waiting(most, size, blocked)
        if not events and wait > 0:
            await self._something(wait)
            events = self._waiting(most, size, blocked)
        return events

    def _waiting(self, most: int, size: int, blocked: Callable[[Any], bool] | None) -> list[Event]:
        events: list[Event] = list(self._told)
        self._told.clear()
        if len(self._arrivals):
            was_full = self.full
            arrivals = self._arrivals.take(most, size, blocked)
            events = [*events, *arrivals] if events else list[Event](arrivals)
            if was_full and not self.full:
                self._on_space()
        return events

    async def _something(self, wait: float) -> None:
        """Wait for an event. One timer serves many waits: it is due `wait` seconds after the first of them."""
        loop = asyncio.get_running_loop()
        self._wake = loop.create_future()
        if self._timer is None:
            self._timer = loop.call_later(wait, self._due)
        try:
            await self._wake
        finally:
            self._wake = None

    def _due(self) -> None:
        self._timer = None
        self._notify()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


def _size(arrival: Arrival) -> int:
    return OVERHEAD + len(arrival.payload)


def _sheddable(arrival: Arrival) -> bool:
    return arrival.sheddable
