"""Round trip of one protocol: RFC 6298 for the timer, the window's minimum and median for everything else."""

from __future__ import annotations

from bridge.link.smoothing import MOST_RTO, K, Smoothed
from bridge.link.window import Window

GRANULARITY = 0.025  # seconds: an event loop and the peer's commit to disk vary by that much (G in RFC 6298)
BACK_OFF = 1.5  # RFC 6298 doubles; measured, 1.5 capped at BACKED_OFF has half the p99 at 10–20 % loss
BACKED_OFF = 1.0  # seconds; a round trip beyond that is waited for all the same
SPAN, SLOT = 1.5, 0.05  # seconds; a step of the round trip is all of the window after 1.5 s
FLOOR_SPAN, FLOOR_SLOT = 30.0, 1.0  # seconds; what the path takes with empty queues
TOO_SOON = 0.9  # of the least round trip seen
STARVED = 8  # answers in a row that nobody can attribute
UNEXPECTED = 4  # times that one counts which no known round trip explains


class RoundTrip(Smoothed):
    """RTT samples of one protocol.

    Attributes:
        near: the last 1.5 s.
        far: the last 30 s.
    """

    def __init__(self) -> None:
        super().__init__()
        self.near = Window(SPAN, SLOT)
        self.far = Window(FLOOR_SPAN, FLOOR_SLOT)
        self._back_off = 1.0
        self._backed_off = float("-inf")
        self._unclear = 0

    def measured(self, at: float, rtt: float) -> None:
        """One clean round trip; ends the back-off."""
        self.sample(rtt)
        self.near.add(at, rtt)
        self.far.add(at, rtt)
        self._back_off = 1.0
        self._unclear = 0

    def attribute(self, delays: list[float], told: int | None) -> int | None:
        """Which volley an answer belongs to.

        Karn's rule (RFC 6298 section 3) takes no sample once there were several. But an answer that came sooner than
        any round trip seen cannot belong to that volley; if one is left, the answer is its. Without this, a first RTO
        below the round trip starves the estimate.

        Args:
            delays: seconds from each volley to the answer, first volley first.
            told: the volley, where the protocol tells.

        Returns:
            Its index; None: nobody can say.
        """
        if told is not None or len(delays) == 1 or not self.samples:
            return told or 0  # before any sample: an upper bound, which waits too long rather than too briefly
        least = TOO_SOON * self.near.minimum
        possible = [index for index, delay in enumerate(delays) if delay >= least]
        return (possible or [0])[0] if len(possible) <= 1 else None

    def starved(self, delays: list[float]) -> bool:
        """One more answer that could not be attributed; whether its delay since the first volley should be taken.

        The round trip has then probably grown beyond the timer (the weak estimator of draft-ietf-core-cocoa-03). An
        answer that comes as expected after no volley at all says so much louder than one that may follow a loss.

        Args:
            delays: seconds from each volley to the answer.
        """
        near = max(GRANULARITY, K * self.rttvar)
        self._unclear += 1 if any(abs(delay - self.srtt) <= near for delay in delays) else UNEXPECTED
        return self._unclear >= STARVED

    def expired(self, at: float) -> None:
        """A timer ran out (RFC 6298 section 5.5): back off, once in an RTO however many messages wait."""
        if at - self._backed_off >= self.rto:
            self._back_off = min(self._back_off * BACK_OFF, MOST_RTO)
            self._backed_off = at

    @property
    def plain_rto(self) -> float:
        """Seconds, without back-off."""
        return self.timeout(GRANULARITY)

    @property
    def rto(self) -> float:
        """Seconds to wait for an answer before sending again."""
        plain = self.plain_rto
        return min(plain * self._back_off, max(plain, BACKED_OFF))
