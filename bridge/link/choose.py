"""Which profile to use: the greatest utility, changed only for a reason that lasts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from bridge.link.loss import MOST_LOSS
from bridge.link.predict import Prediction, Predictor
from bridge.link.profiles import Profile, enumerate_profiles
from bridge.link.returns import Returns
from bridge.link.timeline import Timeline
from bridge.link.traffic import traffic
from bridge.link.utility import MET, utility

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.link.estimate import Estimate, Leg
    from bridge.link.profiles import Limits, Stream
    from bridge.link.traffic import Traffic

MARGIN = 1.25  # a newcomer must be predicted so much fresher than declared, and leave so much room
SAFER = 1.4  # the same, where the present profile is in time: noise that let it in must not let a cheaper one in
GAIN = 0.05  # of utility, when the present profile is late
SAVING = 0.8  # of the present profile's bytes, when it is in time
WORSE_LOSS = 1.5  # a cheaper profile must stand this much more loss
CONFIRM = {"late": 0.3, "saving": 0.8, "gone": 0.0}  # seconds that the wish must last
ASKED_AGAIN = 0.5  # seconds, and half a round trip: a silent way has then missed a question that the other answered
LAST_WORDS = 0.4  # seconds, or a round trip, in which answers to what was sent before an outage still come
DWELL = {"late": 1.0, "saving": 4.0, "gone": 0.0}  # seconds since the last switch

Wish = Literal["late", "saving", "gone"]


class Decision(msgspec.Struct, frozen=True):
    """What to use from now on.

    Attributes:
        profile: the profile.
        prediction: what is expected of it now.
        switched: it is another one than before.
        reason: of the last switch, in words and numbers.
    """

    profile: Profile
    prediction: Prediction
    switched: bool
    reason: str


class Chooser:
    """Chooses for one stream.

    Args:
        stream: what it needs.
        limits: what the other sides take.
        pin: shell pattern over profile names; only these.
        exclude: patterns; none of these.

    Raises:
        ConfigError: pins and exclusions leave nothing.
    """

    def __init__(self, stream: Stream, limits: Limits, *, pin: str = "*", exclude: Sequence[str] = ()) -> None:
        self._stream, self._limits = stream, limits
        self._reference = stream.rate_hz * max(one.row_bytes for one in stream.encodings)
        every = [traffic(one, stream, limits) for one in enumerate_profiles(stream, limits, pin=pin, exclude=exclude)]
        bounds = [(self._utility(one, 0.0, one.bytes_s), one) for one in every]
        self._bounds = sorted(bounds, key=lambda pair: -pair[0])
        self._time = Timeline()
        self._current: Traffic | None = None
        self._reason = ""
        self._since = -math.inf
        self._wish: tuple[Wish, float] | None = None
        self._returns = Returns()

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """What there is to choose from, the best on a perfect path first."""
        return tuple(one.profile for _, one in self._bounds)

    def choose(self, now: float, estimate: Estimate) -> Decision:
        """What to use from `now` on, seconds of a monotonic clock."""
        now, jumped = self._time.read(now)
        if jumped:
            self._wish, self._since = None, min(self._since, now)
        predictor = Predictor(self._limits, estimate)
        current = self._current
        if current is None:
            best, prediction, _ = self._best(predictor, None)
            why = f"first choice {best.profile.name}: {_numbers(prediction)}; {estimate.words()}"
            return self._switch(now, best, prediction, why)
        present = predictor.of(current)
        best, prediction, value = self._best(predictor, present)
        wish = self._wished(current, present, best, prediction, value, estimate)
        if wish is None:
            self._wish = None
        if wish is None or not self._lasts(wish, now, best, self._patience(wish, current, best, estimate)):
            return Decision(current.profile, present, switched=False, reason=self._reason)
        return self._switch(now, best, prediction, self._why(wish, current, present, best, prediction, estimate))

    def _best(self, predictor: Predictor, present: Prediction | None) -> tuple[Traffic, Prediction, float]:
        """The greatest utility, with it; only those are looked at closely that could have more than the present one."""
        most, found = -math.inf, None
        if self._current is not None and present is not None:
            most = self._utility(self._current, present.p95, present.bytes_s)
            found = (self._current, present, most)
        margin = SAFER if most > MET else MARGIN
        for bound, one in self._bounds:
            if bound <= most:
                break  # not even a perfect path would lift the rest
            bytes_s = predictor.bytes_s(one)
            if one is self._current or self._utility(one, margin * predictor.least(one), bytes_s) <= most:
                continue
            seen = predictor.of(one)
            fresh = margin * seen.p95 if margin * seen.utilisation < 1 else math.inf
            value = self._utility(one, fresh, bytes_s)
            if value > most:
                found, most = (one, seen, value), value
        return cast("tuple[Traffic, Prediction, float]", found)  # the first is above −∞

    def _utility(self, one: Traffic, freshness: float, bytes_s: float) -> float:
        return utility(
            freshness,
            wanted=self._stream.freshness,
            bytes_s=bytes_s,
            reference=self._reference,
            cost=one.profile.encoding.accuracy_cost,
            budget=self._stream.budget,
            computing=one.profile.encoding.computing,
        )

    def _wished(
        self,
        current: Traffic,
        present: Prediction,
        best: Traffic,
        prediction: Prediction,
        value: float,
        estimate: Estimate,
    ) -> Wish | None:
        """Why the best should replace the current one; None: it should not."""
        if best is current or estimate.outage:
            return None  # in an outage nothing is known that could favour another
        leg = estimate.leg(current.profile.protocol)
        if not leg.up or leg.out:
            other = estimate.leg(best.profile.protocol)
            return "gone" if prediction.p95 < math.inf and _answers(other, leg) else None
        now = self._utility(current, present.p95, present.bytes_s)
        if now <= MET:
            return "late" if value - now >= GAIN else None
        if value <= MET or prediction.bytes_s > SAVING * present.bytes_s:
            return None
        worse = msgspec.structs.replace(estimate, loss=min(WORSE_LOSS * estimate.loss, MOST_LOSS))
        stands = Predictor(self._limits, worse).of(best).p95 <= self._stream.freshness
        return "saving" if stands else None

    def _patience(self, wish: Wish, current: Traffic, best: Traffic, estimate: Estimate) -> float:
        """Seconds that the wish must last.

        After an outage of both, one is heard a little before the other: that is no reason to leave the other. Only what
        is silent beyond the next question does not get through; a connection that broke need not be asked, nor who was
        never heard. And who did not get through and is heard again was asked for that.
        """
        leg = estimate.leg(current.profile.protocol)
        if wish == "gone" and leg.up and leg.heard < math.inf:
            return ASKED_AGAIN + estimate.leg(best.profile.protocol).rtt / 2
        away = self._returns.dwell(best.profile.protocol) is not None
        return min(CONFIRM[wish], ASKED_AGAIN) if away else CONFIRM[wish]

    def _lasts(self, wish: Wish, now: float, best: Traffic, patience: float) -> bool:
        """The wish has been there long enough, and the last switch is long enough ago."""
        if self._wish is None or self._wish[0] != wish:
            self._wish = (wish, now)
        away = self._returns.dwell(best.profile.protocol)
        dwell = DWELL[wish] if away is None or wish == "gone" else away
        return now - self._wish[1] >= patience and now - self._since >= dwell

    def _switch(self, now: float, best: Traffic, prediction: Prediction, reason: str) -> Decision:
        if self._current is not None and self._wish is not None and self._wish[0] == "gone":
            self._returns.left(self._current.profile.protocol, now - self._since)
        self._returns.chosen(best.profile.protocol)
        self._current, self._since, self._wish, self._reason = best, now, None, reason
        return Decision(best.profile, prediction, switched=True, reason=reason)

    def _why(
        self,
        wish: Wish,
        current: Traffic,
        present: Prediction,
        best: Traffic,
        prediction: Prediction,
        estimate: Estimate,
    ) -> str:
        unconfirmed = estimate.leg(current.profile.protocol).unconfirmed
        said = {
            "gone": unconfirmed or f"{current.profile.protocol} does not get through",
            "late": f"too late or too coarse: {_numbers(present)}, wanted {self._stream.freshness:.3f} s",
            "saving": f"in time with fewer bytes: {_numbers(present)} now",
        }[wish]
        change = f"{current.profile.name} → {best.profile.name}"
        return f"{change}: {said}; expected {_numbers(prediction)}; {estimate.words()}"


def _answers(other: Leg, leg: Leg) -> bool:
    """Whether the other protocol was heard since this one is not; in an outage of both, last words come late."""
    if not leg.up:
        return other.heard < leg.heard
    if leg.heard == math.inf:
        return other.heard < math.inf
    return other.heard < leg.silent - max(LAST_WORDS, other.rtt)


def _numbers(prediction: Prediction) -> str:
    p95 = "without end" if prediction.p95 == math.inf else f"{prediction.p95:.3f} s"
    return f"p95 {p95}, {prediction.bytes_s / 1000:.2f} kB/s, {prediction.messages:.2f} messages/s"
