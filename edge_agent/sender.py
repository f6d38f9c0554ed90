"""From the outbox to the uplink: picks what is due and sends it; what becomes of it is for `Outcomes`.

Live messages go first. Backlog goes when no live message waits, as fast as `Pace` allows. A way that was closed for
longer than `backlog_after` makes backlog of what waited meanwhile (`Lanes.split`).
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING

from bridge.ranges import text
from edge_agent import backoff
from edge_agent.eager import begin
from edge_agent.outcomes import Outcomes
from edge_agent.pace import Pace
from edge_agent.route import Route
from edge_agent.way import Way

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from bridge.messages import Error, Receipt
    from bridge.store.outbox import Piece, Series
    from edge_agent.config import Stream
    from edge_agent.flights import Span
    from edge_agent.keeper import Keeper
    from edge_agent.uplink import Uplink

log = logging.getLogger(__name__)

TOLD_AGAIN = 600.0  # seconds until a refusal of the same stream for the same reason is a warning again


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
        self._sleeps = False
        self._way = Way(clock())
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = 0
        self._pace = Pace()
        self._told: dict[tuple[str | None, str], float] = {}  # by stream and reason
        self.routes: list[Route] = []
        self._outcomes = Outcomes(
            keeper,
            uplink,
            self._way,
            self._pace,
            self.routes,
            clock=clock,
            dice=dice,
            backlog_after=backlog_after,
        )

    @property
    def progressed(self) -> float:
        """Monotonic seconds of the latest progress."""
        return self._outcomes.progressed

    @property
    def passed_bytes(self) -> int:
        """Of messages of which the other side said something, so far."""
        return self._outcomes.passed_bytes

    def add(self, series: Series, stream: Stream, start: int, *, lanes: bool = False) -> Route:
        """Sends this series from row `start` on; with `lanes` what is on disk now is backlog."""
        after = self._backlog_after if lanes else None
        route = Route(series, stream, start, receipt_timeout=self._receipt_timeout, backlog_after=after)
        self.routes.append(route)
        self.grew(route, series.next, ended=series.ended)
        self._outcomes.split(route, "on disk at the start")
        return route

    def grew(self, route: Route, end: int, *, ended: bool = False) -> None:
        """Rows before number `end` are on disk; with `ended` no more will come."""
        route.lanes.live.grew(end, self._clock())
        route.lanes.live.ended = ended
        if not self._send_at_once(route):
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
        self._outcomes.back(self._way.open(self._clock()))
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
                self._outcomes.safe(route, receipt.safe)
        self._wake.set()

    def refusal(self, error: Error) -> None:
        """Gives up the message that the bridge refused; one that came at a bad time, or has no route, is sent again."""
        found = False
        for route in self.routes:
            if route.series.stream == error.stream and error.seq is not None:
                if error.reason == "overload":
                    route.lanes.of(error.seq).again(error.seq, self._clock() + backoff.delay(4, self._dice()))
                    found = True
                elif error.reason != "no_route":
                    found |= self._outcomes.refused(route, error.seq, f"{error.reason}: {error.detail}")
        if not found:
            self._tell(error)
        self._wake.set()

    def _tell(self, error: Error) -> None:
        """That the bridge refused what gives up no rows, which it may say of each message, for as long as it lasts."""
        now = self._clock()
        ours = any(route.series.stream == error.stream for route in self.routes)
        what = (error.stream if ours else None, error.reason)  # others' names are without number
        news = now >= self._told.get(what, -math.inf)
        if news:
            self._told[what] = now + TOLD_AGAIN
        level = logging.WARNING if news else logging.DEBUG
        log.log(level, "the bridge refused something of this device's: %s: %s", error.reason, error.detail)

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
        now = self._clock()
        routes = [route for route in self.routes[self._turn :] + self.routes[: self._turn] if route.hold.until <= now]
        self._turn = (self._turn + 1) % max(1, len(self.routes))
        for route in routes:
            self._write(route)
        sent = False
        for route in routes:
            sent |= await self._send_skip(route)
        for route in routes:
            sent |= await self._send_live(route)
        for route in routes:
            sent |= await self._send_backlog(route)
        return sent

    def _send_at_once(self, route: Route) -> bool:
        """Rows that have just come leave in the very call, as one message, where nothing else is to go first.

        Returns:
            Whether nothing is left to be sent of them.
        """
        now, live = self._clock(), route.lanes.live
        if not self._sleeps or self._wake.is_set() or self._outcomes.untold(route):
            return False
        if not self._is_open() or (self._tasks and not self._room()):
            return False
        if route.hold.until > now or live.is_overdue(now) or self._blocked(route, live=True):
            return False
        recent, series = self._keeper.newest.recent, route.series.id
        first, last = live.cursor, live.end - 1
        pieces = recent.rows(series, first, last)
        if pieces is None:
            return False
        self._write(route)
        span = route.lanes.pick_live(now, 1)
        if span is None:
            return False
        if (span.first, span.last) != (first, last):
            pieces = recent.rows(series, span.first, span.last) or []
        self._send_rows(route, span, pieces, at_once=True)
        route.lanes.read(untold=False)
        return live.cursor == live.end

    def _write(self, route: Route) -> None:
        """As the uplink wants it now."""
        writing = self._uplink.writing(route.series.stream)
        if writing is not None and writing is not route.writing:
            route.write(writing)

    def _room(self) -> int:
        """Messages that may be sent now."""
        return max(0, self._uplink.window - len(self._tasks)) if self._is_open() else 0

    def _is_open(self) -> bool:
        return self._way.up and self._clock() >= self._way.held_until()

    def _blocked(self, route: Route, *, live: bool) -> bool:
        """Whether a message under way in the same lane of the same stream could be overtaken."""
        if not self._uplink.in_order:
            return False
        same = (one.lanes for one in self.routes if one.series.stream == route.series.stream)
        return any((lanes.live if live else lanes.backlog).under_way() for lanes in same)

    async def _send_skip(self, route: Route) -> bool:
        if not self._room() or not self._outcomes.untold(route) or route.skips.due() > self._clock():
            return False
        untold = await self._keeper.call(lambda: self._keeper.box.untold(route.series.id))
        skip = route.skips.make(untold, route.series.epoch)
        if skip is None:
            return False
        log.warning("stream %s: rows %s are given up (%s)", route.series.stream, text(skip.ranges), skip.why)
        self._start(self._outcomes.fly_skip(route, skip))
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
        """When this series may send backlog: not while a live message waits, of any series that is taken."""
        now, lanes = self._clock(), route.lanes
        if (
            not lanes.backlog
            or self._blocked(route, live=False)
            or any(one.lanes.live.waits(now) for one in self.routes if one.hold.until <= now)
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
        self._sleeps = True
        try:
            await self._wake.wait()
        finally:
            self._sleeps = False
            if timer is not None:
                timer.cancel()

    def _due(self, route: Route) -> float:
        """When this series may have something to send."""
        due = min(self._backlog_due(route), route.skips.due() if self._outcomes.untold(route) else math.inf)
        if not self._blocked(route, live=True):
            due = min(due, route.lanes.live.next_due())
        held = route.hold.until
        return held if held > self._clock() else due  # what became full meanwhile has no time of its own

    async def _send(self, route: Route, span: Span) -> None:
        series, lanes = route.series.id, route.lanes
        try:
            pieces = await self._keeper.newest.read(series, span.first, span.last)
            self._send_rows(route, span, pieces)
            if not pieces and lanes.of(span.first) is lanes.backlog:
                lanes.backlog.go_on(await self._keeper.newest.next_kept(series, span.first))
        finally:
            lanes.read(untold=self._outcomes.untold(route))

    def _send_rows(self, route: Route, span: Span, pieces: Iterable[Piece], *, at_once: bool = False) -> None:
        for written in route.messages(pieces, self._uplink.most_bytes, untold=self._outcomes.untold(route)):
            lane = route.lanes.of(written.first)
            lane.sent(written.first, written.last, span.attempts, self._clock(), unanswered=span.unanswered)
            late = lane is route.lanes.backlog
            if late:
                self._pace.sent(self._clock())
            self._start(self._outcomes.fly(route, written, late=late), at_once=at_once)

    def _start(self, flight: Coroutine[None, None, None], *, at_once: bool = False) -> None:
        task = begin(flight) if at_once else asyncio.create_task(flight)
        self._tasks.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()
        if not task.cancelled():
            task.result()
