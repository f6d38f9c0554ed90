"""What never leaves the gateway where several routes, or no certain one, say what is private. Pure.

A window is as private as the strictest of the routes by which its rows came: "refuse" beats "mask", and masked are the
channels of all of them. Where the route is not known for certain (the settings changed over a restart, or the journal
is of a version that did not keep it), no window leaves if any route of the model has anything private: a route that is
gone may have masked what those that are left do not.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.pipeline.entries import Entry
    from bridge.pipeline.routes import Route

Rule = Literal["refuse", "mask"]


def strictest(routes: Iterable[Route]) -> tuple[tuple[int, ...], Rule]:
    """Indexes of the channels that any of the routes calls private, and the rule for them."""
    having = [route for route in routes if route.private]
    channels = {channel for route in having for channel in route.private}
    return tuple(sorted(channels)), "mask" if having and all(one.private_rule == "mask" for one in having) else "refuse"


def uncertain(route: Route, routes: Iterable[Route]) -> Route:
    """A route for rows of which nobody knows by which of these routes they came: like one, and it lets nothing out."""
    return _mixed(route, strictest(routes)[0], "refuse")


def turn(entry: Entry, route: Route) -> None:
    """Take note that rows of a series come by another route than that of the entry.

    Until no window can hold rows of two, each goes by the later route, with what is private of either.
    """
    series = entry.series
    if entry.turned is None or entry.turned[0] is not route:
        entry.turned = route, series.highest
        entry.route, entry.via = _mixed(route, *strictest((entry.route, route))), ""
    if series.next_window >= entry.turned[1]:
        entry.route, entry.via, entry.turned = route, route.via, None


@lru_cache(maxsize=4_096)  # as one object: what is made for a route is found by it
def _mixed(route: Route, private: tuple[int, ...], rule: Rule) -> Route:
    return msgspec.structs.replace(route, private=private, private_rule=rule, mixed=True)
