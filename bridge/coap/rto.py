"""The retransmission time-out of one destination. Pure: seconds come in, seconds go out."""

from __future__ import annotations

from typing import Protocol

from bridge.link.smoothing import INITIAL_RTO, MOST_RTO, K, Smoothed

INITIAL_S = INITIAL_RTO
"""Time-out before the first sample (RFC 6298 section 2.1, RFC 8961 section 4)."""

MARGIN_S = 0.02
"""Least distance of the time-out from the round trip, before anything of it is learned: a bridge's acknowledgement
waits for its commit, a few ms to 20 ms, and an event loop's timers add some; RFC 6298 has the clock's granularity in
this place."""

LEAST_SHARE, MOST_SHARE = 0.2, 2.0
"""Bounds of the share of RFC 6298's distance that is learned; above 1 only of `MARGIN_S`, since the variation follows
late answers by itself."""

DECAY, GROWTH = 0.92, 1.6
"""Factors of that share for a repetition that was needed and for one that was not, because the answer to the first
sending came after the time-out. It settles where ln(1/DECAY) / ln(GROWTH), one in six, is not needed. Where nothing is
lost none is needed, and it does not become shorter."""

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

    def needed(self) -> None:
        """A repetition was answered, at the usual time: the sending before was lost."""


class Rfc6298:
    """Smoothed round trip and variation (RFC 6298 section 2), with a smaller least time-out.

    RFC 6298 asks for at least 1 s; TCP stacks use 0.2 s. RFC 8961 section 4 leaves it open where, as here, the time-out
    follows samples, spurious repetitions are harmless (the bridge recognises them) and the sending rate is bounded.

    The least distance of the time-out from the round trip, the clock's granularity in RFC 6298, is learned, for what
    it must cover here is the peer's commit: so that of the repetitions few are spurious (stochastic approximation,
    Robbins and Monro 1951).
    """

    def __init__(self, *, initial_s: float = INITIAL_S) -> None:
        self._trip = Smoothed()
        self._share = 1.0
        self._rto = initial_s

    @property
    def srtt_s(self) -> float | None:
        """See `RoundTrip`."""
        return self._trip.srtt if self._trip.samples else None

    @property
    def rto_s(self) -> float:
        """See `RoundTrip`."""
        return self._rto

    def sample(self, seconds: float) -> None:
        """See `RoundTrip`."""
        if self._trip.samples and seconds > self.rto_s:
            self._share = min(self._share * GROWTH, MOST_SHARE)
        self._trip.sample(seconds)
        self._reckon()

    def needed(self) -> None:
        """See `RoundTrip`."""
        self._share = max(self._share * DECAY, LEAST_SHARE)
        self._reckon()

    def _reckon(self) -> None:
        if self._trip.samples:
            distance = max(self._share * MARGIN_S, min(self._share, 1.0) * K * self._trip.rttvar)
            self._rto = min(max(self._trip.srtt + distance, LEAST_S), MOST_RTO)
