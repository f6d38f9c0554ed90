"""When to ask the path on purpose: only where it is silent, and for at most 1 % of the bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.link.events import PROTOCOLS
from bridge.link.timeline import Timeline

if TYPE_CHECKING:
    from bridge.link.estimate import Estimate
    from bridge.link.events import Protocol

SHARE = 0.01  # of all bytes sent
IDLE = 5.0  # seconds without a word from the peer over a protocol until it is probed
APART = 1.0  # seconds between probes
SAVED = 20  # probes that may be saved up, so that a busy day does not pay for a noisy night


class Probes:
    """Keeps the account; what a probe is (CoAP ping, PINGREQ) is the adapters' business.

    Args:
        size: bytes that one probe costs, both ways.
    """

    def __init__(self, size: int = 120) -> None:
        self._size = size
        self._budget = 0.0
        self._time = Timeline()
        self._last: dict[Protocol, float] = {}

    def sent(self, size: int) -> None:
        """So many bytes of rows left: they pay for probes."""
        self._budget = min(self._budget + SHARE * max(size, 0), float(SAVED * self._size))

    def due(self, now: float, estimate: Estimate) -> Protocol | None:
        """The protocol to probe now, in use or not; asking counts as probing.

        Nothing is due where the connection is down, for its adapter is busy raising it.
        """
        now, _ = self._time.read(now)
        silent = [
            protocol
            for protocol in PROTOCOLS
            if estimate.leg(protocol).up
            and estimate.leg(protocol).heard >= IDLE
            and now - self._last.get(protocol, float("-inf")) >= APART
        ]
        if not silent or self._budget < self._size:
            return None
        chosen = min(silent, key=lambda protocol: self._last.get(protocol, float("-inf")))
        self._last[chosen] = now
        self._budget -= self._size
        return chosen
