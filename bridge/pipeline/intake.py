"""admit → window: arrivals become tickets, rows to keep, and windows to compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bridge.errors import Refused
from bridge.messages import Observation
from bridge.pipeline.chunk import EACH
from bridge.pipeline.naming import stale
from bridge.pipeline.turn import Cut, Refusal, Ticket, Turn
from bridge.wire.zstd import unpacked_size

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Container

    from bridge.messages import Skip, Window
    from bridge.pipeline.admit import Admission, Admitted
    from bridge.pipeline.arrival import Arrival, Verdict
    from bridge.pipeline.entries import Entry, Taken
    from bridge.pipeline.inbox import GivenUp
    from bridge.pipeline.outbound import Outbound
    from bridge.pipeline.routes import Route
    from bridge.pipeline.window import Windower


class Intake:
    """The left end of a turn.

    Args:
        admission: decodes and routes.
        windower: cuts rows.
        outbound: told which ticket is to know which window's Result.
        open_windows: ids of windows that the journal keeps until they are answered.
        counts: where to count.
    """

    def __init__(
        self,
        admission: Admission,
        windower: Windower,
        outbound: Outbound,
        open_windows: Container[str],
        counts: Counter[str],
    ) -> None:
        self._admission = admission
        self._windower = windower
        self._out = outbound
        self._open = open_windows
        self._counts = counts

    def expire(self, turn: Turn) -> None:
        """Go on where a gap was waited for long enough."""
        for key, windows in self._windower.expire(turn.now):
            entry = self._windower.entry(key)
            assert entry is not None  # noqa: S101 # only series that are there have gaps
            turn.touched[key] = entry
            self._without_sender(windows, entry, turn)

    def overload(self, given_up: Collection[GivenUp], turn: Turn) -> None:
        """Note what was given up for want of room, an Error a topic, or a Response Topic of `_infer`."""
        for one in given_up:
            detail = f"{one.count} messages at QoS 0: the bridge has no room, and this sender holds most"
            why, source = Refused("overload", detail), self._admission.source(one.topic)
            turn.refusals.append(Refusal(why, source, None, one.reply_to, one.correlation))
            self._out.book.refusal(source, why.reason, turn.wall, one.count)
            self._counts["refused_overload"] += one.count

    def take(self, arrival: Arrival, turn: Turn) -> None:
        """Admit an arrival and cut its rows; what is refused is noted for an Error."""
        try:
            admitted = self._admission.admit(arrival)
            seen = admitted.seen
            if not isinstance(seen, Observation):
                self._skip(arrival, admitted, seen, turn)
                return
            taken = self._windower.take(admitted.feed, seen, arrival.arrived, turn.wall)
        except Refused as why:
            source = self._admission.source(arrival.topic)
            told = Refused(why.reason, why.detail, seq=why.seq)  # not with the frames that hold what was decoded
            turn.refusals.append(Refusal(told, source, arrival, arrival.reply_to, arrival.correlation))
            self._counts[f"refused_{why.reason}"] += 1
            self._out.book.refusal(source, why.reason, turn.wall)
            turn.made += unpacked_size(arrival.payload)
            arrival.payload = b""
            return
        rows, first, windows, transient = len(seen.values), taken.first, taken.windows, arrival.transient
        turn.made += seen.values.nbytes
        turn.messages += 1
        turn.rows += rows
        if transient:
            turn.bytes_coap += len(arrival.payload)
        else:
            turn.bytes_mqtt += len(arrival.payload)
        arrival.payload = b""  # decoded; what waits for the broker and the disk is to be small
        feed = admitted.feed
        durable = transient or feed.route.windows == "rows"
        ticket = Ticket(arrival, taken.key, (first, first + rows - 1), seen.receipt, durable, 0, len(windows))
        turn.tickets.append(ticket)
        if taken.entry is not None:
            self._keep(taken.entry, taken, turn)
            if windows:  # which have rows of their own; a whole one has those of the message
                turn.made += _bytes(windows)
            if taken.late is not None:
                turn.refusals.append(Refusal(stale(taken.late, first), feed.source, None))
                self._counts["refused_stale"] += 1
                self._out.book.refusal(feed.source, "stale", turn.wall)
        if taken.known is not None:
            self._counts["known_messages"] += 1
            self._out.book.known(taken.key, turn.wall)
            self._join(taken.known, ticket)
        elif windows:
            route = feed.route if taken.entry is None else taken.entry.route
            self._cut(turn, windows, ticket, route, seen, taken.entry)

    def _skip(self, arrival: Arrival, admitted: Admitted, seen: Skip, turn: Turn) -> None:
        """Take note of rows that will never come; they are settled and receipted like rows.

        Raises:
            Refused: their series is another route's.
        """
        skipped = self._windower.skip(admitted.feed, seen, arrival.arrived)
        turn.messages += 1
        self._counts["bytes_coap" if arrival.transient else "bytes_mqtt"] += len(arrival.payload)
        self._counts["skips"] += 1
        self._counts["rows_skipped"] += skipped.rows
        if skipped.entry is not None:
            turn.touched[skipped.key] = skipped.entry
            self._without_sender(skipped.windows, skipped.entry, turn)
        for rows in seen.ranges:  # one settles the arrival, each tells the sender of its rows
            turn.tickets.append(Ticket(arrival, skipped.key, rows, seen.receipt, durable=True))
            arrival = msgspec.structs.replace(arrival, settle=_settled)

    @staticmethod
    def _keep(entry: Entry, taken: Taken, turn: Turn) -> None:
        if taken.chunk is not None:
            turn.kept.append((entry, taken.chunk))
        elif not taken.windows:
            return
        turn.touched[entry.key] = entry

    def count(self, turn: Turn) -> None:
        """Add what the turn took in to the counts."""
        counts = self._counts
        counts["messages"] += turn.messages
        counts["bytes_coap"] += turn.bytes_coap
        counts["bytes_mqtt"] += turn.bytes_mqtt
        counts["rows"] += turn.rows

    def _join(self, window: str, ticket: Ticket) -> None:
        """A copy of a window whose Result is on its way is settled with it; an open one is in the journal."""
        if self._out.waiters.waits_for(window) and window not in self._open:
            ticket.durable = False
            self._out.waiters.wait(window, ticket)

    def _without_sender(self, windows: list[Window], entry: Entry, turn: Turn) -> None:
        """Windows that no message completed, but the end of a wait."""
        if windows:
            turn.made += _bytes(windows)
        for window in windows:
            into = turn.repeats if self._out.waiters.was_published(window.id) else turn.cuts
            into.append(Cut(window, entry.route, None, entry=entry))

    def _cut(
        self, turn: Turn, windows: list[Window], ticket: Ticket, route: Route, seen: Observation, entry: Entry | None
    ) -> None:
        arrival = ticket.arrival
        sheddable = not (ticket.durable or seen.receipt) and route.late == "refuse" and seen.lane == "live"
        for window in windows:
            if self._out.waiters.wait(window.id, ticket):
                turn.repeats.append(Cut(window, route, ticket, entry=entry))
            else:
                addressed = window if arrival.reply_to is None else _addressed(window, arrival)
                turn.cuts.append(Cut(addressed, route, ticket, sheddable, entry=entry))


def _bytes(windows: list[Window]) -> int:
    """What windows of one series take; there is one at least."""
    return len(windows) * (EACH + windows[0].values.nbytes)


def _addressed(window: Window, arrival: Arrival) -> Window:
    return msgspec.structs.replace(window, reply_to=arrival.reply_to, correlation=arrival.correlation)


def _settled(_verdict: Verdict) -> None:
    """Another ticket settles this arrival."""
