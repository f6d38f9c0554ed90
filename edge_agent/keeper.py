"""The outbox as the event loop sees it: one thread does the work, what gathers meanwhile is one commit.

A row is accepted when the commit that holds it has returned. A store that refuses (full disk, read-only disk) is asked
again every second; until then the buffer stays full and the source waits. Where the disk is full and the rule is to
give up old rows, some are given up first.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from bridge.errors import BridgeError, StoreError
from bridge.store.age import AgeClock
from bridge.store.database import Broken, Full
from bridge.store.outbox import Append, Change, End, Outbox
from edge_agent.joining import Joined, join, merged
from edge_agent.newest import Newest
from edge_agent.one_thread import OneThread
from edge_agent.releases import Releases
from edge_agent.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.store.outbox import Release

log = logging.getLogger(__name__)

_T = TypeVar("_T")

AT_ONCE = 1024  # rows that are committed without waiting for more
RETRY = 1.0
HOUSEKEEPING = 5.0
LONE = 0.005  # seconds since the last commit, after which rows need not wait for others to share one
NOTE = 60.0  # seconds between two notes of the time, for ages across a restart
_ALONE = [(0, 0)]


class Keeper:
    """Group commit for one outbox.

    Args:
        open_outbox: opens it, in the keeper's thread.
        clock: seconds since 1970.
        mono: monotonic seconds.
        commit_wait: seconds that rows may gather.
        longest_pause: seconds that pauses between lives of the agent add to the age of rows, at most, until it has
            run for as long again.
        ample: bytes on disk up to which released rows may stay for a while; beyond, room counts.

    Attributes:
        trouble: why the store refuses, while it does.
        newest: the newest rows, as the sender reads them.
    """

    def __init__(
        self,
        open_outbox: Callable[[], Outbox],
        *,
        clock: Callable[[], float],
        mono: Callable[[], float],
        commit_wait: float,
        longest_pause: float = 0.0,
        ample: int = 0,
    ) -> None:
        self._open_outbox = open_outbox
        self._clock = clock
        self._mono = mono
        self._longest_pause = longest_pause
        self._given_up: Callable[[], None] = lambda: None
        self._version = 0
        self._committed_at = float("-inf")  # in the future while one commits
        self._noted: float | None = None  # when the time was noted last, of this life
        self._opened = False
        self._full = False
        self.trouble = ""
        self._commit_wait = commit_wait
        self._ample = ample
        self._thread = OneThread("outbox", mono)
        self._waiting = Waiting()
        self._changed = asyncio.Event()
        self._releases = Releases(self._changed.set)
        self._hurry = asyncio.Event()
        self._committed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.newest = Newest(lambda: self.box, self.call)
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

    async def call(self, work: Callable[[], _T], *, soon: bool = False) -> _T:
        """Runs work with the outbox, as `OneThread` does; a file found damaged is recovered by the next start."""
        try:
            return await (self._thread.run_soon(work) if soon else self._thread.run(work))
        except Broken:
            if self._opened:
                await self._thread.run(self.box.condemn)
            raise

    async def append(self, append: Append, then: Callable[[int], None] = lambda _first: None) -> asyncio.Future[int]:
        """Takes rows; waits while too many wait for their commit already.

        Args:
            append: the rows.
            then: called with the number of the first as soon as they are on disk.

        Returns:
            A future that is done once they are on disk: the number of the first.
        """
        await self.room()
        return self.take(append, then)

    @property
    def has_room(self) -> bool:
        """Whether a source need not wait until others' rows are on disk."""
        return self._waiting.has_room

    async def room(self) -> None:
        """Returns when rows are taken; waits while too many wait for their commit already."""
        await self._waiting.room()

    def take(
        self,
        append: Append,
        then: Callable[[int], None] = lambda _first: None,
        early: Callable[[int], None] | None = None,
    ) -> asyncio.Future[int]:
        """As `append`, whether there is room or not: rows that come alone are on disk when this returns.

        Args:
            append: the rows.
            then: as in `append`.
            early: called with that number where it is certain before they are on disk; they may be sent then.
        """
        done = self._add(append, then)
        if self._waiting.rows >= AT_ONCE:
            self._hurry.set()
        try:
            if self._is_lone():
                self._take_lone(append, early)
        finally:
            if self._waiting:
                self._changed.set()
        return done

    def _take_lone(self, append: Append, early: Callable[[int], None] | None) -> None:
        first = None if early is None else self.newest.promise(append)
        if first is not None and early is not None:
            early(first)
        with suppress(StoreError):  # `run` meets it again, and knows what to do
            self._commit_lone()
            if early is not None:
                self.box.reserve(append.series)

    def _is_lone(self) -> bool:
        """Whether rows that have just come can be committed in the very call: a turn of the loop sooner."""
        quiet = self._mono() - self._committed_at >= LONE and not (self._commit_wait or self.trouble)
        alone = len(self._waiting) == 1 and not self._releases.ripe
        certain = self._noted is not None and not self.newest.early
        return quiet and alone and certain and self._thread.is_prompt

    def end(self, series: int) -> asyncio.Future[int]:
        """No more rows will come; the future is done once that is on disk."""
        done = self._add(End(series), lambda _first: None)
        self._changed.set()
        return done

    def release(self, changes: list[Release]) -> None:
        """Forgets rows, soon; a kill before that only has them sent again."""
        self._idle.clear()
        self._releases.add(self.newest.early.hold(changes), at_once=self.box.bytes > self._ample)

    def wind_down(self) -> None:
        """No more rows will come: what is released is forgotten at once."""
        self._ample = -1
        self._releases.ripen()

    def next_commit(self) -> asyncio.Event:
        """Set when something has been committed from now on."""
        self._committed.clear()
        return self._committed

    async def flush(self) -> None:
        """Returns when everything taken until now is on disk."""
        self._hurry.set()
        self._releases.ripen()
        await self._idle.wait()

    async def run(self) -> None:
        """Commits, until cancelled.

        Raises:
            StoreError: the file is damaged; a restart recovers what can be read.
        """
        while True:
            await self._changed.wait()
            if not self._changed.is_set():  # `append` was quicker
                continue
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
            if stuck and await self._pause(RETRY):  # a hurry must not become a busy loop while the store refuses
                self._hurry.clear()
                await asyncio.sleep(RETRY)

    async def keep_house(self) -> None:
        """Drops what is too old, until cancelled."""
        while True:
            try:
                if self._releases:  # what is safe was not given up
                    await self._apply([])
                    self._rest()
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

    def abandon(self, why: BridgeError) -> None:
        """It has ended: whoever waits for a commit that will not come is told why."""
        self._waiting.abandon(why)

    async def close(self) -> None:
        """Closes the file."""
        try:
            with suppress(StoreError):  # ages count from the note before, then
                await self._note()
        finally:
            try:
                await self.call(self.box.close)
            finally:
                self._thread.close()

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
            self.newest.recent.clear()
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

    def _add(self, change: Append | End, then: Callable[[int], None]) -> asyncio.Future[int]:
        self._idle.clear()
        return self._waiting.add(change, then)

    async def _gather(self) -> None:
        if self._commit_wait:
            await self._pause(self._commit_wait)
        self._hurry.clear()

    async def _pause(self, seconds: float) -> bool:
        """Whether a hurry ended it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._hurry.wait()
        return False

    async def _apply(self, changes: Sequence[Change], *, releasing: bool = True) -> list[int | None]:
        """One transaction, with the releases if they are to be in it; what came of each of the changes.

        Raises:
            StoreError: nothing was changed.
        """
        releases = self._releases.take() if releasing else []
        all_: list[Change] = [*merged(releases), *changes] if releases else [*changes]
        try:
            numbers = await self.call(lambda: self.box.apply(all_, *self._now()), soon=True)
        except StoreError:
            self._releases.put_back(releases)
            raise
        return numbers[len(all_) - len(changes) :]

    def _commit_lone(self) -> None:
        """The rows that wait, alone, in a transaction of their own, in the very call.

        Raises:
            StoreError: nothing was changed.
        """
        changes = self._waiting.fitting(self.box)
        if not changes:
            return
        try:
            numbers = self._thread.run_here(lambda: self.box.apply(changes, *self._now()))
        finally:
            self._committed_at = self._mono()
        self._committed_these(Joined(changes, _ALONE), numbers)

    async def _commit(self) -> bool:
        """One transaction; whether everything found room."""
        self._committed_at = float("inf")
        try:
            return await self._commit_waiting()
        finally:
            self._committed_at = self._mono()

    async def _commit_waiting(self) -> bool:
        if self._noted is None:  # before the first rows of this life: a kill must not make them older
            await self._note()
        asked, before = len(self._waiting), self.box.bytes
        fitting = self._waiting.fitting(self.box)
        count, joined = len(fitting), join(fitting)
        numbers = await self._apply(joined.changes, releasing=self._releases.ripe or count < asked)
        self._committed_these(joined, numbers)
        full = asked > 0 and not count and self.box.bytes >= before  # what came meanwhile was not asked for
        if full and not self._full:
            log.warning("the outbox is full (max_bytes): the source waits until rows are receipted")
        self._full = full
        return not full

    def _committed_these(self, joined: Joined, numbers: list[int | None]) -> None:
        """The first that waited are on disk."""
        if joined.changes and (released := self.newest.committed(joined.changes, numbers)):
            self.release(released)
        self._committed.set()
        self._look()
        self._waiting.committed(joined.places, numbers)
        if not self._waiting and not self._releases.ripe:
            self._changed.clear()
        self._rest()

    def _rest(self) -> None:
        """Tells who waits for the end of all, if that is reached."""
        if not self._waiting and not self._releases:
            self._committed.set()
            self._idle.set()
