"""Which rows of one series are to be sent now: new ones, or ones whose receipt did not come. Pure: `now` is given.

A message is *under way* until its acknowledgement, *taken* when the broker has acknowledged it, and gone only when a
receipt covers all its rows. Ranges are remembered, never rows: those stay on disk until they are sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from bridge.ranges import Range, minus

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST = 30.0  # seconds between two sendings of rows that nobody vouches for
MOST_OPEN = 256  # messages without a receipt: more would only fill a broker's queue (Mosquitto keeps 1,000)


class Span(msgspec.Struct, frozen=True):
    """Rows to send, inclusive, how often they were sent before, and how often in vain, with the broker's word."""

    first: int
    last: int
    attempts: int = 0
    unanswered: int = 0


class Flight(msgspec.Struct):
    """A message that was sent.

    Attributes:
        missing: rows that no receipt covers yet.
        state: `under_way`, `taken` (waits for a receipt until `due`) or `again` (to be sent at `due`).
        due: monotonic seconds.
        attempts: how often it was sent.
        sent: monotonic seconds of the last sending.
        unanswered: how often the broker had it, and no receipt came in time; a lost link begins anew.
    """

    missing: list[Range]
    state: Literal["under_way", "taken", "again"]
    due: float
    attempts: int
    sent: float = 0.0
    unanswered: int = 0


class Awaited:
    """Messages of one lane of one series that wait for a receipt.

    Args:
        receipt_timeout: seconds to wait for a first receipt.
    """

    def __init__(self, *, receipt_timeout: float = 10.0) -> None:
        self._timeout = receipt_timeout
        self._open: dict[int, Flight] = {}
        self._heard = float("-inf")  # when the last receipt came
        self._probe: int | None = None

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, first: int) -> bool:
        return first in self._open

    def under_way(self) -> int:
        """Messages whose acknowledgement is awaited."""
        return sum(flight.state == "under_way" for flight in self._open.values())

    def overdue(self, now: float) -> Span | None:
        """The oldest message that is to be sent again."""
        if not self._open:
            return None
        probed = self._probed_until() > now
        due = [
            first
            for first, flight in self._open.items()
            if flight.state != "under_way" and flight.due <= now and not (probed and self._unheard(flight))
        ]
        if not due:
            return None
        flight = self._open.pop(min(due))
        if self._unheard(flight):
            self._probe = flight.missing[0][0]
        unanswered = flight.unanswered + (flight.state == "taken")
        return Span(flight.missing[0][0], flight.missing[-1][1], flight.attempts, unanswered)

    def is_overdue(self, now: float) -> bool:
        """Whether `overdue` may have something."""
        return bool(self._open) and Awaited.next_due(self) <= now

    def _unheard(self, flight: Flight) -> bool:
        """Nobody has vouched for anything since: one message asks whether the bridge is there, the others wait."""
        return flight.state == "taken" and self._heard < flight.due

    def _probed_until(self) -> float:
        probe = None if self._probe is None else self._open.get(self._probe)
        if probe is None:
            return float("-inf")
        return float("inf") if probe.state == "under_way" else probe.due

    def sent(self, first: int, last: int, attempts: int, now: float = 0.0, *, unanswered: int = 0) -> None:
        """A message with these rows is under way."""
        self._open[first] = Flight([(first, last)], "under_way", 0.0, attempts + 1, now, unanswered)

    def taken(self, first: int, now: float) -> None:
        """The broker has it; a receipt is due."""
        flight = self._open.get(first)
        if flight is not None and flight.state == "under_way":
            flight.state = "taken"
            flight.due = now + min(max(LONGEST, self._timeout), self._timeout * 2.0 ** min(flight.unanswered, 16))

    def again(self, first: int, at: float) -> None:
        """What became of it is not known, or it must wait: to be sent again at `at`."""
        flight = self._open.get(first)
        if flight is not None:
            flight.state, flight.due = "again", at

    def forget(self, first: int) -> Range | None:
        """It will not be sent again; its rows, if it was known."""
        found = self.rows(first)
        self._open.pop(first, None)
        return found

    def rows(self, first: int) -> Range | None:
        """The rows of a message that nobody vouched for, if it is known."""
        flight = self._open.get(first)
        return None if flight is None else (flight.missing[0][0], flight.missing[-1][1])

    def receipt(self, safe: Iterable[Range], now: float) -> list[Flight]:
        """These rows are safe; twice is the same as once.

        Returns:
            The messages that nothing is missing of any more.
        """
        safe = list(safe)
        if now - self._heard > self._timeout:  # the bridge is back
            self._ask_soon(now)
        self._heard, self._probe = now, None
        done = []
        for first, flight in list(self._open.items()):
            flight.missing = minus(flight.missing, safe)
            if not flight.missing:
                done.append(self._open.pop(first))
        return done

    def link_lost(self, now: float, *, everything: bool) -> None:
        """Sends again, in order, what was under way; with `everything` also what a broker without memory had taken."""
        for flight in self._open.values():
            if flight.state == "under_way" or (everything and flight.state == "taken"):
                flight.state, flight.due = "again", now
        self._ask_soon(now)

    def _ask_soon(self, now: float) -> None:
        """Receipts may come again: no message waits longer for one than it did at first."""
        for flight in self._open.values():
            flight.unanswered = 0
            if flight.state == "taken":
                flight.due = min(flight.due, now + self._timeout)

    def oldest_under_way(self) -> float:
        """Monotonic seconds at which the message longest under way was sent; infinite if none is."""
        return min((one.sent for one in self._open.values() if one.state == "under_way"), default=float("inf"))

    def leave(self, before: int) -> dict[int, Flight]:
        """Hands over the messages of rows before this one."""
        gone = {first: flight for first, flight in self._open.items() if first < before}
        for first in gone:
            del self._open[first]
        return gone

    def take(self, flights: dict[int, Flight]) -> None:
        """Takes messages over from another lane."""
        self._open.update(flights)

    def missing(self) -> int:
        """Rows in these messages that no receipt covers."""
        return sum(last - first + 1 for flight in self._open.values() for first, last in flight.missing)

    def next_due(self) -> float:
        """Monotonic seconds at which `pick` may have more to say than now; infinite if only events can change it."""
        quiet = self._probed_until()
        due = [
            max(flight.due, quiet) if self._unheard(flight) else flight.due
            for flight in self._open.values()
            if flight.state != "under_way"
        ]
        return min(due, default=float("inf"))


