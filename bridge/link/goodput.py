"""Bytes a second that the path delivers: windowed maximum of delivery rates (BBR, draft-ietf-ccwg-bbr).

Most streams never fill the path. Their delivery rate is what they sent, not what could be sent: such a sample may only
raise the estimate. A sample is the link's own when answers come further apart than the messages left, evenly, each
later after its message than the one before: a queue builds up. One long gap is no queue but a loss that held the rest
back, or a longer way; and noise does not make eight round trips grow in a row (1 in 40,320).
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise

from bridge.link.window import Window

TRAIN = 8  # answers that one sample spans
SPREAD = 1.1  # how much further apart than they left
EVEN = 3.0  # times the mean distance that one may be
SPAN, SLOT = 1.5, 0.1  # seconds
BEYOND = 1.25  # of the estimate; so much delivered refutes it at once
NEAR = 0.9  # of the estimate; so much delivered while no queue stands refutes it
REFUTED = 10  # answers in a row
RECENT = 2.0  # seconds
BRIEF = 1e-3  # seconds; what takes less to drain limits nobody
MOST_RATE = 1e12  # bytes/s


class Goodput:
    """Delivery rate of one path.

    Attributes:
        known: the link's own limit was seen; else the rate is only a lower bound.
    """

    def __init__(self) -> None:
        self.known = False
        self._rates = Window(SPAN, SLOT, least=2)
        self._train: deque[tuple[float, float, int, int]] = deque(maxlen=TRAIN)
        self._against = 0
        self._limited_at = float("-inf")

    @property
    def rate(self) -> float:
        """Bytes a second, 0 before anything is known."""
        return self._rates.maximum if len(self._rates) else 0.0

    def limited(self, now: float) -> bool:
        """The link itself was the limit in the last two seconds."""
        return now - self._limited_at <= RECENT

    def acked(self, at: float, sent: float, size: int, carried: int, *, steady: bool) -> None:
        """One message arrived.

        Args:
            at: local seconds of its answer.
            sent: local seconds at which it left.
            size: bytes.
            carried: bytes of all transmissions before its own: what the link had to carry first.
            steady: its round trip was hardly longer than the recent least.
        """
        train = self._train
        if train and at < train[-1][0]:
            return  # told out of order
        train.append((at, sent, size, carried))
        if len(train) < TRAIN:
            return
        sizes = sum(each[2] for each in train) - train[0][2]
        drained = at - train[0][0]
        offered = max(each[1] for each in train) - min(each[1] for each in train)
        rate = min(sizes / max(drained, offered, BRIEF), MOST_RATE)
        if drained > max(SPREAD * offered, BRIEF * len(train)) and self._growing() and self._even(drained):
            if not self.known:
                self._rates.clear()
            self.known, self._against, self._limited_at = True, 0, at
            through = carried - train[0][3]  # with all that was sent twice in vain
            self._rates.add(at, max(rate, min(through / drained, MOST_RATE)))
            return
        self._app_limited(at, rate, steady=steady)

    def _growing(self) -> bool:
        return all(later[0] - later[1] > earlier[0] - earlier[1] for earlier, later in pairwise(self._train))

    def _even(self, drained: float) -> bool:
        mean = drained / (TRAIN - 1)
        gaps = [later[0] - earlier[0] for earlier, later in pairwise(self._train)]
        return max(gaps) <= EVEN * mean and min(gaps) >= mean / EVEN

    def _app_limited(self, at: float, rate: float, *, steady: bool) -> None:
        if self.known and rate >= BEYOND * self.rate:
            self.known = False
        elif self.known and steady and rate >= NEAR * self.rate:
            self._against += 1
            if self._against >= REFUTED:
                self.known = False
        else:
            self._against = 0
        if rate > self.rate:
            self._rates.add(at, rate)
