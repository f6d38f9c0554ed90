"""Whatever the traffic seems to say, the estimate is a number one can reckon with, and memory is bounded."""

from __future__ import annotations

import math

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.link.choose import Chooser
from bridge.link.estimate import Estimate, Leg
from bridge.link.estimator import UNCLEAR, Estimator
from bridge.link.events import (
    PROTOCOLS,
    Acked,
    Connected,
    Disconnected,
    Event,
    GivenUp,
    Resent,
    Sent,
    TcpInfo,
)
from bridge.link.flights import MOST, MOST_VOLLEYS
from bridge.link.loss import MOST_LOSS, ORDERED
from bridge.link.predict import Predictor
from bridge.link.profiles import Encoding, Limits, Stream, enumerate_profiles
from bridge.link.tails import coap_tail, tcp_tail
from bridge.link.traffic import traffic
from bridge.link.utility import utility

steady = settings(deadline=None)  # the machine may be busy

IDS = st.integers(0, 6) | st.sampled_from(["a", "b"])
STEPS = st.floats(-0.5, 3.0) | st.sampled_from([0.0, 0.001, 0.05, -3600.0, 86_400.0, math.nan, math.inf, -1e300])
NUMBERS = st.floats() | st.floats(0.0, 1.0)
COUNTS = st.integers(-5, 2**70) | st.integers(0, 100)
PROTOCOL = st.sampled_from(PROTOCOLS)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Sent, IDS, st.just(0.0), PROTOCOL, COUNTS, st.booleans()),
    st.builds(Resent, IDS, st.just(0.0)),
    st.builds(Acked, IDS, st.just(0.0), st.none() | st.integers(-2, 40)),
    st.builds(GivenUp, IDS, st.just(0.0)),
    st.builds(Connected, PROTOCOL, st.just(0.0)),
    st.builds(Disconnected, PROTOCOL, st.just(0.0)),
    st.builds(TcpInfo, st.just(0.0), NUMBERS, NUMBERS, COUNTS, COUNTS),
)
ENCODINGS = (Encoding("float32", 24.0, 60.0), Encoding("int8", 6.0, 190.0, 0.004))
STREAM = Stream(50.0, 0.3, 0.01, ENCODINGS)


def can_be_reckoned_with(seen: Estimate) -> None:
    assert 0 < seen.loss <= MOST_LOSS
    for number in (seen.loss_trials, seen.goodput, seen.queueing, seen.spell):
        assert 0 <= number < 1e13
    for leg in (seen.mqtt, seen.coap):
        for number in (leg.rtt, leg.min_rtt, leg.base, leg.jitter, leg.srtt, leg.rttvar, leg.rto):
            assert 0 <= number <= 300
        assert 0 <= leg.silent < math.inf
        assert leg.heard >= 0
        assert leg.min_rtt <= leg.rtt
        assert 0 <= leg.size <= 2**31
    assert seen.words()


def is_bounded(estimator: Estimator) -> None:
    assert len(estimator._flights) <= MOST
    assert all(len(flight.volleys) <= MOST_VOLLEYS for flight in estimator._flights._open.values())
    assert len(estimator._unclear) <= UNCLEAR
    assert len(estimator._loss._outcomes) <= ORDERED


@settings(steady, max_examples=300)
@given(st.lists(st.tuples(STEPS, EVENTS), max_size=60))
def test_any_traffic_gives_an_estimate_and_a_decision(happened: list[tuple[float, Event]]) -> None:
    estimator, chooser, now = Estimator(), Chooser(STREAM, Limits()), 1000.0
    for step, event in happened:
        at = now + step
        now = at if abs(at) < 1e9 else now
        estimator.on(msgspec.structs.replace(event, at=at))
        seen = estimator.estimate(at)
        can_be_reckoned_with(seen)
        decision = chooser.choose(at, seen)
        assert decision.profile in chooser.profiles
        assert decision.reason
        assert decision.prediction.p95 > 0
    is_bounded(estimator)


@settings(steady, max_examples=20)
@given(st.integers(1, 5), st.integers(0, 3), st.sampled_from([1e-4, 1e-2, 1.0]))
def test_memory_is_bounded_however_much_happens(kinds: int, resends: int, gap: float) -> None:
    estimator = Estimator()
    for each in range(3000):
        at = each * gap
        estimator.on(Sent(each, at, PROTOCOLS[each % 2], 100))
        for again in range(resends):
            estimator.on(Resent(each, at + again * 0.03))
        if each % kinds == 0:
            estimator.on(Acked(each, at + 0.1))
    is_bounded(estimator)
    can_be_reckoned_with(estimator.estimate(3000 * gap))


SHARES = st.floats(0.0, MOST_LOSS)
SECONDS = st.floats(0.0, 60.0)
RATES = st.floats(0.0, 1e12)


@settings(steady, max_examples=200)
@given(loss=SHARES, spell=SECONDS, rtt=SECONDS, rttvar=SECONDS, rate=RATES, known=st.booleans())
def test_predictions_are_positive_and_more_of_it_is_no_better(
    loss: float, spell: float, rtt: float, rttvar: float, rate: float, known: bool
) -> None:
    leg = Leg(rtt=rtt, min_rtt=rtt, base=rtt, srtt=rtt, rttvar=rttvar)
    seen = Estimate(mqtt=leg, coap=leg, loss=loss, spell=spell, goodput=rate, goodput_known=known)
    predictor = Predictor(Limits(), seen)
    for profile in enumerate_profiles(STREAM, Limits()):
        load = traffic(profile, STREAM, Limits())
        said = predictor.of(load)
        assert said.p95 >= predictor.least(load) * (1 - 1e-9) > 0
        assert load.bytes_s <= said.bytes_s * (1 + 1e-9) < math.inf
        assert said.transmissions >= 1
        assert (said.utilisation < 0.97) or said.p95 == math.inf


@settings(steady, max_examples=200)
@given(loss=SHARES, spell=SECONDS, seconds=st.floats(0.001, 60.0), rate=st.floats(0.01, 1e4))
def test_tails_are_never_negative(loss: float, spell: float, seconds: float, rate: float) -> None:
    assert coap_tail(loss=loss, spell=spell, rto=seconds) >= 0
    assert tcp_tail(loss=loss, spell=spell, rtt=seconds, rate=rate) >= 0


@settings(steady)
@given(SECONDS, st.floats(0.001, 60.0), RATES, SHARES, SHARES, st.floats(1.0, 1e9), SECONDS)
def test_utility_prefers_what_meets_the_wishes(
    freshness: float, wanted: float, bytes_s: float, cost: float, budget: float, reference: float, computing: float
) -> None:
    def worth(seconds: float) -> float:
        return utility(
            freshness, wanted=wanted, bytes_s=bytes_s, reference=reference, cost=cost, budget=budget, computing=seconds
        )

    value = worth(computing)
    assert -0.75 <= value <= worth(0.0) <= 1.0
    assert (value > 0.5) == (freshness <= wanted and cost <= budget)
