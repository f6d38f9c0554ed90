"""Which ways to ask on purpose, and when. Pure: `now` is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.link import Probes
from bridge.link.traffic import OVERHEAD, RECEIPT
from edge_agent.silence import is_deaf

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from bridge.link import Estimate, Leg, Profile
    from bridge.link.events import Protocol
    from bridge.link.profiles import Transport

CONFIGURED: dict[Protocol, Transport] = {"coap": "coap-con", "mqtt": "mqtt-1"}  # before anything is chosen
ALONE, TOGETHER = 0.25, 0.5  # seconds, or half a round trip, between questions while the way in use is silent, or all
SELDOM = 1.0  # the same in a long silence
FRESH, LONG = 2.0, 20.0  # seconds of silence: beyond, nothing is decided by asking often; it is long
LATELY, STILL = 0.25, 1.0  # seconds since a way that is not in use was heard: it need not be asked as a silence
# begins, nor while it lasts


class Questions:
    """Idle ways are probed, all are asked while a way in use is silent, both for 1 % of the bytes.

    While nothing gets through any way there is nothing to take a share of, and the questions are what notices the end.
    """

    def __init__(self) -> None:
        self._probes = Probes()
        self._left: dict[Protocol, int] = {}
        self._suspected = float("-inf")
        self._lasts = False

    def passed(self, size: int, protocol: Protocol, profile: Profile | None) -> None:
        """A message of so many bytes went by this protocol, as the profile says: its bytes both ways count."""
        transport = CONFIGURED[protocol] if profile is None else profile.transport
        receipts = 0 if protocol == "coap" else sum(RECEIPT)
        self._probes.passed(size + sum(OVERHEAD[transport]) + receipts)

    def due(
        self, now: float, estimate: Estimate, left: Mapping[Protocol, int], used: Collection[Protocol]
    ) -> set[Protocol]:
        """The ways to ask now.

        A way in use that falls silent is asked too, for perhaps it is the bridge that is slow.

        Args:
            now: seconds.
            estimate: of the link.
            left: of each way how many questions left so far, whoever asked them.
            used: ways in use.
        """
        legs = {name: estimate.leg(name) for name in left}
        for name, count in left.items():
            self._probes.left(name, count - self._left.get(name, 0), out=legs[name].out)
        self._left = dict(left)
        probe = self._probes.due(now, estimate)
        found = {probe} & set(left) if probe is not None else set()
        suspect = any(legs[name].out or legs[name].doubtful or not legs[name].up for name in used)
        self._lasts &= suspect
        if suspect and now - self._suspected >= _apart([legs[name] for name in used], legs.values()):
            lately = STILL if self._lasts else LATELY
            doubtful = {name for name, leg in legs.items() if leg.heard >= lately or name in used} - found
            if all(map(is_deaf, legs.values())) or self._probes.affords(doubtful, estimate):
                self._suspected, self._lasts = now, True
                for name in doubtful:
                    self._probes.asked(now, name)
                found |= doubtful
        return found

    def again(self) -> None:
        """After an outage of all ways: the next silence is asked about at once."""
        self._suspected = float("-inf")


def _apart(used: Iterable[Leg], every: Iterable[Leg]) -> float:
    """Seconds between questions."""
    used = list(used)
    silent = min((leg.silent for leg in used if leg.up), default=FRESH)
    if silent >= LONG:
        return SELDOM
    often = ALONE if silent < FRESH and not all(is_deaf(leg) for leg in every) else TOGETHER
    return max([often, *(leg.rtt / 2 for leg in used)])
