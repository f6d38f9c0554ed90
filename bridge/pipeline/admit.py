"""Bytes of an arrival → rows of a known stream, or `Refused`."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

import msgspec

from bridge import topics
from bridge.errors import Refused
from bridge.messages import Observation, Skip
from bridge.pipeline.chunk import most_rows
from bridge.pipeline.routes import Feed, Route, RouteTable
from bridge.topics import DataTopic
from bridge.wire import formats
from bridge.wire.data import decode_data
from bridge.wire.foreign import decode_foreign

if TYPE_CHECKING:
    from bridge.pipeline.arrival import Arrival

ASKER = DataTopic("_infer", "_infer", "_infer")  # whoever asks by `_infer` has no stream of its own


class Admitted(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What an arrival that may pass says.

    Attributes:
        feed: where its rows go, and whose they are.
        seen: the rows, or which rows will never come.
    """

    feed: Feed
    seen: Observation | Skip


class Admission:
    """The bridge's doorkeeper: format, size, depth, route, shape.

    Args:
        table: the routes.
        infer: a whole-window route for each model, for `_infer`.
        max_payload: bytes of a message, in a zstd frame also of its content.
        max_rows: rows of a message; fewer where a model's windows overlap so much that they would be too many.
        depth: nesting of its containers.
    """

    def __init__(
        self, table: RouteTable, infer: dict[str, Route], *, max_payload: int, max_rows: int, depth: int
    ) -> None:
        self._table = table
        self._infer = infer
        self._max_payload = max_payload
        self._max_rows = max_rows
        self._few = min([max_rows, *[most_rows(route.manifest.input) for route in table.routes]])  # are never too many
        self._depth = depth

    def admit(self, arrival: Arrival) -> Admitted:
        """Decode an arrival and find its route.

        Raises:
            Refused: with a reason of the contract.
        """
        feed = self._table.known(arrival.topic) or self._find(arrival)
        route = feed.route
        seen = self._decode(arrival, route)
        if not isinstance(seen, Observation):
            if feed.source is ASKER:
                raise Refused("malformed", "_infer takes an Observation of one window, not a skip")
            return Admitted(feed, seen)
        rows, channels = seen.values.shape
        wanted = len(route.manifest.input.channels)
        if channels != wanted:
            names = ", ".join(route.manifest.input.channels)
            raise Refused("shape", f"{channels} channels; {route.model} takes {wanted}: {names}", seq=seen.seq)
        if rows > self._few:
            self._check_rows(route, rows, seen.seq)
        return Admitted(feed, seen)

    def _check_rows(self, route: Route, rows: int, seq: int | None) -> None:
        """A message must not have too many rows, nor give too many windows.

        Raises:
            Refused: `too_large`.
        """
        most, why = self._max_rows, ""
        if route.windows == "rows" and (fewer := most_rows(route.manifest.input)) < most:
            most, why = fewer, f", for {route.model} begins a window every {route.manifest.input.hop}"
        if rows > most:
            raise Refused("too_large", f"{rows} rows in a message; at most {most}{why}", seq=seq)

    def source(self, topic: str) -> DataTopic | None:
        """Whose messages a topic carries, as far as it tells; to address an Error."""
        try:
            return topics.parse_data(topic) or self._table.find(topic)[1]
        except Refused:
            return None

    def _find(self, arrival: Arrival) -> Feed:
        model = topics.parse_infer(arrival.topic)
        if model is None:
            return self._table.feed(arrival.topic)
        if arrival.reply_to is None:
            raise Refused("malformed", "_infer without a Response Topic that may be answered to")
        return Feed(self._infer_route(model), ASKER)

    def _infer_route(self, model: str) -> Route:
        route = self._infer.get(model)
        if route is None:
            known = ", ".join(sorted(self._infer)) or "none"
            raise Refused("no_route", f"no model {model!r}; there are: {known}")
        return route

    def _decode(self, arrival: Arrival, route: Route) -> Observation | Skip:
        payload = arrival.payload
        if len(payload) > self._max_payload or arrival.oversize:
            raise Refused("too_large", f"{arrival.oversize or len(payload)} bytes; at most {self._max_payload}")
        if route.decoding is not None:
            return decode_foreign(payload, route.decoding, len(route.manifest.input.channels))
        if arrival.content_format is not None:
            form = formats.of_content_format(arrival.content_format, payload)
        elif arrival.content_type:
            form = formats.of_content_type(arrival.content_type, payload)
        else:
            form = formats.of_payload(payload)
        return decode_data(payload, form, depth=self._depth, most=self._max_payload)


class ErrorGate:
    """At most so many Errors in any second a device; the rest is counted. No clock: `now` is an argument.

    A sliding window: a token bucket of the same rate would let twice as many pass in the first second.

    Args:
        rate: Errors a second; below 1, one in 1/rate seconds.
        devices: devices remembered; the longest quiet goes first.
    """

    def __init__(self, rate: float = 10.0, devices: int = 10_000) -> None:
        self._most = max(1, int(rate))
        self._span = self._most / rate
        self._devices = devices
        self._told: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()
        self.suppressed = 0

    def allows(self, site: str, device: str, now: float) -> bool:
        """Whether one more Error of this device may be told now."""
        told = self._told.setdefault((site, device), deque(maxlen=self._most))
        self._told.move_to_end((site, device))
        if len(self._told) > self._devices:
            self._told.popitem(last=False)
        allowed = len(told) < self._most or now - told[0] >= self._span
        if allowed:
            told.append(now)
        self.suppressed += not allowed
        return allowed
