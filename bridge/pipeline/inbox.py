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

OVERHEAD = 512  # bytes counted for a message besides its payload; what it says of itself may take `SHORT` of them
SHORT = 256
FREE = 128  # characters of a topic that are not looked at
KEPT = 0.75  # of the limit, when something has to be given up: not again at the very next message
TOPICS = 1_024  # of which is remembered, until it is told, that messages were given up
ASKERS = 1_024  # Response Topics of which is remembered, until it is told, that their questions were given up
LONG = 1_024  # characters of a topic, and of what a question gives to be answered by, that are not remembered
ELSEWHERE = "", None  # stands for all topics that are not remembered


class GivenUp(msgspec.Struct):
    """Messages given up for want of room.

    Attributes:
        topic: where they came; "" for many topics.
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
        on_full: called when it is full again after that, by what a turn gave back.
    """

    def __init__(
        self,
        limit: int,
        on_space: Callable[[], None],
        owner: Callable[[str, str | None], Hashable],
        on_full: Callable[[], None] = lambda: None,
    ) -> None:
        self._limit = limit
        self._on_space = on_space
        self._on_full = on_full
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
        size = sum([len(one.payload) for one in arrivals]) + OVERHEAD * len(arrivals)
        said = [one for one in arrivals if one.reply_to is not None or one.content_type or len(one.topic) > FREE]
        was_full = self.full
        self._arrivals.add(arrivals, size + sum(map(_said, said)) if said else size)
        if self._arrivals.size >= self._limit and any(one.sheddable for one in arrivals):
            for one in self._arrivals.shed(int(KEPT * self._limit), _sheddable):
                self._give_up(one)
            if was_full and not self.full:  # what came before a reset is read though the door is shut
                self._on_space()
        self._notify()

    def tell(self, event: Told) -> None:
        """Add the end of something that a turn began; it goes before all arrivals."""
        self._told.append(event)
        self._notify()

    def given_up(self) -> Collection[GivenUp]:
        """Messages given up since the last call, by topic, and questions by who asked.

        Of more than `ASKERS` Response Topics the others are left out, and what was asked with them is one count; so is
        what came on further topics than `TOPICS`. Neither is remembered where it is very long.
        """
        if not self._given_up:
            return ()
        given_up, self._given_up, self._askers = self._given_up, {}, 0
        return given_up.values()

    def _give_up(self, one: Arrival) -> None:
        found = self._given_up.get(key := self._told_of(one))
        if found is None:
            found = self._given_up[key] = GivenUp(*key, None, 0)
            self._askers += found.reply_to is not None
        found.count += 1
        if found.reply_to is not None:
            found.correlation = one.correlation

    def _told_of(self, one: Arrival) -> tuple[str, str | None]:
        """Topic and Response Topic under which it is told that this message was given up."""
        known, topic, reply_to = self._given_up, one.topic, one.reply_to
        if len(topic) > LONG:
            return ELSEWHERE
        if (
            reply_to is not None
            and len(reply_to) + len(one.correlation or b"") <= LONG
            and (self._askers < ASKERS or (topic, reply_to) in known)
        ):
            return topic, reply_to
        if len(known) - self._askers < TOPICS or (topic, None) in known:
            return topic, None
        return ELSEWHERE

    def give_back(self, events: list[Event], taken: Arrival) -> None:
        """Put arrivals of the last `take` back: a turn has enough of them.

        Args:
            events: the last ones that were handed out.
            taken: the one before them, which was enough; others come before its owner's next ones.
        """
        was_full = self.full
        self._arrivals.give_back([one for one in events if isinstance(one, Arrival)], taken)
        if self.full and not was_full:
            self._on_full()

    def resumed(self, connection: int, *, since: int = 0) -> None:
        """Drop what waits from earlier connections of the session and comes again on this one.

        Args:
            connection: number of this connection.
            since: number of the one on which the session began: what came before it does not come again.
        """
        was_full = self.full
        first = max(since, 1)
        self._arrivals.keep(lambda one: not first <= one.comes_again < connection)
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
    return OVERHEAD + len(arrival.payload) + _said(arrival)


def _said(arrival: Arrival) -> int:
    """Bytes of what a message says of itself, beyond what is usual."""
    topic = arrival.topic if len(arrival.topic) > FREE else ""
    said = (topic, arrival.content_type, arrival.reply_to, arrival.correlation)
    return max(0, sum([_bytes(one) for one in said if one is not None]) - SHORT)


def _bytes(text: str | bytes) -> int:
    """At most; always the same for the same text, unlike what Python says, which may keep another form of it."""
    return len(text) if text.isascii() else 4 * len(text)


def _sheddable(arrival: Arrival) -> bool:
    return arrival.sheddable
