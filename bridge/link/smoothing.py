"""Smoothed round trip and its variation, as RFC 6298 has them: the one place of that formula."""

from __future__ import annotations

ALPHA, BETA, K = 1 / 8, 1 / 4, 4  # section 2.3
INITIAL_RTO = 1.0  # seconds before the first sample, section 2.1
MOST_RTO = 60.0  # seconds, section 2.5


class Smoothed:
    """RFC 6298 section 2.

    Attributes:
        srtt: smoothed round trip, seconds; 0 before the first sample.
        rttvar: its variation, seconds.
        samples: how many there were.
    """

    __slots__ = ("rttvar", "samples", "srtt")

    def __init__(self) -> None:
        self.srtt = self.rttvar = 0.0
        self.samples = 0

    def sample(self, seconds: float) -> None:
        """Take in one unambiguous round trip: section 2.2 for the first, section 2.3 for all further ones."""
        if self.samples == 0:
            self.srtt, self.rttvar = seconds, seconds / 2
        else:
            self.rttvar += BETA * (abs(self.srtt - seconds) - self.rttvar)
            self.srtt += ALPHA * (seconds - self.srtt)
        self.samples += 1

    def timeout(self, margin: float) -> float:
        """Seconds after which an answer is missed, without back-off.

        Args:
            margin: least distance from the round trip, seconds; the clock's granularity G of section 2.
        """
        if not self.samples:
            return INITIAL_RTO
        return min(self.srtt + max(margin, K * self.rttvar), MOST_RTO)
