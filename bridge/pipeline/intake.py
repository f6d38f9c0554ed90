"""admit → window: arrivals become tickets, rows to keep, and windows to compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bridge.errors import Refused
from bridge.pipeline.turn import Cut, Refusal, Ticket, Turn
from bridge.pipeline.window import stale
from bridge.store.records import SavedRows

if TYPE_CHECKING:
    from collections import Counter

    from bridge.messages import SeriesKey, Window
    from bridge.pipeline.admit import Admission
    from bridge.pipeline.arrival import Arrival
    from bridge.pipeline.outbound import Outbound
    from bridge.pipeline.routes import Route
    from bridge.pipeline.window import Taken, Windower


class Intake:
    """The left end of a turn.

    Args:
        admission: decodes and routes.
        windower: cuts rows.
        outbound: knows which Results are on their way.
        counts: where to count.
    """

    def __init__(self, admission: Admission, windower: Windower, outbound: Outbound, counts: Counter[str]) -> None:
        self._admission = admission
        self._windower = windower
        self._out = outbound
        self._counts = counts

    def expire(self, turn: Turn) -> None:
        """Go on where a gap was waited for long enough."""
        for key, windows in self._windower.expire(turn.now):
            self._cut(turn, key, windows, None)

    def take(self, arrival: Arrival, turn: Turn) -> None:
        """Admit an arrival and cut its rows; what is refused is noted for an Error."""
        try:
            admitted = self._admission.admit(arrival)
            seen = admitted.seen
            taken = self._windower.take(admitted.route, admitted.source, seen, arrival.arrived, turn.wall)
        except Refused as why:
            source = self._admission.source(arrival)
            turn.refusals.append(Refusal(why, source, arrival, arrival.reply_to, arrival.correlation))
            self._counts[f"refused_{why.reason}"] += 1
            return
        rows = len(seen.values)
        self._counts["messages"] += 1
        self._counts["bytes_coap" if arrival.transient else "bytes_mqtt"] += len(arrival.payload)
        self._counts["rows"] += rows
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
            self._counts["refused_stale"] += 1
        if taken.known is not None:
            self._counts["known_messages"] += 1
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
                if arrival.reply_to is not None:
                    window = msgspec.structs.replace(  # the same window, addressed
                        window, reply_to=arrival.reply_to, correlation=arrival.correlation
                    )
                ticket.windows.add(window.id)
                ticket.completed += 1
            turn.cuts.append(Cut(window, route, ticket))
