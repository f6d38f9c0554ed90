"""What comes by the topics of tests, as `RouteTable` has it: one object a topic, here as long as its windower lives."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from bridge.pipeline.routes import Feed

if TYPE_CHECKING:
    from bridge.pipeline.routes import Route
    from bridge.pipeline.window import Windower
    from bridge.topics import DataTopic

_FEEDS: WeakKeyDictionary[Windower, list[Feed]] = WeakKeyDictionary()


def feed(windower: Windower, route: Route, source: DataTopic) -> Feed:
    """The feed of a source's only topic by that route, at this windower."""
    feeds = _FEEDS.setdefault(windower, [])
    found = next((one for one in feeds if one.route is route and one.source == source), None)
    if found is None:
        found = Feed(route, source)
        feeds.append(found)
    return found