class Flights(Awaited):
    """The messages of one series that come as they grow.

    Args:
        start: first row that was not sent yet in this life of the agent.
        rows: rows a message.
        longest_wait: seconds that a row waits for its message to fill.
        whole: only full messages, until the series ends.
        receipt_timeout: seconds to wait for a first receipt.
    """

    def __init__(
        self, start: int, *, rows: int, longest_wait: float, whole: bool = False, receipt_timeout: float = 10.0
    ) -> None:
        super().__init__(receipt_timeout=receipt_timeout)
        self.cursor = start
        self.end = start
        self.ended = False
        self._rows = rows
        self._wait = float("inf") if whole else longest_wait
        self._since = 0.0  # when the row at the cursor came

    @property
    def begun(self) -> int | None:
        """First row of a message that waits until it is full, however long that takes; None: there is none."""
        start = self.end - self.end % self._rows
        return start if self._wait == float("inf") and not self.ended and start < self.end else None

    def pack(self, rows: int, longest_wait: float) -> None:
        """How new rows are packed from now on; whole messages still wait until they are full."""
        self._rows = rows
        if self._wait != float("inf"):
            self._wait = longest_wait

    def grew(self, end: int, now: float) -> None:
        """Rows before number `end` are on disk."""
        if self.cursor == self.end:
            self._since = now
        self.end = max(self.end, end)

    def pick(self, now: float, room: int) -> Span | None:
        """What to send next: what is overdue first, then new rows, of at most `room` messages."""
        if room <= 0:
            return None
        return self.overdue(now) or self._new(now, min(room, MOST_OPEN - len(self._open)))

    def full(self) -> bool:
        """A message waits only because so many have no receipt."""
        return len(self._open) >= MOST_OPEN and self.end - self.cursor >= self._rows

    def waits(self, now: float) -> bool:
        """Whether a message could go now, if only there were room."""
        whole = self.end - self.cursor >= (1 if self.ended else self._rows) and len(self._open) < MOST_OPEN
        return whole or self.next_due() <= now

    def next_due(self) -> float:
        """As `Awaited.next_due`; a message that is not full goes when its first row has waited long enough."""
        due = super().next_due()
        if self.cursor < self.end and not self.ended and len(self._open) < MOST_OPEN:
            due = min(due, self._since + self._wait)
        return due

    def _new(self, now: float, room: int) -> Span | None:
        if self.cursor >= self.end or room <= 0:
            return None
        stop = min(self.end, (self.cursor // self._rows + room) * self._rows)
        if not self.ended and now - self._since < self._wait:
            stop -= stop % self._rows
        if stop <= self.cursor:
            return None
        span = Span(self.cursor, stop - 1)
        self.cursor = stop
        self._since = now
        return span
