"""What becomes of messages: their rows are safe and forgotten, sent again, or given up."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import msgspec

from bridge.errors import LinkError
from bridge.ranges import text
from bridge.store.outbox import Release

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.messages import Skip
    from bridge.ranges import Range
    from bridge.wire.formats import Format
    from edge_agent.keeper import Keeper
    from edge_agent.pace import Pace
    from edge_agent.route import Route, Written
    from edge_agent.uplink import Outcome, Said, Uplink
    from edge_agent.way import Way

log = logging.getLogger(__name__)


class Outcomes:
    """Carries messages of all series of one agent, and does what follows.

    Args:
        keeper: where the rows are.
        uplink: where they go.
        way: hears whether messages come through.
        pace: hears how fast they are safe.
        routes: of all series, also those that are added later.
        clock: monotonic seconds.
        dice: random, 0…1.
        backlog_after: seconds without a way after which what waits is backlog.

    Attributes:
        progressed: monotonic seconds of the latest progress.
        passed_bytes: of messages of which the other side said something.
    """

    def __init__(
        self,
        keeper: Keeper,
        uplink: Uplink,
        way: Way,
        pace: Pace,
        routes: Sequence[Route],
        *,
        clock: Callable[[], float],
        dice: Callable[[], float],
        backlog_after: float = math.inf,
    ) -> None:
        self._keeper = keeper
        self._uplink = uplink
        self._way = way
        self._pace = pace
        self._routes = routes
        self._clock = clock
        self._dice = dice
        self._backlog_after = backlog_after
        self.progressed = clock()
        self.passed_bytes = 0

    async def fly(self, route: Route, written: Written, *, late: bool) -> None:
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
            self.safe(route, [rows] if rows is not None else [])
        elif outcome.kind == "refused":
            self.refused(route, first, outcome.detail)
        else:
            lane.again(first, self._clock() + outcome.wait)

    async def fly_skip(self, route: Route, skip: Skip) -> None:
        """One Skip from its sending to what became of it."""
        outcome = await self._attempt(route, route.encoded(skip), route.writing.form, skip)
        if outcome is None:
            route.skips.again(self._clock())
        elif outcome.kind == "taken":
            route.skips.taken(self._clock())
        elif outcome.kind == "safe":
            route.skips.again(self._clock())
            self.safe(route, skip.ranges)
        elif outcome.kind == "refused":
            route.skips.again(self._clock())
            self.refused(route, skip.ranges[0][0], outcome.detail)
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
        self.passed_bytes += len(payload)
        self.back(self._way.passed(self._clock()))
        if outcome.kind == "wait":
            return self._overloaded(outcome, sent)
        self._way.answered(sent)
        if outcome.kind == "barred":
            return self._barred(route, outcome, sent)
        self._admitted(route, sent)
        return outcome

    def _overloaded(self, outcome: Outcome, sent: float) -> Outcome:
        """Holds everything back, within bounds; told as it begins."""
        now = self._clock()
        level = logging.DEBUG if self._way.is_spared(now) else logging.WARNING
        wait = self._way.overloaded(outcome.wait, sent, now, self._dice())
        log.log(level, "nothing is sent for %.1f s (asked for: %.0f s): %s", wait, outcome.wait, outcome.detail)
        return msgspec.structs.replace(outcome, wait=wait)

    def _barred(self, route: Route, outcome: Outcome, sent: float) -> Outcome:
        """Holds this series back, within bounds; told as it begins, and when the reason is another."""
        now = self._clock()
        wait = route.hold.begin(outcome.wait, sent, now, self._dice())
        if outcome.detail != route.barred:
            if not route.barred:
                route.barred_at = sent
            route.barred = outcome.detail
            stream = route.series.stream
            log.warning("stream %s is not taken: %s; rows are kept and tried again until it is", stream, outcome.detail)
        return msgspec.structs.replace(outcome, wait=wait)

    def _admitted(self, route: Route, sent: float) -> None:
        route.hold.answered(sent)
        if not route.barred or sent < route.hold.until:  # it was under way together with what was not taken
            return
        route.barred, away = "", self._clock() - route.barred_at
        log.info("stream %s is taken again", route.series.stream)
        if away > self._backlog_after:
            self.split(route, f"kept while it was not taken, for {away:.0f} s")

    def back(self, away: float) -> None:
        """Messages come through again after so many seconds."""
        if away > self._backlog_after:
            for route in self._routes:
                self.split(route, f"kept while there was no way to the bridge for {away:.0f} s")

    def split(self, route: Route, why: str) -> None:
        """What was not sent when it was fresh is backlog from now on."""
        if route.lanes.split():
            self._pace.begin()
            log.info("stream %s: what was %s is backlog, sent beside live rows", route.series.stream, why)

    def safe(self, route: Route, safe: Sequence[Range]) -> None:
        """Forgets what the bridge vouches for."""
        now = self._clock()
        live, late = route.lanes.receipt(safe, now)
        backlog = any(one.lanes.backlog for one in self._routes)
        for flight in live:
            if flight.attempts == 1:
                self._pace.live(flight.sent, now, backlog=backlog, fill=route.fill)
        for _ in late:
            self._pace.safe(now)
        route.skips.receipt(safe)
        self._keeper.release([Release(route.series.id, first, last) for first, last in safe])
        route.lanes.settle(untold=self.untold(route))
        self.progressed = now

    def untold(self, route: Route) -> bool:
        """Whether rows of this series were given up that the bridge does not know of."""
        return route.series.id in self._keeper.box.given_up.series

    def refused(self, route: Route, first: int, why: str) -> bool:
        """Gives up the message that begins with this row, or lets go of a Skip; whether there was such a one.

        A message that is too large is sent again as shorter ones, where that can be.
        """
        lane = route.lanes.of(first)
        rows = lane.rows(first)
        if rows is not None and why.startswith("too_large") and route.shorten(rows[1] - rows[0] + 1):
            log.warning("stream %s: rows %s go as shorter messages: %s", route.series.stream, text([rows]), why)
            lane.again(first, self._clock())
            return True
        lane.forget(first)
        told = [] if rows is not None else route.skips.refused(first)
        if rows is not None:
            log.error("stream %s: the bridge refused rows %s: %s; dropped", route.series.stream, text([rows]), why)
            route.refused.append(rows)
            self._keeper.release([Release(route.series.id, *rows, rule=f"refused: {why}"[:200])])
        elif told:
            log.error("the bridge does not want to hear that rows %s are given up: %s", text(told), why)
            self._keeper.release([Release(route.series.id, *one) for one in told])
        self.progressed = self._clock()
        route.lanes.settle(untold=self.untold(route))
        return rows is not None or bool(told)
