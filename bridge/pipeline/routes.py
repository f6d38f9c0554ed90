"""Which messages go to which model: our own data topics by stream, foreign topics by filter."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from bridge import topics
from bridge.catalog import Manifest
from bridge.errors import Refused
from bridge.pipeline.privacy import strictest, uncertain
from bridge.topics import DataTopic
from bridge.wire.foreign import Decoding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.messages import SeriesKey
    from bridge.pipeline.entries import Entry

Policy = Literal["cascade", "bridge", "cloud"]
Order = Literal["strict", "free"]
REMEMBERED = 16_384  # topics whose route is known without looking
LONG = 512  # characters of a topic that is looked for each time: foreign ones may have 65,535
_SLOT = re.compile(r"\{([1-9][0-9]*)\}")


class Owner(NamedTuple):
    """Between whom what waits is shared out: devices, and the models that each sends to.

    Attributes:
        site: of the device; "_infer" of who asks by that.
        device: its name; of who asks, as far as the Response Topic tells (`topics.asker`).
        model: the model asked, so that what waits for a slow one waits alone; None where no route takes the message.
    """

    site: str
    device: str
    model: str | None


NOBODY = Owner("", "", None)  # of all topics that yield no name: together they are worth one device


class Route(msgspec.Struct, frozen=True, eq=False):
    """Where a stream's rows go.

    Attributes:
        model: model asked.
        manifest: that model's manifest.
        stream: stream name; "*" takes every stream that no other route names.
        windows: rows of all messages form one series, or one message is one window.
        policy: "cascade": the bridge, and the cloud where the bridge is unsure; or always one of them.
        deadline: seconds after a window's last row within which it is to be answered.
        below: escalate below this probability; None: what the manifest says.
        late: what becomes of a live whole window, asked without a receipt, whose deadline passes while it waits for a
            slow model: it is refused (`stale`), or answered all the same.
        order: "strict": first Results of a stream's lane come in the order of its windows, so that one the bridge is
            sure of waits for those before it that the cloud is asked about; "free": each comes as soon as it is known.
        provisional: the bridge's answer may be published at once, as a provisional Result, while the cloud is asked.
        grace: seconds after the deadline within which the final Result follows a provisional one.
        price: what a window sent up costs, in right answers.
        private: indexes of channels that never leave the gateway.
        private_rule: "refuse": no window leaves at all; "mask": they leave without those channels.
        filter: topic filter of foreign devices; None for our own data topics.
        site: site of foreign devices; `{n}` stands for the n-th wildcard of the filter.
        device: device name of foreign devices, likewise.
        decoding: how their payload becomes an Observation; None: it is one.
        mixed: it stands for rows that came by several routes, or by nobody knows which.
    """

    model: str
    manifest: Manifest
    stream: str
    windows: Literal["rows", "whole"] = "rows"
    policy: Policy = "cascade"
    deadline: float = 2.0
    below: float | None = None
    late: Literal["refuse", "answer"] = "refuse"
    order: Order = "strict"
    provisional: bool = False
    grace: float = 10.0
    price: float = 0.0
    private: tuple[int, ...] = ()
    private_rule: Literal["refuse", "mask"] = "refuse"
    filter: str | None = None
    site: str = "local"
    device: str = ""
    decoding: Decoding | None = None
    mixed: bool = False

    @property
    def via(self) -> str:
        """Topic filter of what comes by it, by which the journal names it; "" where that is not one route."""
        if self.mixed:
            return ""
        return self.filter or topics.data("+", "+", "+" if self.stream == "*" else self.stream)

    @property
    def barred(self) -> str:
        """Why its windows never leave the gateway; "": they may."""
        if not self.private or self.private_rule == "mask":
            return ""
        names = [self.manifest.input.channels[index] for index in self.private]
        return f"private: {', '.join(names)} never {'leaves' if len(names) == 1 else 'leave'}"

    def source(self, topic: str) -> DataTopic | None:
        """Whose rows a foreign topic carries; None if the topic is not this route's.

        Raises:
            Refused: `no_route`: the topic yields no allowed name.
        """
        if self.filter is None or not topics.matches(self.filter, topic):
            return None
        found = topics.wildcards(self.filter, topic) or []
        names = [_fill(template, found) for template in (self.site, self.device, self.stream)]
        for name in names:
            if not topics.is_name(name):
                raise Refused("no_route", f"topic {topic[:120]!r} yields the name {name[:80]!r}, which is not allowed")
        return DataTopic(*names)


def _fill(template: str, found: list[str]) -> str:
    return _SLOT.sub(lambda slot: found[int(slot[1]) - 1], template)


def highest_slot(template: str) -> int:
    """Greatest n of the `{n}` in a template; 0 if it has none."""
    return max((int(n) for n in _SLOT.findall(template)), default=0)


class Override(msgspec.Struct, frozen=True, eq=False):
    """What is otherwise for some devices or models.

    Attributes:
        device: pattern of device names, as a shell's for files.
        model: pattern of models.
        fields: of a route, and what they are instead.
    """

    device: str
    model: str
    fields: dict[str, Any]

    def fits(self, route: Route, device: str) -> bool:
        """Whether it is for the windows of that device on that route."""
        return fnmatchcase(device, self.device) and fnmatchcase(route.model, self.model)


class Feed:
    """What comes by one topic.

    Attributes:
        route: where it goes.
        source: whose rows it carries.
        entry: the series that its rows went to last, nearly always that of the next ones, too; it belongs to the
            windower, of which there is one a table.
    """

    __slots__ = ("entry", "route", "source")

    def __init__(self, route: Route, source: DataTopic) -> None:
        self.route = route
        self.source = source
        self.entry: Entry | None = None


class RouteTable:
    """All routes of a bridge.

    Args:
        routes: the routes.
        overrides: what is otherwise for some devices or models; the first that fits counts.

    Attributes:
        known: what `feed` found before for a topic; None if it was not asked yet, or not lately.
    """

    def __init__(self, routes: list[Route], overrides: Sequence[Override] = ()) -> None:
        self._overrides = tuple(overrides)
        self._overridden: dict[tuple[Route, Override], Route] = {}
        self._by_stream = {route.stream: route for route in routes if route.filter is None}
        self._foreign = [route for route in routes if route.filter is not None]
        self._by_via = {route.via: route for route in (*reversed(self._foreign), *self._by_stream.values())}
        self._infer: dict[str, Route] = {}
        self._models = {route.model for route in routes}
        self.routes = tuple(routes)
        self._found: dict[str, Feed] = {}
        self.known: Callable[[str], Feed | None] = self._found.get  # each message asks

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return (topics.DATA_FILTER, topics.INFER_FILTER, *(r.filter for r in self._foreign if r.filter is not None))

    def of(self, key: SeriesKey, model: str, via: str) -> Route | None:
        """The route of a journalled series; None if no route takes it to that model any more.

        Args:
            key: the series.
            model: model its windows were cut for.
            via: `Route.via` of the route it came by; "" if that is not known.

        Returns:
            That route; if it is gone, or not known, one like those that may take the series, which is as private as
            `bridge.pipeline.privacy` says.
        """
        mine = self._by_via.get(via)
        if mine is not None and mine.model == model and mine.windows == "rows":
            return self.overridden(mine, key.device)
        ours = self._by_stream.get(key.stream) or self._by_stream.get("*")
        for route in (ours, *self._foreign):
            if route is None or route.model != model or route.windows != "rows":
                continue
            if route.filter is None or route.stream == key.stream or "{" in route.stream:
                return self._uncertain(route, key.device)
        return None

    def for_window(self, key: SeriesKey, model: str, via: str) -> Route | None:
        """The route of a journalled window, likewise; None if no route goes to that model any more."""
        fitting = [route for route in self.routes if route.model == model]
        if not fitting:
            return None
        if key.device == "_infer":
            return self.infer(model, fitting[0].manifest)
        mine = self._by_via.get(via)
        if mine is not None and mine.model == model:
            return self.overridden(mine, key.device)
        for stream in (key.stream, "*"):
            for route in fitting:
                if route.stream == stream:
                    return self._uncertain(route, key.device)
        return self._uncertain(fitting[0], key.device)

    def _uncertain(self, route: Route, device: str) -> Route:
        return uncertain(self.overridden(route, device), [one for one in self.routes if one.model == route.model])

    def infer(self, model: str, manifest: Manifest) -> Route:
        """The whole-window route that `_infer` uses for a model.

        It has `deadline`, `below`, `late` and `price` of the model's first route; private is what any route of the
        model calls so, for nobody knows whose rows are asked about. It never gives provisional Results: who asks gets
        one answer.
        """
        made = self._infer.get(model)
        if made is not None:
            return made
        fitting = [route for route in self.routes if route.model == model]
        like = fitting[0] if fitting else Route(model=model, manifest=manifest, stream="_infer")
        private, rule = strictest(fitting)
        route = Route(
            model=model,
            manifest=manifest,
            stream="_infer",
            windows="whole",
            deadline=like.deadline,
            below=like.below,
            late=like.late,
            price=like.price,
            private=private,
            private_rule=rule,
        )
        made = self._infer[model] = msgspec.structs.replace(self.overridden(route, "_infer"), provisional=False)
        self._models.add(model)
        return made

    def overridden(self, route: Route, device: str) -> Route:
        """The route as it is for a device."""
        override = next((one for one in self._overrides if one.fits(route, device)), None)
        if override is None:
            return route
        made = self._overridden.get((route, override))
        if made is None:
            made = self._overridden[route, override] = msgspec.structs.replace(route, **override.fields)
        return made

    def owner(self, topic: str, reply_to: str | None) -> Owner:
        """Whose a message is, and for which model.

        Args:
            topic: where it came.
            reply_to: where `_infer` is to answer.
        """
        asked = topics.parse_infer(topic)
        if asked is not None:
            asker = "" if reply_to is None else topics.asker(reply_to)
            return Owner("_infer", asker, asked if asked in self._models else None)
        try:
            route, source = self.find(topic)
        except Refused:
            ours = topics.parse_data(topic)
            return NOBODY if ours is None else Owner(ours.site, ours.device, None)
        return Owner(source.site, source.device, route.model)

    def find(self, topic: str) -> tuple[Route, DataTopic]:
        """The route of a message and whose rows it carries.

        Raises:
            Refused: `no_route`.
        """
        feed = self.feed(topic)
        return feed.route, feed.source

    def feed(self, topic: str) -> Feed:
        """The same as one object, and for each message of a topic the same one, as long as it is remembered.

        Raises:
            Refused: `no_route`.
        """
        found = self._found.get(topic)
        if found is None:
            found = Feed(*self._search(topic))
            if len(topic) <= LONG:
                if len(self._found) >= REMEMBERED:
                    self._found.clear()
                self._found[topic] = found
        return found

    def _search(self, topic: str) -> tuple[Route, DataTopic]:
        ours = topics.parse_data(topic)
        if ours is not None:
            route = self._by_stream.get(ours.stream) or self._by_stream.get("*")
            if route is None:
                known = ", ".join(sorted(self._by_stream)) or "none"
                raise Refused("no_route", f"stream {ours.stream!r} has no route; there are: {known}")
            return self.overridden(route, ours.device), ours
        for route in self._foreign:
            source = route.source(topic)
            if source is not None:
                return self.overridden(route, source.device), source
        raise Refused("no_route", f"topic {topic[:120]!r}; names are [A-Za-z0-9][A-Za-z0-9_.-]{{0,63}}")
