"""From the outbox to the uplink: picks what is due, sends it, and forgets what the bridge vouches for.

Live messages go first. Backlog goes when no live message waits, as fast as `Pace` allows. A way that was closed for
longer than `backlog_after` makes backlog of what waited meanwhile (`Lanes.split`).
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING

from bridge.errors import LinkError
from bridge.ranges import text
from bridge.store.outbox import Release
from edge_agent import backoff
from edge_agent.pace import Pace
from edge_agent.route import Route
from edge_agent.way import Way

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from bridge.messages import Error, Receipt, Skip
    from bridge.store.outbox import Series
    from bridge.wire.formats import Format
    from edge_agent.config import Stream
    from edge_agent.flights import Span
    from edge_agent.keeper import Keeper
    from edge_agent.route import Written
    from edge_agent.uplink import Outcome, Said, Uplink

log = logging.getLogger(__name__)


class Sender:
    """Sends all series of one agent over one uplink; see `edge_agent.uplink.Listener` for what it hears.

    Args:
        keeper: where the rows are.
        uplink: where they go.
        clock: monotonic seconds.
        dice: random, 0…1.
        receipt_timeout: seconds to wait for a first receipt.
        backlog_after: seconds without a way after which what waits is backlog.
    """

    def __init__(
        self,
        keeper: Keeper,
        uplink: Uplink,
        *,
        clock: Callable[[], float],
        dice: Callable[[], float],
        receipt_timeout: float,
        backlog_after: float = math.inf,
    ) -> None:
        self._keeper = keeper
        self._uplink = uplink
        self._clock = clock
        self._dice = dice
        self._receipt_timeout = receipt_timeout
        self._backlog_after = backlog_after
        self._wake = asyncio.Event()
        self._way = Way(clock())
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = 0
        self._pace = Pace()
        self.routes: list[Route] = []
        self.progressed = clock()

    def add(self, series: Series, stream: Stream, start: int, *, lanes: bool = False) -> Route:
        """Sends this series from row `start` on; with `lanes` what is on disk now is backlog."""
        after = self._backlog_after if lanes else None
        route = Route(series, stream, start, receipt_timeout=self._receipt_timeout, backlog_after=after)
        self.routes.append(route)
        self.grew(route, series.next, ended=series.ended)
        self._split(route, "on disk at the start")
        return route

    def grew(self, route: Route, end: int, *, ended: bool = False) -> None:
        """Rows before number `end` are on disk; with `ended` no more will come."""
        route.lanes.live.grew(end, self._clock())
        route.lanes.live.ended = ended
        self._wake.set()

    def gave_up(self) -> None:
        """What the bridge is to be told has changed: rows were given up by a rule, or it knows of some."""
        for route in self.routes:
            route.skips.more()
        self._wake.set()

    def connected(self, *, fresh: bool) -> None:
        """Sends again what was under way; all that is not receipted if the broker remembers nothing."""
        for route in self.routes:
            route.lanes.link_lost(self._clock(), everything=fresh and self._way.was_up)
            route.skips.again(self._clock())
        self._back(self._way.open(self._clock()))
        self._wake.set()

    def disconnected(self, why: str) -> None:
        """Holds everything back."""
        oldest = min((route.lanes.live.oldest_under_way() for route in self.routes), default=math.inf)
        self._way.close(oldest, self._clock())
        log.debug("uplink lost: %s", why)

    def receipt(self, stream: str, receipt: Receipt) -> None:
        """Forgets what the bridge vouches for."""
        for route in self.routes:
            if (route.series.stream, route.series.epoch) == (stream, receipt.epoch):
                self._safe(route, receipt.safe)

    def refusal(self, error: Error) -> None:
        """Gives up the message that the bridge refused; one that came at a bad time is sent again."""
        found = False
        for route in self.routes:
            if route.series.stream == error.stream and error.seq is not None:
                if error.reason == "overload":
                    route.lanes.of(error.seq).again(error.seq, self._clock() + backoff.delay(4, self._dice()))
                    found = True
                else:
                    found |= self._refused(route, error.seq, f"{error.reason}: {error.detail}")
        if not found:
            log.warning("the bridge refused something of this device's: %s: %s", error.reason, error.detail)
        self._wake.set()

    async def run(self) -> None:
        """Sends, until cancelled."""
        try:
            while True:
                self._wake.clear()
                if not await self._send_some():
                    await self._sleep()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send_some(self) -> bool:
        """One round over the series; whether anything was sent."""
        routes = self.routes[self._turn :] + self.routes[: self._turn]
        self._turn = (self._turn + 1) % max(1, len(self.routes))
        for route in routes:
            writing = self._uplink.writing(route.series.stream)
            if writing is not None:
                route.write(writing)
        sent = False
        for route in routes:
            sent |= await self._send_skip(route)
        for route in routes:
            sent |= await self._send_live(route)
        for route in routes:
            sent |= await self._send_backlog(route)
        return sent

    def _room(self) -> int:
        """Messages that may be sent now."""
        open_ = self._way.up and self._clock() >= self._way.held_until()
        return max(0, self._uplink.window - len(self._tasks)) if open_ else 0

    def _blocked(self, route: Route, *, live: bool) -> bool:
        """Whether a message under way in the same lane of the same stream could be overtaken."""
        if not self._uplink.in_order:
            return False
        same = (one.lanes for one in self.routes if one.series.stream == route.series.stream)
        return any((lanes.live if live else lanes.backlog).under_way() for lanes in same)

    def _untold(self, route: Route) -> bool:
        return route.series.id in self._keeper.box.given_up.series

    async def _send_skip(self, route: Route) -> bool:
        if not self._room() or not self._untold(route) or route.skips.due() > self._clock():
            return False
        untold = await self._keeper.call(lambda: self._keeper.box.untold(route.series.id))
        skip = route.skips.make(untold, route.series.epoch)
        if skip is None:
            return False
        log.warning("stream %s: rows %s are given up (%s)", route.series.stream, text(skip.ranges), skip.why)
        self._start(self._fly_skip(route, skip))
        return True

    async def _send_live(self, route: Route) -> bool:
        room = self._room()
        if not room or self._blocked(route, live=True):
            return False
        span = route.lanes.pick_live(self._clock(), 1 if self._uplink.in_order else room)
        if span is not None:
            await self._send(route, span)
        return span is not None

    async def _send_backlog(self, route: Route) -> bool:
        """One message, if its time has come."""
        now = self._clock()
        if not self._room() or self._backlog_due(route) > now or not self._pace.room(now, self._uplink.window):
            return False
        span = route.lanes.pick_backlog(now, fresh=self._awaited() < self._uplink.window)
        if span is not None:
            await self._send(route, span)
        return span is not None

    def _backlog_due(self, route: Route) -> float:
        """When this series may send backlog: not while a live message of any series waits."""
        now, lanes = self._clock(), route.lanes
        if (
            not lanes.backlog
            or self._blocked(route, live=False)
            or any(one.lanes.live.waits(now) for one in self.routes)
        ):
            return math.inf
        return max(self._pace.next(), lanes.backlog.due(fresh=self._awaited() < self._uplink.window))

    def _awaited(self) -> int:
        return sum(route.lanes.backlog.awaited() for route in self.routes)

    async def _sleep(self) -> None:
        due = math.inf
        if self._way.up and len(self._tasks) < self._uplink.window:
            due = max(self._way.held_until(), min((self._due(route) for route in self.routes), default=math.inf))
        timer = None
        if due != math.inf:
            timer = asyncio.get_running_loop().call_later(max(0.005, due - self._clock()), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()

    def _due(self, route: Route) -> float:
        """When this series may have something to send."""
        due = min(self._backlog_due(route), route.skips.due() if self._untold(route) else math.inf)
        return due if self._blocked(route, live=True) else min(due, route.lanes.live.next_due())

    async def _send(self, route: Route, span: Span) -> None:
        box, series, lanes = self._keeper.box, route.series.id, route.lanes
        try:
            pieces = self._keeper.recent.rows(series, span.first, span.last)
            if pieces is None:
                pieces = await self._keeper.call(lambda: list(box.read(series, span.first, span.last)))
            for written in route.messages(pieces, self._uplink.most_bytes):
                lane = lanes.of(written.first)
                lane.sent(written.first, written.last, span.attempts, self._clock(), unanswered=span.unanswered)
                late = lane is lanes.backlog
                if late:
                    self._pace.sent(self._clock())
                self._start(self._fly(route, written, late=late))
            if not pieces and lanes.of(span.first) is lanes.backlog:
                lanes.backlog.go_on(await self._keeper.call(lambda: box.next_kept(series, span.first)))
        finally:
            lanes.read(untold=self._untold(route))

    def _start(self, flight: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(flight)
        self._tasks.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()
        if not task.cancelled():
            task.result()

    async def _fly(self, route: Route, written: Written, *, late: bool) -> None:
        """One message from its sending to what became of it."""
        try:
            outcome = await self._attempt(route, written.payload, written.form, written.said)
        finally:
            if late:
                self._pace.landed()
        first = written.first
        lane = route.lanes.of(first)
        if outcome is None:
            lane.again(first, self._clock())
        elif outcome.kind == "taken":
            lane.taken(first, self._clock())
        elif outcome.kind == "safe":
            rows = lane.rows(first)
            self._safe(route, [rows] if rows is not None else [])
        elif outcome.kind == "refused":
            self._refused(route, first, outcome.detail)
        else:
            log.warning("row %d must wait %.0f s: %s", first, outcome.wait, outcome.detail)
            lane.again(first, self._clock() + outcome.wait)

    async def _fly_skip(self, route: Route, skip: Skip) -> None:
        """One Skip from its sending to what became of it."""
        outcome = await self._attempt(route, route.encoded(skip), route.writing.form, skip)
        if outcome is None:
            route.skips.again(self._clock())
        elif outcome.kind == "taken":
            route.skips.taken(self._clock())
        elif outcome.kind == "safe":
            route.skips.again(self._clock())
            self._safe(route, skip.ranges)
        elif outcome.kind == "refused":
            route.skips.again(self._clock())
            self._refused(route, skip.ranges[0][0], outcome.detail)
        else:
            route.skips.again(self._clock() + outcome.wait)

    async def _attempt(self, route: Route, payload: bytes, form: Format, said: Said) -> Outcome | None:
        """What became of a message; None: nobody knows."""
        sent = self._clock()
        try:
            outcome = await self._uplink.send(route.series.stream, payload, form, said=said)
        except LinkError as why:
            self._way.failed(sent, self._clock(), self._dice())
            log.debug("outcome of a message unknown (%s), to be sent again", why)
            return None
        self._back(self._way.passed(self._clock()))
        if outcome.kind == "wait":
            self._way.hold(self._clock() + outcome.wait)
        return outcome

    def _back(self, away: float) -> None:
        """Messages come through again after so many seconds."""
        if away > self._backlog_after:
            for route in self.routes:
                self._split(route, f"kept while there was no way to the bridge for {away:.0f} s")

    def _split(self, route: Route, why: str) -> None:
        if route.lanes.split():
            self._pace.begin()
            log.info("stream %s: what was %s is backlog, sent beside live rows", route.series.stream, why)

    def _safe(self, route: Route, safe: list[tuple[int, int]]) -> None:
        now = self._clock()
        live, late = route.lanes.receipt(safe, now)
        backlog = any(one.lanes.backlog for one in self.routes)
        for flight in live:
            if flight.attempts == 1:
                self._pace.live(flight.sent, now, backlog=backlog, fill=route.fill)
        for _ in late:
            self._pace.safe(now)
        route.skips.receipt(safe)
        self._keeper.release([Release(route.series.id, first, last) for first, last in safe])
        route.lanes.settle(untold=self._untold(route))
        self.progressed = now
        self._wake.set()

    def _refused(self, route: Route, first: int, why: str) -> bool:
        rows = route.lanes.of(first).forget(first)
        told = [] if rows is not None else route.skips.refused(first)
        if rows is not None:
            log.error("stream %s: the bridge refused rows %s: %s; dropped", route.series.stream, text([rows]), why)
            route.refused.append(rows)
            self._keeper.release([Release(route.series.id, *rows, rule=f"refused: {why}"[:200])])
        elif told:
            log.error("the bridge does not want to hear that rows %s are given up: %s", text(told), why)
            self._keeper.release([Release(route.series.id, *one) for one in told])
        self.progressed = self._clock()
        route.lanes.settle(untold=self._untold(route))
        return rows is not None or bool(told)
