"""When an answer is there: the whole model on the bridge, the whole in the cloud, or its head here and its tail there.

All three are told in the cut's favour. Left out are the headers of MQTT, TCP and IP, the question's other fields, the
reply's bytes and every queue: the whole on the bridge has none of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


class Link(msgspec.Struct, frozen=True):
    """A way to the cloud.

    Attributes:
        rate: bits per second.
        round_trip: seconds.
    """

    rate: float
    round_trip: float


class Way(msgspec.Struct, frozen=True):
    """What a window needs that is answered in the cloud: work here, bytes on the link, work there.

    Attributes:
        name: what people call it.
        here: seconds on the gateway: the head's run, and writing what is sent; the whole in the cloud has no head.
        size: bytes sent.
        there: seconds that reading it and the tail's run take *on the gateway*; the cloud's are so many times fewer.
    """

    name: str
    here: float
    size: int
    there: float


def seconds(way: Way, link: Link, *, speed: float) -> float:
    """From the window to its answer, by way of the cloud.

    Args:
        way: what is done and sent.
        link: what it is sent over.
        speed: how many times faster than the gateway the cloud computes, above 0.
    """
    return way.here + 8 * way.size / link.rate + link.round_trip + way.there / speed


def best(cuts: Sequence[Way], link: Link, *, speed: float) -> tuple[str, float] | None:
    """The cut that answers first over a link, and its seconds; None without cuts."""
    found = [(cut.name, seconds(cut, link, speed=speed)) for cut in cuts]
    return min(found, key=lambda pair: pair[1], default=None)


def bound(cut: Way, cloud: Way, bridge: float, *, speed: float) -> float:
    """The round trip from which on a cut beats both whole placements on no link, whatever its rate.

    Against the cloud the round trip does not count: the cut wins if 8·(cloud.size − cut.size) / rate > longer, where
    `longer` is what it computes longer. Against the bridge it wins if round trip < room − 8·cut.size / rate, where
    `room` = bridge − cut.here − cut.there / speed: most at the highest rate that the first allows.

    Args:
        cut: head here, tail there.
        cloud: the whole there.
        bridge: seconds of the whole on the gateway.
        speed: how many times faster than the gateway the cloud computes, above 0.

    Returns:
        Seconds; 0 where the cut is beaten on every link.
    """
    longer = cut.here + cut.there / speed - cloud.here - cloud.there / speed
    fewer = 8 * (cloud.size - cut.size)
    if longer >= 0 and fewer <= 0:
        return 0.0
    rate = fewer / longer if longer > 0 else math.inf
    return max(0.0, bridge - cut.here - cut.there / speed - 8 * cut.size / rate)
