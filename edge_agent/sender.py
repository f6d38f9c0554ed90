"""From the outbox to the uplink: picks what is due, sends it, and forgets what the bridge vouches for."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING

from bridge.errors import LinkError
from bridge.messages import Error, Observation, Receipt
from bridge.store.outbox import Piece, Release
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from edge_agent import backoff
from edge_agent.flights import Flights, Span
from edge_agent.ranges import text
from edge_agent.sampler import cut, halves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.store.outbox import Series
    from edge_agent.config import Stream
    from edge_agent.keeper import Keeper
    from edge_agent.uplink import Uplink

log = logging.getLogger(__name__)


class Route:
    """One series on its way: what it is called, how it is cut, where its messages stand."""

    def __init__(self, series: Series, stream: Stream, start: int, receipt_timeout: float) -> None:
        self.series = series
        self.stream = stream
        self.flights = Flights(
            start,
            rows=stream.rows_per_message,
            longest_wait=stream.longest_wait,
            whole=stream.windows == "whole",
            receipt_timeout=receipt_timeout,
        )
        self.refused: list[tuple[int, int]] = []


class Sender:
    """Sends all series of one agent over one uplink; see `edge_agent.uplink.Listener` for what it hears.

    Args:
        keeper: where the rows are.
        uplink: where they go.
        clock: monotonic seconds.
        dice: random, 0…1.
        receipt_timeout: seconds to wait for a first receipt.
    """

    def __init__(
        self,
        keeper: Keeper,
        uplink: Uplink,
        *,
        clock: Callable[[], float],
        dice: Callable[[], float],
        receipt_timeout: float,
    ) -> None:
        self._keeper = keeper
        self._uplink = uplink
        self._clock = clock
        self._dice = dice
        self._receipt_timeout = receipt_timeout
        self._wake = asyncio.Event()
        self._up = False
        self._was_up = False
        self._held_until = float("-inf")
        self._failures = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = 0
        self.routes: list[Route] = []
        self.progressed = clock()

    def add(self, series: Series, stream: Stream, start: int) -> Route:
        """Sends this series from row `start` on."""
        route = Route(series, stream, start, self._receipt_timeout)
        self.routes.append(route)
        self.grew(route, series.next, ended=series.ended)
        return route

    def grew(self, route: Route, end: int, *, ended: bool = False) -> None:
        """Rows before number `end` are on disk; with `ended` no more will come."""
        route.flights.grew(end, self._clock())
        route.flights.ended = ended
        self._wake.set()

    def connected(self, *, fresh: bool) -> None:
        """Sends again what was under way; all that is not receipted if the broker remembers nothing."""
        for route in self.routes:
            route.flights.link_lost(self._clock(), everything=fresh and self._was_up)
        self._up = self._was_up = True
        self._wake.set()

    def disconnected(self, why: str) -> None:
        """Holds everything back."""
        self._up = False
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
                    route.flights.again(error.seq, self._clock() + backoff.delay(4, self._dice()))
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
        sent = False
        now = self._clock()
        for route in self.routes[self._turn :] + self.routes[: self._turn]:
            room = self._uplink.window - len(self._tasks)
            if not self._up or now < self._held_until or room <= 0:
                break
            if self._uplink.in_order and self._busy(route):
                continue
            span = route.flights.pick(now, 1 if self._uplink.in_order else room)
            if span is not None:
                sent = True
                await self._send(route, span)
        self._turn = (self._turn + 1) % max(1, len(self.routes))
        return sent

    def _busy(self, route: Route) -> bool:
        return any(other.flights.under_way() for other in self.routes if other.series.stream == route.series.stream)

    async def _sleep(self) -> None:
        due = math.inf
        if self._up and len(self._tasks) < self._uplink.window:
            quiet = [one for one in self.routes if not (self._uplink.in_order and self._busy(one))]
            due = max(self._held_until, min((one.flights.next_due() for one in quiet), default=math.inf))
        try:
            async with asyncio.timeout(None if due == math.inf else max(0.005, due - self._clock())):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _send(self, route: Route, span: Span) -> None:
        keeper, stream = self._keeper, route.stream
        read = lambda: list(keeper.box.read(route.series.id, span.first, span.last))  # noqa: E731 # for another thread
        pieces = await keeper.call(read)
        for message in cut(pieces, stream.rows_per_message, whole=stream.windows == "whole"):
            for part, payload in self._encoded(route, message):
                route.flights.sent(part.first, part.last, span.attempts)
                task = asyncio.create_task(self._fly(route, part.first, payload))
                self._tasks.add(task)
                task.add_done_callback(self._landed)

    def _encoded(self, route: Route, piece: Piece) -> Iterator[tuple[Piece, bytes]]:
        """The message, or halves of it until each fits what the other side takes."""
        observation = Observation(
            piece.values, seq=piece.first, epoch=route.series.epoch, t=piece.t, dt=piece.dt, receipt=True
        )
        payload = encode_observation(observation, _form(route), packing=route.stream.packing)
        most = self._uplink.most_bytes
        if most is None or len(payload) <= most or len(piece.values) == 1:
            yield piece, payload
        else:
            for half in halves(piece):
                yield from self._encoded(route, half)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()
        if not task.cancelled():
            task.result()

    async def _fly(self, route: Route, first: int, payload: bytes) -> None:
        """One message from its sending to what became of it."""
        try:
            outcome = await self._uplink.send(route.series.stream, payload, _form(route))
        except LinkError as why:
            self._failures += 1
            pause = backoff.delay(self._failures, self._dice()) if self._up else 0.0
            self._hold(pause)
            route.flights.again(first, self._clock())
            log.debug("row %d: outcome unknown (%s), to be sent again", first, why)
            return
        self._failures = 0
        if outcome.kind == "taken":
            route.flights.taken(first, self._clock())
        elif outcome.kind == "safe":
            rows = route.flights.forget(first)
            self._safe(route, [rows] if rows is not None else [])
        elif outcome.kind == "refused":
            self._refused(route, first, outcome.detail)
        else:
            log.warning("row %d must wait %.0f s: %s", first, outcome.wait, outcome.detail)
            route.flights.again(first, self._clock() + outcome.wait)
            self._hold(outcome.wait)

    def _hold(self, seconds: float) -> None:
        self._held_until = max(self._held_until, self._clock() + seconds)

    def _safe(self, route: Route, safe: list[tuple[int, int]]) -> None:
        route.flights.receipt(safe, self._clock())
        self._keeper.release([Release(route.series.id, first, last) for first, last in safe])
        self.progressed = self._clock()
        self._wake.set()

    def _refused(self, route: Route, first: int, why: str) -> bool:
        rows = route.flights.forget(first)
        if rows is None:
            return False
        log.error("stream %s: the bridge refused rows %s: %s; dropped", route.series.stream, text([rows]), why)
        route.refused.append(rows)
        self._keeper.release([Release(route.series.id, *rows, rule=f"refused: {why}"[:200])])
        self.progressed = self._clock()
        return True


def _form(route: Route) -> Format:
    return Format.JSON if route.stream.encoding == "json" else Format.CBOR
