"""Bytes a second that the path delivers: windowed maximum of delivery rates (BBR, draft-ietf-ccwg-bbr).

Most streams never fill the path. Their delivery rate is what they sent, not what could be sent: such a sample may only
raise the estimate. A sample is the link's own when answers come further apart than the messages left, evenly, each
later after its message than the one before: a queue builds up. One long gap is no queue but a loss that held the rest
back, or a longer way; and noise does not make eight round trips grow in a row (1 in 40,320).

It does so with a hop or two among them: seven that grew by chance and one that a loss held back, a way that became
longer at both ends of a round trip. But each message adds to a queue what the link lacks, so the median one must add
its part, and the last no more than all before it. What is believed without need would stay: a stream that sends less
than that rate shows nothing against it.
So a limit far beyond what is delivered without a queue, as a backlog meets it when the link is back, is forgotten.

Where the link lacks little, its queue grows slowly, and one hiccup breaks such a row. That shows in three trains, each
with all its delays beyond those of the train before (noise: 1 in 9.5 × 10⁹), unless a few hops make most of the growth.
The delay of a path wanders as slowly, so it counts only once the queue is deep; until then little is lost.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from statistics import median_low
from typing import TYPE_CHECKING, NamedTuple

from bridge.link.window import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

TRAIN, LONG = 8, 24  # answers that one sample spans; three trains
SPREAD, SLIGHT = 1.1, 1.02  # how much further apart than they left: in a train, in three
EVEN = 3.0  # times the mean distance that one may be
EACH = (SPREAD - 1) / 2  # of the mean distance at which they left, that the median delay of a train grows by at least
LAST = 1 / 2  # of a train's growth; so much the last one may make of it
HOPS, MOST_HOPS = 4, 3 / 4  # the greatest steps among three trains, and how much of their growth they may make
SPAN, SLOT = 1.5, 0.1  # seconds
BEYOND = 1.25  # of the estimate; so much delivered refutes it at once
NEAR = 0.9  # of the estimate; so much delivered while no queue stands refutes it
FAR = 32.0  # times what is delivered while no queue stands: a limit so far beyond limits nobody
REFUTED = 10  # answers in a row
RECENT = 2.0  # seconds
BRIEF = 1e-3  # seconds; what takes less to drain limits nobody
MOST_RATE = 1e12  # bytes/s


class _Answer(NamedTuple):
    at: float
    sent: float
    size: int
    carried: int

    @property
    def delay(self) -> float:
        return self.at - self.sent


class Goodput:
    """Delivery rate of one path.

    Attributes:
        known: the link's own limit was seen; else the rate is only a lower bound.
    """

    def __init__(self) -> None:
        self.known = False
        self._rates = Window(SPAN, SLOT, least=2)
        self._train: deque[_Answer] = deque(maxlen=TRAIN)
        self._long: deque[_Answer] = deque(maxlen=LONG)
        self._against = 0
        self._limited_at = float("-inf")

    @property
    def rate(self) -> float:
        """Bytes a second, 0 before anything is known."""
        return self._rates.maximum if len(self._rates) else 0.0

    def limited(self, now: float) -> bool:
        """The link itself was the limit in the last two seconds."""
        return now - self._limited_at <= RECENT

    def acked(self, at: float, sent: float, size: int, carried: int, *, steady: bool, deep: bool) -> None:
        """One message arrived.

        Args:
            at: local seconds of its answer.
            sent: local seconds at which it left.
            size: bytes.
            carried: bytes of all transmissions before its own: what the link had to carry first.
            steady: its round trip was hardly longer than the recent least.
            deep: its round trip was so much longer that it waited in a queue.
        """
        train = self._train
        if train and at < train[-1].at:
            return  # told out of order
        answer = _Answer(at, sent, size, carried)
        train.append(answer)
        self._long.append(answer)
        if len(train) < TRAIN:
            return
        if (_spread(train, SPREAD) and _growing(train)) or (deep and self._lacks_little()):
            self._link_limited(at)
        else:
            self._app_limited(at, _rate(train), steady=steady)

    def _lacks_little(self) -> bool:
        return len(self._long) == LONG and _spread(self._long, SLIGHT) and _climbing(self._long)

    def _link_limited(self, at: float) -> None:
        """The train came as fast as the link carries."""
        train = self._train
        if not self.known:
            self._rates.clear()
        self.known, self._against, self._limited_at = True, 0, at
        through = train[-1].carried - train[0].carried  # with all that was sent twice in vain
        self._rates.add(at, max(_rate(train), min(through / _drained(train), MOST_RATE)))

    def _app_limited(self, at: float, rate: float, *, steady: bool) -> None:
        if self.known and rate >= BEYOND * self.rate:
            self.known = False
        elif self.known and steady and (rate >= NEAR * self.rate or FAR * rate <= self.rate):
            self._against += 1
            if self._against >= REFUTED:
                self.known = False
        else:
            self._against = 0
        if rate > self.rate:
            self._rates.add(at, rate)


def _drained(answers: Sequence[_Answer]) -> float:
    return answers[-1].at - answers[0].at


def _offered(answers: Sequence[_Answer]) -> float:
    """Seconds in which they left; repeated ones may be answered in another order."""
    return max(one.sent for one in answers) - min(one.sent for one in answers)


def _rate(answers: Sequence[_Answer]) -> float:
    """Bytes a second."""
    sizes = sum(one.size for one in answers) - answers[0].size
    return min(sizes / max(_drained(answers), _offered(answers), BRIEF), MOST_RATE)


def _spread(answers: Sequence[_Answer], spread: float) -> bool:
    """They came further apart than they left, evenly."""
    drained = _drained(answers)
    if drained <= max(spread * _offered(answers), BRIEF * len(answers)):
        return False
    mean = drained / (len(answers) - 1)
    gaps = [later.at - earlier.at for earlier, later in pairwise(answers)]
    return max(gaps) <= EVEN * mean and min(gaps) >= mean / EVEN


def _steps(answers: Sequence[_Answer]) -> list[float]:
    """By how much each was later than the one before."""
    return [later.delay - earlier.delay for earlier, later in pairwise(answers)]


def _growing(train: Sequence[_Answer]) -> bool:
    """Each delay is beyond the one before, by about as much: that is what one message adds to a queue."""
    steps = _steps(train)
    if min(steps) <= 0.0 or steps[-1] > LAST * sum(steps):
        return False
    return median_low(steps) >= EACH * _offered(train) / len(steps)


def _climbing(answers: Sequence[_Answer]) -> bool:
    """Each train's delays are beyond those of the one before, and not by a few hops."""
    steps, delays = _steps(answers), [one.delay for one in answers]
    if sum(sorted(steps)[-HOPS:]) > MOST_HOPS * sum(steps):
        return False
    trains = [delays[first : first + TRAIN] for first in range(0, len(delays), TRAIN)]
    return all(max(lower) < min(higher) for lower, higher in pairwise(trains))
