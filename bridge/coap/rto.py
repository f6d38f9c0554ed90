"""The retransmission time-out of one destination. Pure: seconds come in, seconds go out."""

from __future__ import annotations

from typing import Protocol

from bridge.link.smoothing import INITIAL_RTO, Smoothed

INITIAL_S = INITIAL_RTO
"""Time-out before the first sample (RFC 6298 section 2.1, RFC 8961 section 4)."""

MARGIN_S = 0.02
"""Least distance of the time-out from the round trip: a bridge's acknowledgement waits for its commit, a few ms to
20 ms, and an event loop's timers add some; RFC 6298 has the clock's granularity in this place."""

LEAST_S = 0.05
"""Smallest time-out: on a LAN a commit that is slow for once must not cost a copy of everything in flight."""


class RoundTrip(Protocol):
    """What the sender must know of the round trip; a link estimate may stand in for `Rfc6298`."""

    @property
    def srtt_s(self) -> float | None:
        """Usual seconds from a sending to its acknowledgement; None before the first sample."""

    @property
    def rto_s(self) -> float:
        """Seconds after which an unacknowledged datagram counts as lost, without any back-off."""

    def sample(self, seconds: float) -> None:
        """Take in one unambiguous round trip."""


class Rfc6298:
    """Smoothed round trip and variation (RFC 6298 section 2), with a smaller least time-out.

    RFC 6298 asks for at least 1 s; TCP stacks use 0.2 s. RFC 8961 section 4 leaves it open where, as here, the time-out
    follows samples, spurious repetitions are harmless (the bridge recognises them) and the sending rate is bounded.
    """

    def __init__(self, *, initial_s: float = INITIAL_S) -> None:
        self._initial = initial_s
        self._trip = Smoothed()

    @property
    def srtt_s(self) -> float | None:
        """See `RoundTrip`."""
        return self._trip.srtt if self._trip.samples else None

    @property
    def rto_s(self) -> float:
        """See `RoundTrip`."""
        return max(self._trip.timeout(MARGIN_S), LEAST_S) if self._trip.samples else self._initial

    def sample(self, seconds: float) -> None:
        """See `RoundTrip`."""
        self._trip.sample(seconds)
