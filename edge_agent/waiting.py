"""What waits for its commit, in order, and who wants to know of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from bridge.store.outbox import Append, End

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.errors import BridgeError
    from bridge.store.outbox import Outbox

MOST_ROWS = 8192  # rows in memory; the source waits beyond


class Waiting:
    """See the module.

    Attributes:
        rows: of all that waits.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._taken: list[_Taken] = []
        self._room = asyncio.Event()

    def __len__(self) -> int:
        return len(self._taken)

    @property
    def has_room(self) -> bool:
        """Whether a source need not wait until rows are on disk."""
        return self.rows < MOST_ROWS

    async def room(self) -> None:
        """Returns when it need not."""
        while not self.has_room:
            self._room.clear()
            await self._room.wait()

    def add(self, change: Append | End, then: Callable[[int], None]) -> asyncio.Future[int]:
        """Waits from now on; `then` is called after its commit, and the future gets the same number."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._taken.append(_Taken(change, done, then))
        if isinstance(change, Append):
            self.rows += len(change.values)
        return done

    def fitting(self, box: Outbox) -> list[Append | End]:
        """The first, as many as there is room for in the outbox."""
        found: list[Append | End] = []
        size = 0
        for one in self._taken:
            more = one.change.size if isinstance(one.change, Append) else 0
            if not box.has_room(size + more):
                break
            found.append(one.change)
            size += more
        return found

    def committed(self, places: list[tuple[int, int]], numbers: list[int | None]) -> None:
        """The first are on disk; there is room for others.

        Args:
            places: for each, which of `numbers` is its, and how many rows away from that it begins.
            numbers: of the first rows of what was written.
        """
        taken = self._taken[: len(places)]
        del self._taken[: len(taken)]
        firsts = [-1 if (number := numbers[place]) is None else number + away for place, away in places]
        for one, first in zip(taken, firsts, strict=True):
            if not one.done.done():
                one.done.set_result(first)
            if isinstance(one.change, Append):
                self.rows -= len(one.change.values)
        self._room.set()
        for one, first in zip(taken, firsts, strict=True):  # last: should one fail, the others are on disk all the same
            one.then(first)

    def abandon(self, why: BridgeError) -> None:
        """There will be no commit: whoever waits for it is told why."""
        for one in self._taken:
            if not one.done.done():
                one.done.set_exception(why)


class _Taken(NamedTuple):
    change: Append | End
    done: asyncio.Future[int]
    then: Callable[[int], None]
