"""The outbox as the event loop sees it: one thread does the work, what gathers meanwhile is one commit.

A row is accepted when the commit that holds it has returned. A store that refuses (full disk, read-only disk) is asked
again every second; until then the buffer stays full and the source waits. Where the disk is full and the rule is to
give up old rows, some are given up first.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from bridge.errors import StoreError
from bridge.store.age import AgeClock
from bridge.store.database import Broken, Full
from bridge.store.outbox import Append, Change, End, Outbox, Release
from edge_agent.joining import join

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

_T = TypeVar("_T")

MOST_ROWS = 8192  # rows in memory that wait for their commit; the source waits beyond
AT_ONCE = 1024  # rows that are committed without waiting for more
RETRY = 1.0
HOUSEKEEPING = 5.0
NOTE = 60.0  # seconds between two notes of the time, for ages across a restart


class Keeper:
    """Group commit for one outbox.

    Args:
        open_outbox: opens it, in the keeper's thread.
        clock: seconds since 1970.
        mono: monotonic seconds.
        commit_wait: seconds that rows may gather.
        longest_pause: seconds that pauses between lives of the agent add to the age of rows, at most, until it has
            run for as long again.

    Attributes:
        trouble: why the store refuses, while it does.
    """

    def __init__(
        self,
        open_outbox: Callable[[], Outbox],
        *,
        clock: Callable[[], float],
        mono: Callable[[], float],
        commit_wait: float,
        longest_pause: float = 0.0,
    ) -> None:
        self._open_outbox = open_outbox
        self._clock = clock
        self._mono = mono
        self._longest_pause = longest_pause
        self._given_up: Callable[[], None] = lambda: None
        self._version = 0
        self._noted: float | None = None  # when the time was noted last, of this life
        self._opened = False
        self._full = False
        self.trouble = ""
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
        self._opened = True
        saved = await self.call(self.box.moment)
        self._age = AgeClock(saved, wall=self._clock(), mono=self._mono(), most=self._longest_pause)

    def listen(self, given_up: Callable[[], None]) -> None:
        """Has this called whenever rows were given up by a rule, or the bridge knows of some that were."""
        self._given_up = given_up

    async def call(self, work: Callable[[], _T]) -> _T:
        """Runs work with the outbox in its thread; a file found damaged is recovered by the next start."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, work)
        except Broken:
            if self._opened:
                await loop.run_in_executor(self._thread, self.box.condemn)
            raise

    async def append(self, append: Append) -> asyncio.Future[int]:
        """Takes rows; waits while too many wait for their commit already.

        Returns:
            A future that is done once they are on disk: the number of the first.
        """
        if self._rows >= MOST_ROWS:
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
            StoreError: the file is damaged; a restart recovers what can be read.
        """
        while True:
            await self._changed.wait()
            await self._gather()
            try:
                stuck = not await self._commit()
                self._well()
            except Broken:
                raise
            except StoreError as why:
                stuck = not (isinstance(why, Full) and await self._make_room())
                if stuck:
                    self._ill(str(why))
            if stuck:
                await self._pause(RETRY)

    async def keep_house(self) -> None:
        """Drops what is too old, until cancelled."""
        while True:
            try:
                dropped = await self.call(lambda: self.box.expire(*self._now()))
                self._look()
                if dropped:
                    log.warning("%d rows were older than max_age, or damaged, and are dropped", dropped)
                if self._noted is None or self._mono() - self._noted >= NOTE:
                    await self._note()
            except Broken:
                raise
            except StoreError as why:
                self._ill(str(why))
            await asyncio.sleep(HOUSEKEEPING)

    async def close(self) -> None:
        """Closes the file."""
        with suppress(StoreError):  # ages count from the note before, then
            await self._note()
        await self.call(self.box.close)
        self._thread.shutdown()

    def _now(self) -> tuple[float, float]:
        """The moment, by the clock of ages and by the wall."""
        return self._age.at(self._mono()), self._clock()

    async def _note(self) -> None:
        mono = self._mono()
        moment = self._age.moment(mono, self._clock())
        await self.call(lambda: self.box.note(moment))
        self._noted = mono

    def _look(self) -> None:
        """Tells whether rows were given up since it looked last."""
        if self.box.given_up.version != self._version:
            self._version = self.box.given_up.version
            self._committed.set()
            self._given_up()

    def _ill(self, why: str) -> None:
        if why != self.trouble:
            log.error("%s; trying again every %.0f s, the source waits", why, RETRY)
        self.trouble = why

    def _well(self) -> None:
        if self.trouble:
            log.warning("the outbox takes rows again (it said: %s)", self.trouble)
        self.trouble = ""

    async def _make_room(self) -> bool:
        """The disk is full: gives up rows, if that is the rule; whether there were any."""
        try:
            rows = await self.call(lambda: self.box.make_room(*self._now()))
        except StoreError:
            return False
        if rows:
            log.warning("the disk is full: %d rows are given up by the rule for a full outbox", rows)
        self._look()
        return rows > 0

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
        if self._noted is None:  # before the first rows of this life: a kill must not make them older
            await self._note()
        count, size = 0, 0
        for change, _ in self._waiting:
            more = change.size if isinstance(change, Append) else 0
            if not self.box.has_room(size + more):
                break
            count, size = count + 1, size + more
        now, releases = self._waiting[:count], self._releases
        before, self._releases = self.box.bytes, []
        joined = join([change for change, _ in now])
        changes: list[Change] = [*releases, *joined.changes]
        try:
            numbers = await self.call(lambda: self.box.apply(changes, *self._now()))
        except StoreError:
            self._releases = releases + self._releases
            raise
        self._committed.set()
        self._look()
        del self._waiting[:count]
        numbers = numbers[len(releases) :]
        for (_, done), (place, away) in zip(now, joined.places, strict=True):
            number = numbers[place]
            if not done.done():
                done.set_result(-1 if number is None else number + away)
        async with self._room:
            self._rows -= sum(len(change.values) for change, _ in now if isinstance(change, Append))
            self._room.notify_all()
        if not self._waiting and not self._releases:
            self._changed.clear()
            self._idle.set()
        progress = bool(count) or self.box.bytes < before
        if not progress and self._waiting and not self._full:
            log.warning("the outbox is full (max_bytes): the source waits until rows are receipted")
        self._full = not progress and bool(self._waiting)
        return progress or not self._waiting
