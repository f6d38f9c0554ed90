"""What waits for the pipeline, bounded in bytes: doors stop reading before memory grows."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from bridge.offload.client import Answered, Unanswered
from bridge.pipeline.arrival import Arrival

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Event: TypeAlias = Arrival | Answered | Unanswered

OVERHEAD = 512  # bytes counted for a message besides its payload


class Inbox:
    """A queue that hands out everything waiting at once.

    Args:
        limit: bytes above which it is full.
        on_space: called when a full inbox has room again.
    """

    def __init__(self, limit: int, on_space: Callable[[], None]) -> None:
        self._limit = limit
        self._on_space = on_space
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._waiting = asyncio.Event()

    def __len__(self) -> int:
        return len(self._events)

    @property
    def full(self) -> bool:
        """More waits than may."""
        return self._bytes >= self._limit

    def put(self, events: Iterable[Event]) -> None:
        """Add events; the caller looks at `full` and stops reading."""
        for event in events:
            self._events.append(event)
            self._bytes += _size(event)
        self._waiting.set()

    def resumed(self, connection: int) -> None:
        """Drop what waits from earlier connections and comes again on this one: the session was resumed."""
        was_full = self.full
        kept = [event for event in self._events if not _comes_again(event, connection)]
        self._events = deque(kept)
        self._bytes = sum(map(_size, kept))
        if was_full and not self.full:
            self._on_space()

    async def take(self, *, most: int, size: int, wait: float) -> list[Event]:
        """What is waiting, at most so much; empty when nothing came for `wait` seconds.

        Args:
            most: events.
            size: bytes after which nothing more is taken; one event may pass it.
            wait: seconds.
        """
        if not self._events:
            self._waiting.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._waiting.wait()
            except TimeoutError:
                return []
        was_full = self.full
        taken: list[Event] = []
        left = size
        while self._events and len(taken) < most and left > 0:
            event = self._events.popleft()
            taken.append(event)
            left -= _size(event)
        self._bytes -= size - left
        if was_full and not self.full:
            self._on_space()
        return taken


def _size(event: Event) -> int:
    return OVERHEAD + (len(event.payload) if isinstance(event, Arrival) else 0)


def _comes_again(event: Event, connection: int) -> bool:
    return isinstance(event, Arrival) and 0 < event.comes_again < connection
