"""How much is lost each way, and whether alone or in spells.

All counts are of one-way transmissions with the same loss p each way; a round trip fails with 1 − (1 − p)².
"""

from __future__ import annotations

import math
from collections import OrderedDict

PRIOR_LOSS, PRIOR_WEIGHT = 0.01, 20.0  # what is believed before anything was seen, in transmissions
FAST, SLOW = 60.0, 800.0  # transmissions that the two memories hold
SURPRISE = 7.0  # log-likelihood ratio from which more loss than before is no chance
RESTART = 10.0  # transmissions that the long memory weighs after a surprise: what follows soon outvotes them
QUIET = 9.2  # −ln of the chance (1 in 10,000) that so many arrived in a row as before
FORGET = 120.0  # seconds after which an unused observation weighs 1/e
MOST_LOSS = 0.9
PAIRS = 40.0  # pairs of neighbours that are remembered
PAIR_PRIOR = 4.0
NEIGHBOURS = 1.0  # seconds between messages that still tell of one spell
ORDERED = 128  # outcomes kept to find neighbours
SPELL = 0.3  # correlation from which losses count as spells


class Loss:
    """Loss of transmissions whose fate is known; what is under way is not in it."""

    def __init__(self) -> None:
        self._fast, self._slow = [0.0, 0.0], [0.0, 0.0]
        self._at = 0.0
        self._quiet = 0.0
        self._outcomes: OrderedDict[int, tuple[float, bool]] = OrderedDict()
        self._after = [0.0, 0.0]
        self._gap = 0.0

    @property
    def rate(self) -> float:
        """Probability that one transmission is lost on its way, 0…0.9."""
        lost, trials = self._slow
        return min((lost + PRIOR_LOSS * PRIOR_WEIGHT) / (trials + PRIOR_WEIGHT), MOST_LOSS)

    @property
    def trials(self) -> float:
        """Transmissions that `rate` rests on, the prior not counted."""
        return self._slow[1]

    @property
    def correlation(self) -> float:
        """Of neighbours' losses, 0…0.99: 0 random, near 1 in spells."""
        p = self.rate
        hits, trials = self._after
        after = (hits + p * PAIR_PRIOR) / (trials + PAIR_PRIOR)
        return min(max((after - p) / (1 - p), 0.0), 0.99)

    @property
    def spell(self) -> float:
        """Seconds after which a spell of loss is forgotten to 1/e; 0 where losses are independent.

        Two-state channel (Gilbert 1960): correlation at distance g is exp(−g/spell).
        """
        correlation = self.correlation
        return -self._gap / math.log(correlation) if correlation > SPELL else 0.0

    def counted(self, at: float, lost: float, trials: float, *, arrived: float) -> None:
        """Transmissions whose fate is known.

        A long memory is exact, a short one is quick. The long one is believed until the short one holds more losses
        than what came before it explains (log-likelihood ratio of two Poisson rates, Page 1954), or until more arrived
        in a row than chance explains; then it starts again from what came last. With correlation r losses tell
        (1 − r)/(1 + r) as much.

        Args:
            at: local seconds.
            lost: how many were lost; may be an expectation.
            trials: how many there were.
            arrived: how many surely arrived, if none was lost.
        """
        if trials <= 0:
            return
        age = math.exp(-max(0.0, at - self._at) / FORGET)
        self._at = max(self._at, at)
        for memory, length in ((self._fast, FAST), (self._slow, SLOW)):
            kept = age * math.exp(-trials / length)
            memory[0] = memory[0] * kept + min(lost, trials)
            memory[1] = memory[1] * kept + trials
        telling = (1 - self.correlation) / (1 + self.correlation)
        if self._surprise() * telling > SURPRISE:
            self._slow = [self._fast[0] * RESTART / self._fast[1], RESTART]
        self._quiet = self._quiet + arrived if arrived > 0 else 0.0
        if self._quiet * -math.log1p(-self.rate) * telling > QUIET:
            self._slow, self._quiet = [0.0, self._quiet], 0.0

    def _surprise(self) -> float:
        """How much likelier the short memory's rate explains it than the rate before; 0 if that was higher."""
        lost, trials = self._fast
        before = self._slow[1] - trials
        if min(trials, before) < 2 * RESTART:
            return 0.0
        old = (max(0.0, self._slow[0] - lost) + PRIOR_LOSS * PRIOR_WEIGHT) / (before + PRIOR_WEIGHT)
        new = lost / trials
        return lost * math.log(new / old) - trials * (new - old) if new > old else 0.0

    def volley(self, at: float, copies: int, *, answered: bool) -> None:
        """A volley of copies whose answer came, or was missed; the receiver answers the first that arrives.

        Expectation step of EM: with p as believed, how many of the transmissions were lost, the answer included. An
        answer tells little of the copies, a missing one may mean a lost answer.
        """
        p = self.rate
        all_lost = p**copies
        lost_of_some = copies * (p - all_lost) / (1 - all_lost)  # expected, given that one arrived
        if answered:
            self.counted(at, lost_of_some, copies + 1, arrived=2.0 if copies == 1 else 1.0)
            return
        unheard = all_lost / (all_lost + (1 - all_lost) * p)  # rather than: heard, and the answer lost
        lost = unheard * copies + (1 - unheard) * (lost_of_some + 1)
        self.counted(at, lost, copies + 1 - unheard, arrived=0.0)

    def outcome(self, number: int, at: float, *, lost: bool) -> None:
        """Fate of the first transmission of message `number`: pairs of neighbours tell of spells."""
        outcomes = self._outcomes
        if number in outcomes:
            return
        outcomes[number] = (at, lost)
        while len(outcomes) > ORDERED:
            outcomes.popitem(last=False)
        for earlier, later in ((number - 1, number), (number, number + 1)):
            if earlier in outcomes and later in outcomes:
                self._pair(outcomes[earlier], outcomes[later])

    def _pair(self, earlier: tuple[float, bool], later: tuple[float, bool]) -> None:
        gap = later[0] - earlier[0]
        if earlier[1] and 0 <= gap <= NEIGHBOURS:
            kept = math.exp(-1 / PAIRS)
            self._after = [self._after[0] * kept + later[1], self._after[1] * kept + 1]
            self._gap += (gap - self._gap) / min(self._after[1], PAIRS)
