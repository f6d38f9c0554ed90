"""The last answers and silences of one cloud agent, and the chance that the next answer comes within a time.

A silence is a censored sample: the answer would have taken longer than was waited, nobody knows how much. The chance is
the product-limit estimate (Kaplan & Meier 1958) over weights that fade, so that a silence of 2 s says all about what is
sooner and nothing about what is later. Before the first sample it is 0.9: hope that fades as samples do, so that an
agent nobody knows is tried, and one that never answers is soon hopeless.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from operator import attrgetter

from bridge.link.smoothing import Smoothed

KEPT = 32  # samples
FORGOTTEN = 30.0  # seconds after which a sample counts no more: a bad spell must not stick
FADE = 15 / 16  # of a sample's weight that is left when the next one has come
FADE_SECONDS = 5.0  # in which its weight falls to 1/e beside newer ones
HIT, MISS = 0.225, 0.025  # samples held to be seen before the first; the hit fades as they do
TOGETHER = 0.002  # seconds; questions asked at once share one message's fate: together they are one sample
NEWEST = 4  # samples in a row that may refute all others
EXCEPTIONS = 16  # one in so many of the others may side with them
UNUSUAL = 0.25  # of the mean, that one must be off it before a change is looked for
STEP = 0.01  # seconds; smaller steps, or by less than a factor of two, refute nothing

_ASKED = attrgetter("asked")


class Sample:
    """How long the answers to questions asked at once took.

    Attributes:
        at: local seconds at which it was learned.
        asked: local seconds of the questions.
        value: seconds; if silent, at least so many.
        size: bytes of a question.
        silent: none came.
        weight: 1 when new.
        count: questions.
    """

    __slots__ = ("asked", "at", "count", "silent", "size", "value", "weight")

    def __init__(self, at: float, asked: float, value: float, size: float, *, silent: bool) -> None:
        self.at = at
        self.asked = asked
        self.value = value
        self.size = size
        self.silent = silent
        self.weight = 1.0
        self.count = 1

    def share(self, at: float, value: float, size: float) -> None:
        """One more question asked at once with these."""
        self.at = at
        self.count += 1
        self.value += (value - self.value) / self.count
        self.size += (size - self.size) / self.count


class Samples:
    """The last `KEPT` samples of the last `FORGOTTEN` seconds.

    Attributes:
        smoothed: mean and variation of the values (RFC 6298 gains); of silences only those longer than the mean.
        came: the same, of answers alone.
        slope: seconds a byte; values are compared as if questions had no size.
    """

    def __init__(self) -> None:
        self.smoothed = Smoothed()
        self.came = Smoothed()
        self.slope = 0.0
        self._hope = HIT
        self._since = -math.inf  # questions asked before met another network
        self._kept: deque[Sample] = deque(maxlen=KEPT)
        self._silent = 0
        self._values: list[float] = []
        self._chances: list[float] = [HIT / (HIT + MISS)]
        self._fresh = True

    def __len__(self) -> int:
        return len(self._kept)

    def answered(self, at: float, asked: float, value: float, size: float) -> None:
        """An answer came `value` seconds after its question; one held to be silent until now is silent no more."""
        late = self._held_silent(asked) if self._silent else None
        if late is not None:
            late.value, late.silent, late.at = value, False, max(late.at, at)
            self._silent -= 1
            self._fresh = False
            bare = max(0.0, value - size * self.slope)
            self.smoothed.sample(bare)
            self.came.sample(bare)
            return
        self._add(at, asked, value, size, silent=False)

    def silent(self, at: float, asked: float, waited: float, size: float) -> None:
        """No answer came within `waited` seconds."""
        self._add(at, asked, waited, size, silent=True)

    @property
    def lost(self) -> float:
        """Share of questions that nobody answers, in spells like the present one."""
        return (self._silent + 0.5) / (len(self._kept) + 1.0)

    def forget(self, now: float) -> None:
        """Leave out what is too old."""
        kept = self._kept
        if not kept or now - kept[0].at <= FORGOTTEN:
            return
        while kept and now - kept[0].at > FORGOTTEN:
            self._silent -= kept.popleft().silent
        self._fresh = False
        if not kept:
            self.smoothed, self.came, self._hope = Smoothed(), Smoothed(), HIT

    def chance(self, left: float) -> float:
        """Probability that the answer to a question of no size comes within `left` seconds."""
        if not self._fresh:
            self._reckon()
        return self._chances[bisect_right(self._values, left)]

    def _held_silent(self, asked: float) -> Sample | None:
        return next((each for each in self._kept if each.silent and abs(each.asked - asked) <= TOGETHER), None)

    def _add(self, at: float, asked: float, value: float, size: float, *, silent: bool) -> None:
        if asked < self._since:
            return
        kept = self._kept
        self._fresh = False
        if kept:
            last = kept[-1]
            if last.silent == silent and abs(last.asked - asked) <= TOGETHER:
                last.share(at, value, size)
                return
            fade = FADE * math.exp(min(0.0, last.at - at) / FADE_SECONDS)
            for each in kept:
                each.weight *= fade
            self._hope *= fade
            if len(kept) == KEPT:
                self._silent -= kept[0].silent
        kept.append(Sample(at, asked, value, size, silent=silent))
        self._silent += silent
        bare, mean = max(0.0, value - size * self.slope), self.smoothed.srtt
        if not silent or bare > mean:
            self.smoothed.sample(bare)
        if not silent:
            self.came.sample(bare)
        if len(kept) >= 2 * NEWEST and (silent or abs(bare - mean) > UNUSUAL * mean):
            self._look_for_change()

    def _look_for_change(self) -> None:
        """Begin anew if those asked last all lie on one side of the others.

        By chance they do in 1 of 70 orders of eight samples, in 1 of 35,960 of 32.
        """
        kept = sorted(self._kept, key=_ASKED)  # what is slow comes after what was asked later
        cut = len(kept) - NEWEST
        slope = self.slope
        newest = [each.value - each.size * slope for each in kept[cut:]]
        values = [math.inf if each.silent else each.value - each.size * slope for each in kept]
        older, low, high = values[:cut], min(newest), max(values[cut:])
        few, usual = cut // EXCEPTIONS, sorted(older)[cut // 2]
        slower = sum(value >= low for value in older) <= few and low - usual > max(STEP, usual)
        quicker = sum(value <= high for value in older) <= few and usual - high > max(STEP, high)
        if slower or quicker:
            self._begin_anew(kept[cut:])

    def _begin_anew(self, newest: list[Sample]) -> None:
        self._kept = deque(newest, maxlen=KEPT)
        self._since = newest[0].asked - TOGETHER
        self._silent = sum(each.silent for each in newest)
        self.smoothed = Smoothed()
        if self._silent < NEWEST:
            self.came = Smoothed()
        for each in newest:
            bare = max(0.0, each.value - each.size * self.slope)
            self.smoothed.sample(bare)
            if not each.silent:
                self.came.sample(bare)

    def _reckon(self) -> None:
        slope = self.slope
        votes = sorted((each.value - each.size * slope, each.silent, each.weight) for each in self._kept)
        at_risk = self._hope + MISS + sum(each.weight for each in self._kept)
        later = 1.0 - self._hope / at_risk
        at_risk -= self._hope
        self._values, self._chances = values, chances = [], [1.0 - later]
        for value, silent, weight in votes:
            if not silent:
                later *= 1.0 - weight / at_risk
                values.append(value)
                chances.append(1.0 - later)
            at_risk -= weight
        self._fresh = True
