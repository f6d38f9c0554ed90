"""The one container for everything that strangers can make grow: bounded in entries, in bytes and in age."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Entry(NamedTuple, Generic[V]):
    value: V
    size: int
    touched: float


class Bounded(Generic[K, V]):
    """A least-recently-used mapping; `now` is an argument, in seconds of any monotonic clock.

    Attributes:
        size: bytes held, by the callers' own count.
    """

    def __init__(self, *, entries: int, size: float = float("inf"), age: float = float("inf")) -> None:
        """Set the bounds.

        Args:
            entries: most entries held, at least 1.
            size: most bytes held; an entry larger than this is not kept at all.
            age: seconds after its last use when an entry ends.
        """
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._most = entries
        self._most_bytes = size
        self._age = age
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[K]:
        """Keys, the least recently used first."""
        return iter(self._entries)

    def put(self, key: K, value: V, size: int, now: float) -> None:
        """Keep a value that counts for `size` bytes, at the expense of those unused for longest."""
        self.drop(key)
        self._expire(now)
        if size > self._most_bytes:
            return
        while len(self._entries) >= self._most or self.size + size > self._most_bytes:
            self._drop_oldest()
        self._entries[key] = _Entry(value, size, now)
        self.size += size

    def get(self, key: K, now: float) -> V | None:
        """The value, which counts as used now; None if it is not held (any more)."""
        self._expire(now)
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries[key] = entry._replace(touched=now)
        self._entries.move_to_end(key)
        return entry.value

    def drop(self, key: K) -> None:
        """Forget a key, if it is held."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size -= entry.size

    def _expire(self, now: float) -> None:
        while self._entries and next(iter(self._entries.values())).touched + self._age <= now:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, entry = self._entries.popitem(last=False)
        self.size -= entry.size
