"""The newest Result of every path, and who is told when it changes (RFC 7641)."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from bridge.coap.bounded import Bounded


class Observer:
    """One peer's interest in one path.

    Attributes:
        path: the result path.
        latest: the newest payload; a slow observer skips those in between, as RFC 7641 section 1.3 allows.
        changed: set when `latest` is newer than what was sent, or the server stops.
    """

    def __init__(self, path: str, latest: bytes) -> None:
        self.path = path
        self.latest = latest
        self.changed = asyncio.Event()


class Results:
    """Newest payloads, least recently used ones forgotten first, and their observers."""

    def __init__(self, *, max_results: int, max_observers: int) -> None:
        self._newest: Bounded[str, bytes] = Bounded(entries=max_results)
        self._observers: defaultdict[str, set[Observer]] = defaultdict(set)
        self._count = 0
        self._max_observers = max_observers
        self.closed = False

    @property
    def observers(self) -> int:
        """Observers there are."""
        return self._count

    def paths(self) -> list[str]:
        """Paths with a Result, the most recently used first."""
        return list(self._newest)[::-1]

    def publish(self, path: str, payload: bytes) -> None:
        """Keep the newest payload and wake who observes the path."""
        self._newest.put(path, payload, len(payload), 0.0)
        for observer in self._observers.get(path, ()):
            observer.latest = payload
            observer.changed.set()

    def newest(self, path: str) -> bytes | None:
        """The newest payload of a path; None if there was none, or none of late."""
        return self._newest.get(path, 0.0)

    def observe(self, path: str, latest: bytes) -> Observer | None:
        """Add an observer; None when there are too many already, or the server stops."""
        if self.closed or self._count >= self._max_observers:
            return None
        observer = Observer(path, latest)
        self._observers[path].add(observer)
        self._count += 1
        return observer

    def leave(self, observer: Observer) -> None:
        """Take an observer away."""
        watching = self._observers.get(observer.path, set())
        if observer in watching:
            watching.remove(observer)
            self._count -= 1
            if not watching:
                del self._observers[observer.path]

    def close(self) -> None:
        """Wake all observers so that they can be told that the server stops."""
        self.closed = True
        for watching in self._observers.values():
            for observer in watching:
                observer.changed.set()
