"""What decides about the windows of a route, made once for each route and version of its model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bridge.messages import Placement
from bridge.place.chances import Chances
from bridge.place.decide import CloudView, Terms, always, margin

if TYPE_CHECKING:
    from bridge.pipeline.routes import Route

NO_CLOUD = CloudView(there=False, why="no cloud is configured")


class Curve(NamedTuple):
    """How likely the cloud is right, as the model's manifest says.

    Attributes:
        points: certainties of the bridge, and the share of such windows that the cloud gets right.
        default: the share where there are no points; 1.0 where nothing is known, so that the threshold decides.
    """

    points: tuple[tuple[float, float], ...] = ()
    default: float = 1.0


class Placing(msgspec.Struct, frozen=True, eq=False):
    """What `decide` needs to know of a route.

    Attributes:
        terms: what the route declares.
        chances: how likely the cloud is right.
        margin: seconds before a window's deadline at which waiting for the cloud ends.
        patience: seconds after that deadline for which a final answer is waited for behind a provisional one: the
            grace, less the margin of all of it.
        barred: why its windows never leave the gateway; None: they may.
        always: where all its windows are answered, if that is the bridge whatever it says of them.
    """

    terms: Terms
    chances: Chances
    margin: float
    patience: float
    barred: CloudView | None
    always: Placement | None


def placing_of(route: Route, below: float | None, curve: Curve) -> Placing:
    """What decides about a route's windows.

    A threshold of the route's own says where its owner finds cloud and bridge equally good: below it the cloud is taken
    to be right at least so often, whatever the model's curve says.

    Args:
        route: the route.
        below: the model's threshold.
        curve: the model's curve.
    """
    points, default = curve
    if route.below is not None:
        below = own = route.below
        points, default = tuple((sure, max(right, own)) for sure, right in points), max(default, own)
    both = route.provisional and route.policy == "cascade"
    terms = Terms(route.policy, below, route.price, both, route.grace if both else 0.0)
    barred = CloudView(there=False, why=route.barred) if route.barred else None
    patience = route.grace - margin(route.deadline + route.grace)
    fixed = always(terms)
    at_bridge = None if fixed is None else Placement("bridge", fixed.reason, fixed.firm)
    return Placing(terms, Chances(points, default), margin(route.deadline), patience, barred, at_bridge)
