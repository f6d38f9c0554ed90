"""The outbox as the event loop sees it: one thread does the work, what gathers meanwhile is one commit.

A row is accepted when the commit that holds it has returned. A store that refuses (full disk) is asked again every
second; until then the buffer stays full and the source waits.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from bridge.errors import StoreError
from bridge.store.database import Broken
from bridge.store.outbox import Append, Change, End, Outbox, Release

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

_T = TypeVar("_T")

MOST_ROWS = 8192  # rows in memory that wait for their commit; the source waits beyond
AT_ONCE = 1024  # rows that are committed without waiting for more
RETRY = 1.0
HOUSEKEEPING = 5.0


class Keeper:
    """Group commit for one outbox.

    Args:
        open_outbox: opens it, in the keeper's thread.
        clock: seconds since 1970.
        commit_wait: seconds that rows may gather.
    """

    def __init__(self, open_outbox: Callable[[], Outbox], *, clock: Callable[[], float], commit_wait: float) -> None:
        self._open_outbox = open_outbox
        self._clock = clock
        self._commit_wait = commit_wait
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._rows = 0
        self._waiting: list[tuple[Append | End, asyncio.Future[int]]] = []
        self._releases: list[Release] = []
        self._changed = asyncio.Event()
        self._hurry = asyncio.Event()
        self._room = asyncio.Condition()
        self._committed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.box: Outbox

    async def open(self) -> None:
        """Opens the outbox.

        Raises:
            StoreError: it cannot be opened.
        """
        self.box = await self.call(self._open_outbox)

    async def call(self, work: Callable[[], _T]) -> _T:
        """Runs work with the outbox in its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def append(self, append: Append) -> asyncio.Future[int]:
        """Takes rows; waits while too many wait for their commit already.

        Returns:
            A future that is done once they are on disk: the number of the first.
        """
        async with self._room:
            await self._room.wait_for(lambda: self._rows < MOST_ROWS)
        self._rows += len(append.values)
        if self._rows >= AT_ONCE:
            self._hurry.set()
        return self._add(append)

    def end(self, series: int) -> asyncio.Future[int]:
        """No more rows will come; the future is done once that is on disk."""
        return self._add(End(series))

    def release(self, changes: list[Release]) -> None:
        """Forgets rows, with the next commit."""
        self._releases += changes
        self._changed.set()
        self._idle.clear()

    def next_commit(self) -> asyncio.Event:
        """Set when something has been committed from now on."""
        self._committed.clear()
        return self._committed

    async def flush(self) -> None:
        """Returns when everything taken until now is on disk."""
        self._hurry.set()
        await self._idle.wait()

    async def run(self) -> None:
        """Commits, until cancelled.

        Raises:
            StoreError: the file is damaged; a restart sets it aside.
        """
        told = ""
        while True:
            await self._changed.wait()
            await self._gather()
            try:
                stuck = not await self._commit()
                told = ""
            except Broken:
                raise
            except StoreError as why:
                if str(why) != told:
                    log.error("%s; trying again every %.0f s, the source waits", why, RETRY)  # noqa: TRY400 # no bug
                told, stuck = str(why), True
            if stuck:
                self._changed.clear()
                await self._pause(RETRY)

    async def keep_house(self) -> None:
        """Drops what is too old, until cancelled."""
        while True:
            try:
                dropped = await self.call(lambda: self.box.expire(self._clock()))
                if dropped:
                    self._committed.set()
                    log.warning("%d rows were older than max_age and are dropped", dropped)
            except StoreError as why:
                log.warning("%s", why)
            await asyncio.sleep(HOUSEKEEPING)

    async def close(self) -> None:
        """Closes the file."""
        await self.call(self.box.close)
        self._thread.shutdown()

    def _add(self, change: Append | End) -> asyncio.Future[int]:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, done))
        self._changed.set()
        self._idle.clear()
        return done

    async def _gather(self) -> None:
        await self._pause(self._commit_wait)
        self._hurry.clear()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            return
        if seconds == RETRY:  # a hurry must not become a busy loop while the store refuses
            self._hurry.clear()
            await asyncio.sleep(RETRY)

    async def _commit(self) -> bool:
        """One transaction; whether everything found room."""
        count, size = 0, 0
        for change, _ in self._waiting:
            more = change.size if isinstance(change, Append) else 0
            if not self.box.has_room(size + more):
                break
            count, size = count + 1, size + more
        now, releases = self._waiting[:count], self._releases
        before, self._releases = self.box.bytes, []
        changes: list[Change] = [*releases, *(change for change, _ in now)]
        try:
            numbers = await self.call(lambda: self.box.apply(changes, self._clock()))
        except StoreError:
            self._releases = releases + self._releases
            raise
        self._committed.set()
        del self._waiting[:count]
        for (_, done), number in zip(now, numbers[len(releases) :], strict=True):
            if not done.done():
                done.set_result(-1 if number is None else number)
        async with self._room:
            self._rows -= sum(len(change.values) for change, _ in now if isinstance(change, Append))
            self._room.notify_all()
        if not self._waiting and not self._releases:
            self._changed.clear()
            self._idle.set()
        progress = bool(count) or self.box.bytes < before
        if not progress and self._waiting:
            log.warning("the outbox is full (max_bytes): the source waits until rows are receipted")
        return progress or not self._waiting
