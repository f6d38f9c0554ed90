"""The one driver loop. A message goes left to right and never back.

::

    admit → window → infer → place → commit → publish → settle

A turn takes everything that waits, so that rows of many devices share one run of the model and one commit; but what its
messages become, however packed they came, is bounded, and the rest waits for the next. What takes long leaves the turn:
the cloud's answers and those of slow models re-enter as events. Nothing is settled (acknowledged, receipted) before it
is safe: a message all of whose windows the bridge answers is settled after the Results' PUBACKs, any other when its
rows or questions are committed to the journal.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from bridge.errors import StoreError
from bridge.ledger import source
from bridge.pipeline import restore
from bridge.pipeline.arrival import Arrival
from bridge.pipeline.decider import Decider
from bridge.pipeline.intake import Intake
from bridge.pipeline.lanes import Computed
from bridge.pipeline.placing import Curve
from bridge.pipeline.turn import Turn
from bridge.store.database import Broken
from bridge.store.records import Changes
from bridge.store.waiting import until_room

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable, Mapping

    from bridge.offload.client import CloudClient
    from bridge.pipeline.admit import Admission
    from bridge.pipeline.inbox import Event, Inbox
    from bridge.pipeline.outbound import Outbound
    from bridge.pipeline.routes import Owner, RouteTable
    from bridge.pipeline.window import Windower
    from bridge.runtime.port import Engine
    from bridge.store.journal import Journal
    from bridge.store.kept import Published
    from bridge.store.records import Saved

log = logging.getLogger("bridge.pipeline")

MOST = 1_024  # events in one turn
SIZE = 1 << 21  # bytes after which a turn takes no more: a window of another device must not wait for a flood
MADE = 1 << 23  # bytes of rows and windows after which it ends: 2 MiB of messages can unpack to hundreds
BREATH = 0.25  # seconds after which a turn runs without events, to look at gaps


class Pipeline:
    """Takes arrivals from the inbox until `drain`.

    Attributes:
        counts: what happened so far, by name.
        stalled: the journal refuses; nothing new can be made safe.
        at_rest: called after each turn, when each window is either done or somebody's work.
        taken_up: set once it goes on where the last process stopped.
    """

    def __init__(
        self,
        *,
        inbox: Inbox,
        admission: Admission,
        table: RouteTable,
        windower: Windower,
        engines: dict[str, Engine],
        journal: Journal,
        outbound: Outbound,
        cloud: CloudClient | None,
        counts: Counter[str],
        published: Callable[[], Awaitable[Published]] | None = None,
        curves: Mapping[str, Curve] | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            inbox: where doors and the cloud put events.
            admission: decodes and routes.
            table: the routes, to take up journalled series.
            windower: cuts rows.
            engines: the bridge's engine of each model.
            journal: what must outlive this process.
            outbound: the way out.
            cloud: the cloud, if one is configured.
            counts: where to count.
            published: asked which windows earlier processes published Results of, when the journal is new or damaged.
            curves: how likely the cloud is right, by model; nothing is known of one that is not there.
        """
        self._published = published
        self._inbox = inbox
        self._decider = Decider(engines, cloud, windower, outbound, inbox.tell, counts, curves or {})
        self._intake = Intake(admission, windower, outbound, self._decider.open, counts)
        self._table = table
        self._windower = windower
        self._journal = journal
        self._out = outbound
        self._cloud = cloud
        self._draining = asyncio.Event()
        self.counts = counts
        self.stalled = False
        self.at_rest: Callable[[], None] = _nothing
        self.taken_up = asyncio.Event()

    @property
    def open(self) -> int:
        """Windows that the journal keeps until the cloud or a slow model has answered, or earlier windows have."""
        return len(self._decider.open)

    def works_at(self, window: str) -> bool:
        """Whether this window waits for a lane or the cloud, or its Result for the broker."""
        return window in self._decider.open or self._out.waiters.waits_for(window)

    def swap(self, engine: Engine, curve: Curve | None = None) -> None:
        """Answer with another version of its model from the next turn on; nothing waits, nothing is dropped."""
        self._decider.swap(engine, curve or Curve())

    async def run(self) -> None:
        """Take up the journal, then turn until drained.

        Raises:
            StoreError: the journal cannot be read, or was found damaged, which the next start recovers.
            ModelError: an engine failed; what was not settled comes again after a restart.
        """
        saved = await until_room(self._journal.load, self._draining)
        if saved is None:
            return
        if self._published is not None and (self._journal.recovered or not saved.series):
            earlier = await self._published()
            self._out.waiters.published(earlier)
            self._windower.lost |= earlier.series
        await self._take_up(saved)
        self.taken_up.set()
        try:
            while not self._draining.is_set() or len(self._inbox):
                if self._out.full:
                    await self._out.room()  # not after `take`: what lanes end meanwhile must come first
                blocked = self._crowded if self._decider.crowded else None
                most = min(MOST, self._out.most)
                events = await self._inbox.take(most=most, size=SIZE, wait=BREATH, blocked=blocked)
                await self._turn(events, most)
                self.at_rest()
        finally:
            self._decider.close()

    def _crowded(self, owner: Owner) -> bool:
        """Whether messages of this owner are for a model for which too much waits already; others go on."""
        return owner.model in self._decider.crowded

    async def drain(self, patience: float) -> None:
        """Finish what waits: the inbox, then questions to the cloud for so many seconds; the journal keeps the rest."""
        end = time.monotonic() + patience
        while not self._idle() and time.monotonic() < end:  # noqa: ASYNC110 # three owners' states, only at the end
            await asyncio.sleep(0.02)
        self._draining.set()

    def _idle(self) -> bool:
        return self.stalled or (self._decider.idle and not len(self._inbox))

    async def finish(self) -> None:
        """Strike from the journal what the broker took at the very end."""
        if self.taken_up.is_set():
            await self._commit(Changes(taken=self._out.taken()))

    async def _turn(self, events: list[Event], most: int) -> None:
        """Handle events; messages beyond so many windows, or beyond `MADE` bytes, go back to the inbox."""
        turn = Turn(now=time.monotonic(), wall=time.time())
        for handled, event in enumerate(events, 1):
            if isinstance(event, Arrival):
                self._intake.take(event, turn)
                if turn.made >= MADE or len(turn.cuts) >= most:
                    self._inbox.give_back(events[handled:], event)
                    break
            elif isinstance(event, Computed):
                self._decider.computed(event, turn)
            else:
                self._decider.answering.cloud_said(event, turn)
        if given_up := self._inbox.given_up():
            self._intake.overload(given_up, turn)
        self._intake.expire(turn)
        self._note_series(turn)
        self._decide(turn)
        refused = self._out.refused_by_broker()
        turn.changes.results.extend(saved for saved, _ in refused)
        turn.changes.taken.extend(self._out.taken())
        if turn.changes:
            await self._commit(turn.changes)
        self._tell(turn)
        self._intake.count(turn)
        if refused:
            self._out.settle([ticket for _, tickets in refused for ticket in tickets])

    def _decide(self, turn: Turn) -> None:
        self._decider.infer(turn)
        for cut in turn.computed:
            self._decider.place(cut, turn)
        self._decider.answering.keep_order(turn)

    def _note_series(self, turn: Turn) -> None:
        if self._journal.recovered:
            restore.note_forgotten(turn.touched.values())
        evicted = self._windower.evicted
        for key in evicted:
            entry = self._windower.entry(key)
            if entry is None:
                turn.touched.pop(key, None)
            else:  # begun anew, or back, in the same turn: what the journal forgets it is told again
                turn.touched[key] = entry
        restore.save(turn.touched.values(), turn.kept, turn.changes)
        if evicted:
            self._note_pushed_out(turn)
        self._out.book.turn([*turn.cuts, *turn.repeats], turn.touched, turn.wall)
        for cut in turn.repeats:
            self._out.book.answered(cut.window.id)

    def _note_pushed_out(self, turn: Turn) -> None:
        evicted, pushed_out, book = self._windower.evicted, self._windower.pushed_out, self._out.book
        for lost, rows in pushed_out.lost:
            lost.pushed_out = turn.wall
            book.pushed_out(rows)
        pushed_out.warn(turn.now)
        still = [entry for key in dict.fromkeys(evicted) if (entry := pushed_out.get(key)) is not None]
        turn.changes.series.extend([restore.save_series(entry) for entry in still])
        turn.changes.forgotten.extend([*evicted, *pushed_out.gone])
        book.evicted(pushed_out.gone)
        for noted in (evicted, pushed_out.gone, pushed_out.lost):
            noted.clear()

    async def _commit(self, changes: Changes) -> None:
        """Make the turn safe; while the disk refuses, the pipeline stands still and so do its senders."""
        record = self._journal.prepare(changes)
        while record is not None:
            try:
                await asyncio.to_thread(self._journal.write, record)
            except StoreError as why:
                if self._draining.is_set() or isinstance(why, Broken):
                    raise
                if not self.stalled:
                    log.error("%s; nothing is acknowledged until it can be written", why)  # noqa: TRY400 # the message says it all
                self.stalled = True
                await asyncio.sleep(1.0)
            else:
                self._journal.done(record)
                break
        if self.stalled:
            log.warning("the journal takes writes again")
            self.stalled = False

    def _tell(self, turn: Turn) -> None:
        if turn.again:
            self._out.again(turn.again)
        if turn.publish:
            self._out.results(turn.publish)
        if turn.refusals:
            self._out.refusals(turn.refusals, turn.now)
        if self._cloud is not None:
            self._ask_cloud(self._cloud, turn)
        self._out.settle(turn.tickets)

    @staticmethod
    def _ask_cloud(cloud: CloudClient, turn: Turn) -> None:
        if turn.ask:
            cloud.ask_all(turn.ask)
        for window in turn.cancel:
            cloud.cancel(window)
        for one, private in turn.explore:
            cloud.explore(one.model, one.values, turn.now, private)

    async def _take_up(self, saved: Saved) -> None:
        """Continue where the last process stopped."""
        turn = Turn(now=time.monotonic(), wall=time.time())
        saved, answered = restore.still_open(saved, self._out.waiters.was_published)
        turn.changes = restore.take_up_series(saved, self._table, self._windower, now=turn.now)
        if turn.changes.series:
            what = "%d series: rows given up whose model takes other channels since; see the ledger, rule model"
            log.warning(what, len(turn.changes.series))
        turn.changes.answered.extend(answered)
        source.take_up(self._out.book, self._windower.entries, saved, self._table)
        for known in saved.decided:
            self._windower.remember(known)
        self._decider.take_up(saved, self._table, turn)
        self._decide(turn)
        if saved.series or saved.asked or saved.results:
            log.info(
                "taken up from the journal: %d series, %d open questions, %d results",
                len(saved.series), len(saved.asked), len(saved.results),
            )  # fmt: skip
        await self._commit(turn.changes)
        self._tell(turn)
        for window in answered:
            self._out.waiters.publish_again(window)


def _nothing() -> None:
    """Nobody wants to know."""
