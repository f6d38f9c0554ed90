"""The one driver loop. A message goes left to right and never back.

::

    admit → window → infer → place → commit → publish → settle

A turn takes everything that waits, so that rows of many devices share one run of the model and one commit. The cloud's
answers re-enter as events. Nothing is settled (acknowledged, receipted) before it is safe: a message all of whose
windows were answered at once is settled after the Results' PUBACKs, any other when its rows or questions are committed
to the journal.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bridge.errors import Refused, StoreError
from bridge.messages import Answer, Result
from bridge.offload.client import Answered, Unanswered
from bridge.pipeline import restore
from bridge.pipeline.turn import Cut, Refusal, Ticket, Turn
from bridge.pipeline.window import stale
from bridge.place.confidence import CloudView, place
from bridge.store.journal import Changes, SavedResult, SavedRows, SavedWindow
from bridge.topics import result as result_topic

if TYPE_CHECKING:
    from collections import Counter

    from bridge.messages import Placement, SeriesKey, Window
    from bridge.offload.client import CloudClient
    from bridge.pipeline.admit import Admission
    from bridge.pipeline.arrival import Arrival
    from bridge.pipeline.inbox import Event, Inbox
    from bridge.pipeline.outbound import Outbound
    from bridge.pipeline.routes import Route, RouteTable
    from bridge.pipeline.window import Taken, Windower
    from bridge.runtime.port import Engine
    from bridge.store.journal import Journal

log = logging.getLogger("bridge.pipeline")

MOST = 1_024  # events in one turn
BREATH = 0.25  # seconds after which a turn runs without events, to look at gaps
AT_ONCE = 256  # windows copied together for one call of the engine; a turn of big messages has thousands
INLINE = 0.002  # seconds of computing that the event loop may do itself; a thread costs 0.1 ms
NO_CLOUD = CloudView(there=False, why="no cloud is configured")


class Pipeline:
    """Takes arrivals from the inbox until `drain`.

    Attributes:
        counts: what happened so far, by name.
        stalled: the journal refuses; nothing new can be made safe.
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
        """
        self._inbox = inbox
        self._admission = admission
        self._table = table
        self._windower = windower
        self._engines = engines
        self._journal = journal
        self._out = outbound
        self._cloud = cloud
        self._open: dict[str, tuple[SavedWindow, Window, Ticket | None]] = {}
        self._draining = asyncio.Event()
        self.counts = counts
        self.stalled = False

    @property
    def open(self) -> int:
        """Windows that wait for the cloud."""
        return len(self._open)

    async def run(self) -> None:
        """Take up the journal, then turn until drained.

        Raises:
            StoreError: the journal cannot be read.
            ModelError: an engine failed; what was not settled comes again after a restart.
        """
        await self._take_up()
        while not self._draining.is_set() or len(self._inbox):
            events = await self._inbox.take(most=MOST, wait=BREATH)
            await self._out.room()
            await self._turn(events)

    async def drain(self, patience: float) -> None:
        """Finish what waits: the inbox, then questions to the cloud for so many seconds; the journal keeps the rest."""
        end = time.monotonic() + patience
        while not self._idle() and time.monotonic() < end:  # noqa: ASYNC110 # three owners' states, only at the end
            await asyncio.sleep(0.02)
        self._draining.set()

    def _idle(self) -> bool:
        return self.stalled or not (self._open or len(self._inbox))

    async def finish(self) -> None:
        """Strike from the journal what the broker took at the very end."""
        await self._commit(Changes())

    async def _turn(self, events: list[Event]) -> None:
        turn = Turn(now=time.monotonic(), wall=time.time())
        for event in events:
            if isinstance(event, Answered | Unanswered):
                self._cloud_said(event, turn)
            else:
                self._admit(event, turn)
        for key, windows in self._windower.expire(turn.now):
            self._cut(turn, key, windows, None)
        await self._infer(turn)
        for cut in turn.cuts:
            self._place(cut, turn)
        self._note_series(turn)
        await self._commit(turn.changes)
        self._tell(turn)

    # ---- admit → window

    def _admit(self, arrival: Arrival, turn: Turn) -> None:
        try:
            admitted = self._admission.admit(arrival)
            seen = admitted.seen
            taken = self._windower.take(admitted.route, admitted.source, seen, arrival.arrived, turn.wall)
        except Refused as why:
            source = self._admission.source(arrival)
            turn.refusals.append(Refusal(why, source, arrival, arrival.reply_to, arrival.correlation))
            self.counts[f"refused_{why.reason}"] += 1
            return
        rows = len(seen.values)
        self.counts["messages"] += 1
        self.counts["bytes_coap" if arrival.transient else "bytes_mqtt"] += len(arrival.payload)
        self.counts["rows"] += rows
        ticket = Ticket(
            arrival=arrival,
            key=taken.key,
            rows=(taken.first, taken.first + rows - 1),
            receipt=seen.receipt,
            durable=admitted.route.windows == "rows" or arrival.transient,
            windows=set(),
        )
        turn.tickets.append(ticket)
        self._keep(taken, turn)
        if taken.late is not None:
            turn.refusals.append(Refusal(stale(taken.late, taken.first), admitted.source, None))
            self.counts["refused_stale"] += 1
        if taken.known is not None:
            self.counts["known_messages"] += 1
            self._join(taken.known, ticket, turn)
        elif not taken.windows:
            turn.touched.add(taken.key)
        else:
            self._cut(turn, taken.key, taken.windows, ticket, admitted.route)

    def _keep(self, taken: Taken, turn: Turn) -> None:
        chunk = taken.chunk
        if chunk is not None:
            turn.changes.rows.append(
                SavedRows(taken.key, chunk.first, chunk.values, chunk.t, chunk.dt, chunk.t_source, chunk.lane)
            )
            turn.touched.add(taken.key)

    def _join(self, window: str, ticket: Ticket, turn: Turn) -> None:
        """A copy of a window that is still on its way is settled with it."""
        if window and (self._out.waits_for(window) or any(cut.window.id == window for cut in turn.cuts)):
            ticket.windows.add(window)
            self._out.wait(window, ticket)

    def _cut(
        self, turn: Turn, key: SeriesKey, windows: list[Window], ticket: Ticket | None, route: Route | None = None
    ) -> None:
        entry = self._windower.entry(key)
        if entry is not None:
            turn.touched.add(key)
            route = entry.route
        assert route is not None  # noqa: S101 # a window comes from a series or from the route that took it whole
        for window in windows:
            if ticket is not None:
                arrival = ticket.arrival
                window = msgspec.structs.replace(  # the same window, addressed
                    window, reply_to=arrival.reply_to, correlation=arrival.correlation
                )
                ticket.windows.add(window.id)
                ticket.completed += 1
            turn.cuts.append(Cut(window, route, ticket))

    # ---- infer → place

    async def _infer(self, turn: Turn) -> None:
        by_model: dict[str, list[Cut]] = {}
        for cut in turn.cuts:
            by_model.setdefault(cut.window.model, []).append(cut)
        for model, cuts in by_model.items():
            for start in range(0, len(cuts), AT_ONCE):
                await self._infer_part(model, cuts[start : start + AT_ONCE], turn)

    async def _infer_part(self, model: str, cuts: list[Cut], turn: Turn) -> None:
        engine = self._engines[model]
        batch = np.stack([cut.window.values for cut in cuts])
        if engine.run_seconds(len(cuts)) <= INLINE:
            outcomes = engine.answers(batch)
        else:
            outcomes = await asyncio.to_thread(engine.answers, batch)
        for cut, outcome in zip(cuts, outcomes, strict=True):
            if isinstance(outcome, Answer):
                cut.answer = outcome
            else:
                self._unanswerable(cut, outcome, turn)

    def _unanswerable(self, cut: Cut, why: Refused, turn: Turn) -> None:
        window = cut.window
        self.counts[f"refused_{why.reason}"] += 1
        told = Refused(why.reason, why.detail, seq=window.seq)
        source = restore.source(window.key)
        turn.refusals.append(Refusal(told, source, None, window.reply_to, window.correlation))
        self._windower.forget(window.id)
        self._out.forget(window.id)
        for ticket in turn.tickets:  # also those of its copies
            ticket.windows.discard(window.id)

    def _place(self, cut: Cut, turn: Turn) -> None:
        window, answer, route = cut.window, cut.answer, cut.route
        if answer is None:
            return
        variant = route.manifest.for_tier("bridge")
        below = variant.below if route.below is None else route.below
        cloud = NO_CLOUD if self._cloud is None else self._cloud.view(window.model, turn.now, planned=len(turn.ask))
        placement = place(answer, policy=route.policy, below=below, cloud=cloud, left=window.deadline - turn.now)
        if route.windows == "whole" and not placement.firm and window.reply_to is None:
            turn.changes.decided.append(window.id)
        if placement.tier == "cloud":
            saved = restore.save_window(window, answer, placement.reason, now=turn.now, wall=turn.wall)
            turn.changes.asked.append(saved)
            turn.ask.append(window)
            self._open[window.id] = (saved, window, cut.ticket)
            if cut.ticket is not None:
                cut.ticket.durable = True
            return
        durable = not placement.firm or cut.ticket is None or cut.ticket.durable
        self._decide(turn, window, answer, placement, local=None, ticket=cut.ticket, durable=durable)

    def _cloud_said(self, event: Answered | Unanswered, turn: Turn) -> None:
        opened = self._open.pop(event.id, None)
        if opened is None:
            return
        saved, window, ticket = opened
        turn.changes.answered.append(window.id)
        if isinstance(event, Answered) and event.reply.label is not None and event.reply.score is not None:
            reply = event.reply
            answer = Answer(event.reply.label, event.reply.score, reply.version, reply.variant)
            placement = restore.placement("cloud", f"{saved.why}; {reply.cloud} answered on {reply.engine}")
            local = {"label": saved.local.label, "score": saved.local.score}
        else:
            why = event.why if isinstance(event, Unanswered) else "its answer had no label"
            answer, local = saved.local, None
            placement = restore.placement("bridge", f"{saved.why}, but {why}")
        self._decide(turn, window, answer, placement, local=local, ticket=ticket, durable=True)

    def _decide(
        self,
        turn: Turn,
        window: Window,
        answer: Answer,
        placement: Placement,
        *,
        local: dict[str, object] | None,
        ticket: Ticket | None,
        durable: bool,
    ) -> None:
        self.counts[f"results_{placement.tier}"] += 1
        decided = Result(
            id=window.id,
            device=window.key.device,
            stream=window.key.stream,
            seq=window.seq,
            epoch=window.key.epoch,
            t=window.t,
            model=window.model,
            version=answer.version,
            label=answer.label,
            score=answer.score,
            tier=placement.tier,
            provisional=False,
            rev=0,
            latency_ms=0.0,
            reason=placement.reason,
            lane=window.lane,
            t_source=window.t_source,
            local=local,
        )
        topic = window.reply_to or result_topic(window.key.site, window.key.device, window.model)
        saved = SavedResult(decided, turn.wall - (turn.now - window.arrived), topic, window.correlation)
        turn.publish.append(saved)
        if durable:
            turn.changes.results.append(saved)
        if ticket is not None:
            self._out.wait(window.id, ticket)

    # ---- commit → publish → settle

    def _note_series(self, turn: Turn) -> None:
        for key in turn.touched:
            entry = self._windower.entry(key)
            if entry is not None:
                turn.changes.series.append(restore.save_series(key, entry))
        turn.changes.forgotten.extend(self._windower.evicted)
        self._windower.evicted.clear()

    async def _commit(self, changes: Changes) -> None:
        """Make the turn safe; while the disk refuses, the pipeline stands still and so do its senders."""
        changes.taken.extend(self._out.taken())
        while changes:
            try:
                await asyncio.to_thread(self._journal.commit, changes)
            except StoreError as why:
                if self._draining.is_set():
                    raise
                if not self.stalled:
                    log.error("%s; nothing is acknowledged until it can be written", why)  # noqa: TRY400 # the message says it all
                self.stalled = True
                await asyncio.sleep(1.0)
            else:
                break
        if self.stalled:
            log.warning("the journal takes writes again")
            self.stalled = False

    def _tell(self, turn: Turn) -> None:
        self._out.results(turn.publish, {saved.result.id for saved in turn.changes.results})
        self._out.refusals(turn.refusals, turn.now)
        if self._cloud is not None:
            for window in turn.ask:
                self._cloud.ask(window.id, window.model, window.values, window.deadline)
        self._out.settle(turn.tickets)

    async def _take_up(self) -> None:
        """Continue where the last process stopped."""
        saved = await asyncio.to_thread(self._journal.load)
        turn = Turn(now=time.monotonic(), wall=time.time())
        turn.changes.forgotten = restore.take_up_series(saved, self._table, self._windower, now=turn.now)
        for kept in saved.asked:
            window = restore.load_window(kept, now=turn.now, wall=turn.wall)
            self._open[window.id] = (kept, window, None)
            if self._cloud is None:
                self._inbox.put([Unanswered(window.id, "no cloud is configured any more")])
            else:
                turn.ask.append(window)
        for known in saved.decided:
            self._windower.remember(known)
        turn.publish.extend(saved.results)
        turn.changes.results.extend(saved.results)
        if saved.series or saved.asked or saved.results:
            log.info(
                "taken up from the journal: %d series, %d open questions, %d results",
                len(saved.series), len(saved.asked), len(saved.results),
            )  # fmt: skip
        await self._commit(turn.changes)
        self._tell(turn)
