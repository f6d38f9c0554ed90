"""What is believed of the link's rate: the estimator's, or what pairs tell, until messages refute it. No clock."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from bridge.offload.pairs import Pairs

if TYPE_CHECKING:
    from bridge.link import Estimate

REFUTED: Final = 3  # points against the believed rate, in a row, that refute it
LATEST, LIKE = 12, 3  # messages that one is compared with: at most, at least
NEAR: Final = 0.1  # of its size, by which theirs may differ
QUICKER: Final = 0.9  # of the quickest of these: another link, for a thin one takes of each size what it takes
QUICK: Final = ((4.0, 2), (2.0, 1))  # times as quick as the believed rate takes: so many points


class Belief:
    """Between an estimator and those who choose.

    Attributes:
        pairs: what they tell.
        estimate: as believed at the last look.
    """

    def __init__(self, estimate: Estimate) -> None:
        self.pairs = Pairs()
        self.estimate = estimate
        self._measured = estimate
        self._against = 0
        self._latest: deque[tuple[float, int]] = deque(maxlen=LATEST)  # seconds and bytes of those answered
        self._refuted = math.inf  # the measured rate that was, bytes/s

    @property
    def rate(self) -> float | None:
        """Bytes a second that limit us, as believed."""
        return self.estimate.goodput if self.estimate.goodput_known else None

    @property
    def base(self) -> float:
        """Seconds that a message of no bytes takes, or the least that was seen."""
        return self.estimate.mqtt.base if self.pairs.rate is None else self.pairs.base

    def look(self, measured: Estimate) -> Estimate:
        """What is to be believed of what was measured."""
        self._measured = measured
        if self._refuted < math.inf:  # what is delivered can only raise the rate: lower, the link limited us anew
            self._refuted = math.inf if measured.goodput < self._refuted else measured.goodput
        known = measured.goodput_known and self._refuted == math.inf
        rate, leg = self.pairs.rate, measured.mqtt
        if rate is not None:
            leg = msgspec.structs.replace(leg, base=self.pairs.base + leg.size / rate)
            goodput = measured.goodput if known else rate
            measured = msgspec.structs.replace(measured, mqtt=leg, goodput=goodput, goodput_known=True)
        elif measured.goodput_known and not known:
            measured = msgspec.structs.replace(measured, goodput_known=False)
        self.estimate = measured
        return measured

    def answered(self, took: float, size: int, now: float) -> None:
        """A message was answered: a stream that does not fill the link would never learn that it has become wider.

        What was refuted stays so: small messages take too little of it to tell again.

        Args:
            took: seconds.
            size: bytes.
            now: monotonic seconds.
        """
        self.pairs.expects(took, size, self.base, self.rate, now)
        self._compare(took, size, now)
        if self.rate is None:
            self._against = 0
            return
        times = size / self.rate / max(took, 1e-6)
        points = next((points for quick, points in QUICK if times > quick), 0)
        self._against = self._against + points if points else 0
        if self._against >= REFUTED:
            self.refute()

    def _compare(self, took: float, size: int, now: float) -> None:
        """One that is quicker than all the latest of about its size: on a thin link, a reason to look again."""
        if self.rate is not None:
            like = [other for other, near in self._latest if abs(near - size) <= NEAR * size]
            if len(like) >= LIKE and took < QUICKER * min(like):
                self.pairs.wish("soon", now)
        self._latest.append((took, size))

    def refute(self) -> None:
        """The link is not what limits."""
        self._against = 0
        self.pairs.forget()
        if self._measured.goodput_known:
            self._refuted = self._measured.goodput
        self.estimate = msgspec.structs.replace(self.estimate, goodput_known=False)

    def waits(self, took: float, now: float) -> None:
        """The oldest message under way has waited so long."""
        self.pairs.expects(took, 0, self.base, self.rate, now)
