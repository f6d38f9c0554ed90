"""When to ask the path on purpose: only where it is silent, and for at most 1 % of the bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.link.events import PROTOCOLS
from bridge.link.timeline import Timeline

if TYPE_CHECKING:
    from bridge.link.estimate import Estimate, Leg
    from bridge.link.events import Protocol

SHARE = 0.01  # of all bytes sent
IDLE = 5.0  # seconds without a word from the peer over a protocol until it is probed
APART = 1.0  # seconds between probes
SOON = 0.5  # the same where nothing gets through: the end of that is to be noticed
SAVED = 2_400  # bytes that may be saved up, so that a busy day does not pay for a noisy night, or owed
RESERVE = 480  # bytes that idle ways leave for questions that a silence asks
# Bytes that go up and come back. CoAP: IP, UDP and an empty message each way. MQTT: PINGREQ and the acknowledgement of
# the PINGRESP go up, PINGRESP comes back, each with 52 bytes of IP and TCP.
COST: dict[Protocol, tuple[int, int]] = {"coap": (32, 32), "mqtt": (106, 54)}


class Probes:
    """Keeps the account; what a probe is (CoAP ping, PINGREQ) is the adapters' business."""

    def __init__(self) -> None:
        self._budget = 0.0
        self._time = Timeline()
        self._last: dict[Protocol, float] = {}

    def sent(self, size: int) -> None:
        """So many bytes of rows and of what answers them passed the link: they pay for probes."""
        self._budget = min(self._budget + SHARE * max(size, 0), float(SAVED))

    def due(self, now: float, estimate: Estimate) -> Protocol | None:
        """The protocol to probe now, in use or not; asking counts as probing.

        Nothing is due where the connection is down, for its adapter is busy raising it.
        """
        now, _ = self._time.read(now)
        silent = [one for one in PROTOCOLS if _is_silent(estimate.leg(one)) and now >= self._again(one, estimate)]
        if not silent:
            return None
        chosen = min(silent, key=lambda protocol: self._last.get(protocol, float("-inf")))
        out = estimate.leg(chosen).out
        if self._budget < _cost(chosen, out=out) + (0 if out else RESERVE):
            return None
        self._ask(now, chosen, out=out)
        return chosen

    def asked(self, now: float, protocol: Protocol, *, out: bool) -> None:
        """It was asked at `now`, because of a silence; `out`: no answer is expected."""
        self._ask(self._time.read(now)[0], protocol, out=out)

    def _ask(self, now: float, protocol: Protocol, *, out: bool) -> None:
        self._last[protocol] = now
        self._budget = max(self._budget - _cost(protocol, out=out), -float(SAVED))

    def _again(self, protocol: Protocol, estimate: Estimate) -> float:
        apart = SOON if estimate.leg(protocol).out else APART
        return self._last.get(protocol, float("-inf")) + apart


def _cost(protocol: Protocol, *, out: bool) -> int:
    up, down = COST[protocol]
    return up if out else up + down


def _is_silent(leg: Leg) -> bool:
    return leg.up and (leg.out or leg.heard >= IDLE)
