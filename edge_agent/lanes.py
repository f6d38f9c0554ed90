"""The two lanes of one series: *live*, what comes while the way is open, and the *backlog*, all that is older. Pure.

When the way was closed for long, everything that is not receipted becomes backlog, and the live lane begins anew with
the row that comes next, `live_from`. Several times one after the other make several such seams; whatever lies before
the latest is backlog, oldest first. When all of it is receipted there is no seam any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.ranges import Range, union
from edge_agent.flights import Awaited, Flight, Flights, Span

if TYPE_CHECKING:
    from collections.abc import Iterable


class Backlog(Awaited):
    """The messages of rows that were not sent when they were fresh.

    Args:
        rows: rows a message.
        receipt_timeout: seconds to wait for a first receipt.
    """

    def __init__(self, *, rows: int, receipt_timeout: float = 10.0) -> None:
        super().__init__(receipt_timeout=receipt_timeout)
        self._rows = rows
        self._todo: list[Range] = []
        self._mine: set[int] = set()  # sent from here and not receipted, so that what the live lane left does not count

    def __bool__(self) -> bool:
        return bool(self._todo or self._open)

    def add(self, first: int, last: int) -> None:
        """These rows are still to be sent."""
        self._todo = union([*self._todo, (first, last)])

    def pack(self, rows: int) -> None:
        """How many rows a message has from now on."""
        self._rows = rows

    def awaited(self) -> int:
        """Messages sent from here of which nobody has said yet that they are safe."""
        return sum(self._open[first].state != "again" for first in self._mine & self._open.keys())

    def pick(self, now: float, *, fresh: bool) -> Span | None:
        """The message to send next, the oldest first; with `fresh` also what was not sent yet."""
        again = [first for first, flight in self._open.items() if flight.state == "again" and flight.due <= now]
        if fresh and self._todo and self._todo[0][0] < min(again, default=self._todo[0][0] + 1):
            first, last = self._todo[0]
            stop = min(last, (first // self._rows + 1) * self._rows - 1)
            self._todo[:1] = [(stop + 1, last)] if stop < last else []
            return Span(first, stop)
        return self.overdue(now)

    def sent(self, first: int, last: int, attempts: int, now: float = 0.0, *, unanswered: int = 0) -> None:
        """A message with these rows is under way."""
        super().sent(first, last, attempts, now, unanswered=unanswered)
        self._mine = (self._mine & self._open.keys()) | {first}

    def go_on(self, row: int | None) -> None:
        """Nothing is kept before this row any more; None: nothing at all."""
        self._todo = [] if row is None else [(max(first, row), last) for first, last in self._todo if last >= row]

    def due(self, *, fresh: bool) -> float:
        """As `next_due`; with `fresh`, what was not sent yet can go at once."""
        return float("-inf") if fresh and self._todo else self.next_due()


class Lanes:
    """Both lanes of one series.

    Args:
        start: first row that was not sent yet in this life of the agent.
        rows: rows a message.
        longest_wait: seconds that a row waits for its message to fill.
        whole: a message is a window: only full ones are sent, and a seam lies between two of them.
        receipt_timeout: seconds to wait for a first receipt.
        backlog_after: seconds without a way after which what waits is backlog; None: never, one lane in order.
    """

    def __init__(
        self,
        start: int,
        *,
        rows: int,
        longest_wait: float,
        whole: bool = False,
        receipt_timeout: float = 10.0,
        backlog_after: float | None = None,
    ) -> None:
        self.live = Flights(start, rows=rows, longest_wait=longest_wait, whole=whole, receipt_timeout=receipt_timeout)
        self.backlog = Backlog(rows=rows, receipt_timeout=receipt_timeout)
        self._rows, self._whole = rows, whole
        self._after = backlog_after
        self._seam: int | None = None
        self._full_since: float | None = None
        self._picked = 0  # spans that are being read: neither in the lanes nor sent

    @property
    def live_from(self) -> int | None:
        """What to say with live messages; None: there is no seam, or it means nothing because messages are windows."""
        return None if self._whole else self._seam

    def of(self, row: int) -> Awaited:
        """The lane of a message that begins with this row."""
        if row in self.backlog or (row not in self.live and self._seam is not None and row < self._seam):
            return self.backlog
        return self.live

    def pack(self, rows: int, longest_wait: float) -> None:
        """How rows are packed from now on, in both lanes."""
        self._rows = rows
        self.live.pack(rows, longest_wait)
        self.backlog.pack(rows)

    def pick_live(self, now: float, room: int) -> Span | None:
        """What the live lane sends next."""
        if self.live.full():
            self._full_since = now if self._full_since is None else self._full_since
        elif self._full_since is not None:
            waited, self._full_since = now - self._full_since, None
            if (
                self._after is not None and waited > self._after
            ):  # nobody vouched for anything: as if the way was closed
                self.split()
        return self._reading(self.live.pick(now, room))

    def pick_backlog(self, now: float, *, fresh: bool) -> Span | None:
        """What the backlog sends next; see `Backlog.pick`."""
        return self._reading(self.backlog.pick(now, fresh=fresh))

    def read(self, *, untold: bool) -> None:
        """What was picked has been read and is sent; `untold` as in `settle`."""
        self._picked -= 1
        self.settle(untold=untold)

    def settle(self, *, untold: bool) -> None:
        """Closes the seam once nothing before it is missing: no row, and no range given up that is `untold`."""
        if not (self.backlog or self._picked or untold):
            self._seam = None

    def receipt(self, safe: Iterable[Range], now: float) -> tuple[list[Flight], list[Flight]]:
        """As `Awaited.receipt`; the live messages that are done, and those of the backlog."""
        safe = list(safe)
        return self.live.receipt(safe, now), self.backlog.receipt(safe, now)

    def link_lost(self, now: float, *, everything: bool) -> None:
        """As `Awaited.link_lost`."""
        for lane in (self.live, self.backlog):
            lane.link_lost(now, everything=everything)

    def split(self) -> bool:
        """Makes what is not receipted the backlog, unless it fits one message; returns whether it did."""
        live = self.live
        seam = max(live.cursor, live.end - live.end % self._rows if self._whole else live.end)
        waiting = live.missing() + seam - live.cursor
        if self._after is None or not waiting or (self._seam is None and waiting <= self._rows and not self._picked):
            return False
        self.backlog.take(live.leave(seam))
        if live.cursor < seam:
            self.backlog.add(live.cursor, seam - 1)
            live.cursor = seam
        self._seam = seam
        return True

    def _reading(self, span: Span | None) -> Span | None:
        self._picked += span is not None
        return span
