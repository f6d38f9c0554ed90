"""The rate of a thin link from packet pairs: a tiny message, and a question right behind it. No clock, no network.

Both wait in the same queue, so the answers come apart by what the question alone takes (S. Keshav, "A Control-Theoretic
Approach to Flow Control", SIGCOMM 1991): neither a longer way nor what stands in the queue changes that, and the link
need not be filled for it. A delivery rate tells only once a queue grows, which takes 24 messages where little is
lacking.

Where the way back is as thin, the reply to the question before stands before the tiny message's answer, and the two
come closer together: pairs read up to 1.9 times too high then. But a queue stands then, too, and a row of answers tells
what it delivers (`standing`); it corrects what pairs told, for as long as the way that they saw is certain.

A pair costs bytes, so pairs are taken where there is a reason (a new connection, an answer that came much later or
sooner than expected, a link believed to be thin), and within a hundredth of what is sent.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import Final, Literal, NamedTuple

from bridge.offload.standing import Standing

COST: Final = 180  # IP bytes of the tiny message, both ways, and of its acknowledgements
SHARE: Final = 0.01  # of the bytes that are sent
BURST: Final = 12  # pairs at once, half of them to begin with
KEPT: Final = 6  # pairs that are kept for a reason where the rate is known
PAIRS: Final = 3  # that must agree
WITH_ROW: Final = 2  # the same, where a row of answers tells a rate too
FIRST: Final = 4  # at once for one reason: one may meet a reply
MOST_TRIED: Final = 6  # pairs for one reason; some meet a repetition
QUICK: Final = 2  # that were hardly apart: the link is not what limits
ALIKE: Final = 4.0  # the greatest of their rates, of the least: replies and acknowledgements come between
OTHER: Final = 1.5  # times another rate, or another way, before either is corrected: noise is no change
HIGHER: Final = 2.0  # the same of a rate that is higher: pairs err towards it
FINE: Final = 1.1  # the same of a rate that a row of answers tells
REFINED: Final = 3.0  # seconds after pairs, in which such a row counts
NOISE: Final = 0.02  # seconds; what is not further apart may be the broker's doing, and limits nobody
LATEST: Final = 12  # messages that must not have been quicker than the rate allows
AGAIN, MOST_AGAIN = 2.0, 8.0  # seconds between two reasons of one kind; doubled by each late one that changed nothing
FORGOTTEN: Final = 10.0  # seconds after which a pair without an answer is no more
LATE: Final = 1.5  # of what was expected: a reason
SLACK: Final = 0.05  # seconds more, for the peer's scheduler

Reason = Literal["late", "soon"]


class _Pair(NamedTuple):
    began: float
    repeated: int
    tiny: float  # seconds that the tiny message took; infinite until it is answered


class Pairs:
    """What pairs tell of one connection.

    Attributes:
        rate: bytes a second that the link carries; None: it was not seen to be the limit.
        base: seconds that a message of no bytes takes, with `rate`.
    """

    def __init__(self) -> None:
        self.rate: float | None = None
        self.base = 0.0
        self._credit = BURST * COST / 2
        self._wanted = self._tried = self._quick = 0
        self._reason: Reason = "late"
        self._not_before: dict[Reason, float] = {}
        self._again = AGAIN
        self._last_at = -math.inf
        self._took: deque[tuple[float, int]] = deque(maxlen=LATEST)  # seconds and bytes, since there is a reason
        self._under_way: dict[int, _Pair] = {}
        self._seen: deque[tuple[float, float]] = deque(maxlen=PAIRS)  # rate, seconds of the tiny message
        self._ways: deque[float] = deque(maxlen=MOST_TRIED)  # seconds of tiny messages, since there is a reason
        self._standing = Standing()
        self._told_at = -math.inf

    def __contains__(self, number: int) -> bool:
        """Whether the question of this number has a pair under way."""
        return number in self._under_way

    @property
    def curious(self) -> bool:
        """Whether rows of answers are worth their price: a rate is known, or looked for."""
        return self.rate is not None or self._wanted > 0 or bool(self._under_way)

    def anew(self) -> None:
        """A new connection: what was under way is lost, and nothing is known."""
        self._under_way.clear()
        self._standing.clear()
        self.forget()
        self._want("late")

    def forget(self) -> None:
        """The rate was refuted."""
        self.rate = None
        self._wanted = 0
        self._seen.clear()
        self._not_before.clear()
        self._again = AGAIN

    def _want(self, reason: Reason) -> None:
        self._reason = reason
        self._wanted = FIRST if self.rate is None or reason == "late" else 1  # a second one, should it be quick
        self._tried = self._quick = 0
        self._took.clear()
        self._seen.clear()
        self._ways.clear()

    def expects(self, took: float, size: int, base: float, rate: float | None, now: float) -> None:
        """A message took so long, or takes so long by now: perhaps the link is another one.

        Args:
            took: seconds.
            size: bytes; 0: it is not answered yet.
            base: seconds that are believed to be the empty link's.
            rate: bytes a second that are believed in.
            now: monotonic seconds.
        """
        if size:
            self._took.append((took, size))
        expected = base + (size / rate if rate else 0.0)
        if took > LATE * expected + SLACK:
            self.wish("late", now)

    def wish(self, reason: Reason, now: float) -> None:
        """There is a reason to look again, unless there was one of this kind a moment ago."""
        if self._wanted and reason == self._reason:
            return  # which is being done
        if now >= self._not_before.get(reason, -math.inf):
            self._not_before[reason] = now + (self._again if reason == "late" else AGAIN)
            self._want(reason)

    def carried(self, size: int) -> None:
        """So many bytes were sent."""
        self._credit = min(self._credit + SHARE * size, float(BURST * COST))

    def due(self, now: float) -> bool:
        """Whether the next question is to leave behind a tiny message."""
        if self.rate is None or self._reason == "soon":
            return self._wanted > 0 and self._credit >= COST
        return (self._wanted > 0 or now - self._last_at >= AGAIN) and self._credit >= KEPT * COST

    def began(self, number: int, now: float, repeated: int) -> None:
        """The tiny message left; the question of this number follows.

        Args:
            number: the question's.
            now: monotonic seconds.
            repeated: segments that the kernel sent again so far.
        """
        if not self._wanted:  # without a reason: a look of its own
            self._tried = self._quick = 0
        self._credit -= COST
        self._last_at = now
        self._wanted = max(0, self._wanted - 1)
        self._tried += 1
        self._under_way = {key: pair for key, pair in self._under_way.items() if now - pair.began < FORGOTTEN}
        self._under_way[number] = _Pair(now, repeated, math.inf)

    def tiny(self, number: int, now: float) -> None:
        """The tiny message before the question of this number was answered."""
        pair = self._under_way.get(number)
        if pair is not None:
            self._under_way[number] = pair._replace(tiny=now - pair.began)
            self._ways.append(now - pair.began)

    def arrived(self, at: float, sent: float, carried: int) -> None:
        """A message was answered; see `Standing.answered`."""
        self._standing.answered(at, sent, carried)
        if self.rate is None:
            if at - self._last_at <= REFINED and self._row() is not None:
                self._conclude(at)
        elif at - self._told_at <= REFINED:
            rate = self._row()
            if rate is not None and not rate / FINE <= self.rate <= FINE * rate:
                self.rate = rate

    def _row(self) -> float | None:
        return self._standing.rate(min(self._ways)) if self._ways else None

    def answered(self, number: int, size: int, now: float, repeated: int) -> bool:
        """A question was answered; it tells nothing if it had no pair, or if something was sent again meanwhile.

        Args:
            number: its.
            size: bytes.
            now: monotonic seconds.
            repeated: segments that the kernel sent again so far.

        Returns:
            Whether the link is not what limits, whatever else is slow.
        """
        pair = self._under_way.pop(number, None)
        if pair is None:
            return False
        apart = now - pair.began - pair.tiny
        held = pair.tiny > min(self._ways, default=0.0) + SLACK
        if repeated != pair.repeated or (apart < NOISE and held):
            pass  # what was held back with its tiny message comes at once with it
        elif apart < NOISE:
            self._quick += 1
            self._reason = "soon"
            if self._quick >= QUICK:
                self._wanted = 0
                return True
        else:
            self._seen.append((size / apart, pair.tiny))
            if self._reason == "soon" and self.rate is not None and not self._quick:
                return False  # it is thin still
            if self._conclude(now):
                return False
        lacking = max(1, PAIRS - len(self._seen)) - len(self._under_way)
        self._wanted = max(self._wanted, min(lacking, MOST_TRIED - self._tried))
        return False

    def _conclude(self, now: float) -> bool:
        """Whether there are enough pairs that agree: then what they tell counts."""
        rates = [rate for rate, _ in self._seen]
        if len(rates) < (PAIRS if self._row() is None else WITH_ROW) or max(rates) > ALIKE * min(rates):
            return False
        self._quick = self._wanted = 0
        self._told(statistics.median(rates), min(tiny for _, tiny in self._seen), now)
        return True

    def _told(self, rate: float, base: float, now: float) -> None:
        if any(took < (base + size / rate) / 2 for took, size in self._took):
            self._seen.clear()  # others were too quick for it: an answer that was lost came late
            return
        self._told_at = now
        row = self._row()
        rate = rate if row is None else row
        lower, higher = (FINE, FINE) if row is not None else (OTHER, HIGHER)
        if self.rate is None or not rate / higher <= self.rate <= lower * rate:
            self.rate, self.base = rate, base
            self._again = AGAIN
            return
        self._again = min(2 * self._again, MOST_AGAIN)
        if abs(base - self.base) > SLACK + (OTHER - 1) * self.base:
            self.base = base
