"""When to ask the path on purpose: only where it is silent, and for at most 1 % of the bytes.

Questions are paid for as they leave, whoever asked them, so that the share holds by count, whatever the link does:
those of the keep-alive and of who watches over a connection leave less for idle ways. A silence may owe `CREDIT`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.link.events import PROTOCOLS
from bridge.link.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.link.estimate import Estimate, Leg
    from bridge.link.events import Protocol

SHARE = 0.01  # of all bytes sent
IDLE = 5.0  # seconds without a word from the peer over a protocol until it is probed
APART = 1.0  # seconds between probes
SOON = 0.5  # the same where nothing gets through: the end of that is to be noticed
SAVED = 2_400  # bytes that may be saved up, so that a busy day does not pay for a noisy night, or owed
RESERVE = 1_280  # bytes that idle ways leave for questions that a silence asks
CREDIT = 1_600  # bytes that these may owe besides
# Bytes that go up and come back. CoAP: IP, UDP and an empty message each way. MQTT: PINGREQ and the acknowledgement of
# the PINGRESP go up, PINGRESP comes back, each with 52 bytes of IP and TCP.
COST: dict[Protocol, tuple[int, int]] = {"coap": (32, 32), "mqtt": (106, 54)}


class Probes:
    """Keeps the account; what a probe is (CoAP ping, PINGREQ) is the adapters' business."""

    def __init__(self) -> None:
        self._budget = 0.0
        self._time = Timeline()
        self._last: dict[Protocol, float] = {}

    def passed(self, size: int) -> None:
        """So many bytes of rows and of what answers them passed the link: they pay for probes."""
        self._budget = min(self._budget + SHARE * max(size, 0), float(SAVED))

    def due(self, now: float, estimate: Estimate) -> Protocol | None:
        """The protocol to probe now, in use or not; its time counts as asked, and its bytes once it has `left`.

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
        self._last[chosen] = now
        return chosen

    def affords(self, protocols: Iterable[Protocol], estimate: Estimate) -> bool:
        """Whether all these may be asked because of a silence."""
        cost = sum(_cost(one, out=estimate.leg(one).out) for one in protocols)
        return self._budget + CREDIT >= cost

    def asked(self, now: float, protocol: Protocol) -> None:
        """It is asked at `now`, because of a silence."""
        self._last[protocol] = self._time.read(now)[0]

    def left(self, protocol: Protocol, count: int, *, out: bool) -> None:
        """So many questions left this way; `out`: no answer is expected."""
        self._budget = max(self._budget - count * _cost(protocol, out=out), -float(SAVED))

    def _again(self, protocol: Protocol, estimate: Estimate) -> float:
        apart = SOON if estimate.leg(protocol).out else APART
        return self._last.get(protocol, float("-inf")) + apart


def _cost(protocol: Protocol, *, out: bool) -> int:
    up, down = COST[protocol]
    return up if out else up + down


def _is_silent(leg: Leg) -> bool:
    return leg.up and (leg.out or leg.heard >= IDLE)
