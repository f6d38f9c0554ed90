"""The estimate's parts, case by case: time, windows, what is under way, round trip, loss, goodput."""

from __future__ import annotations

import math
import random

import pytest

from bridge.link.flights import COPY_GAP, MOST, MOST_VOLLEYS, Flights
from bridge.link.goodput import TRAIN, Goodput
from bridge.link.loss import MOST_LOSS, ORDERED, Loss
from bridge.link.path import DEEP
from bridge.link.roundtrip import BACKED_OFF, GRANULARITY, STARVED, RoundTrip
from bridge.link.smoothing import INITIAL_RTO
from bridge.link.timeline import AHEAD, Timeline, seconds
from bridge.link.window import Window


def test_time_goes_on_from_where_it_was_after_a_jump() -> None:
    time = Timeline()
    assert time.read(5e8) == (0.0, False)
    assert time.read(5e8 + 2) == (2.0, False)
    assert time.read(5e8 + 1.5) == (1.5, False)  # told out of order
    assert time.now == 2.0
    assert time.read(100.0) == (2.0, True)
    assert time.read(101.0) == (3.0, False)
    assert time.read(101.0 + 86_400) == (3.0 + AHEAD, True)
    assert time.read(102.0 + 86_400) == (4.0 + AHEAD, False)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, 1e300])
def test_what_is_no_time_moves_no_time(odd: float) -> None:
    time = Timeline()
    time.read(1.0)
    time.read(3.0)
    assert time.read(odd) == (2.0, False)
    assert time.read(4.0) == (3.0, False)


def test_durations_are_bounded() -> None:
    assert [seconds(each) for each in (-1.0, 0.5, 1e9, math.nan)] == [0.0, 0.5, 60.0, 60.0]


def test_a_window_forgets_by_time_but_keeps_the_last_slots() -> None:
    window = Window(1.0, 0.1, least=2)
    for at, value in ((0.0, 5.0), (0.05, 7.0), (0.5, 1.0), (0.9, 3.0)):
        window.add(at, value)
    assert (window.minimum, window.maximum, window.median, len(window)) == (1.0, 7.0, 3.0, 3)
    window.add(1.2, 2.0)
    assert (window.minimum, window.maximum, len(window)) == (1.0, 3.0, 3)
    window.add(100.0, 9.0)
    assert (window.minimum, window.median, len(window)) == (2.0, 9.0, 2)
    window.clear()
    assert len(window) == 0


def test_a_bunch_of_answers_has_one_vote() -> None:
    window = Window(1.5, 0.05)
    for slot in range(6):
        window.add(slot * 0.1, 0.05)
    for _ in range(100):
        window.add(0.6, 2.0)
    assert window.median == 0.05


def test_what_is_under_way_is_bounded_and_knows_its_copies() -> None:
    flights = Flights()
    assert [flights.sent(each, "coap", 10, 0.0, probe=False) for each in range(MOST)] == [None] * MOST
    pushed = flights.sent("new", "coap", 10, 1.0, probe=False)
    assert pushed is not None
    assert (pushed.number, len(flights)) == (0, MOST)
    assert flights.again("new", 1.0 + COPY_GAP / 2) is None  # a copy
    assert flights.again("gone", 1.0) is None
    assert flights.again("new", 2.0) is flights.get("new")
    flight = flights.end("new")
    assert flight is not None
    assert flight.volleys == [(1.0, 2), (2.0, 1)]
    assert [flight.volley_of(each) for each in (1, 2, 3, 99)] == [0, 0, 1, 1]
    assert flight.carried == MOST * 10


def test_volleys_of_a_message_are_bounded() -> None:
    flights = Flights()
    flights.sent(1, "coap", 10, 0.0, probe=False)
    assert sum(flights.again(1, float(each)) is not None for each in range(1, 50)) == MOST_VOLLEYS - 1
    flight = flights.end(1)
    assert flight is not None
    assert (flight.sent, len(flight.volleys)) == (50, MOST_VOLLEYS)


def test_round_trip_by_rfc_6298() -> None:
    trip = RoundTrip()
    assert trip.rto == INITIAL_RTO
    trip.measured(0.0, 0.1)
    assert (trip.srtt, trip.rttvar, trip.rto) == pytest.approx((0.1, 0.05, 0.3))
    trip.measured(0.1, 0.2)
    assert (trip.srtt, trip.rttvar) == pytest.approx((0.1125, 0.0625))
    for each in range(200):
        trip.measured(0.2 + each / 20, 0.2)
    assert trip.rto == pytest.approx(0.2 + GRANULARITY)


def test_backing_off_once_in_an_rto_capped_and_ended_by_a_sample() -> None:
    trip = RoundTrip()
    for each in range(100):
        trip.measured(each / 20, 0.1)
    plain = trip.rto
    for _ in range(10):  # ten messages' timers run out together
        trip.expired(5.0)
    assert trip.rto == pytest.approx(1.5 * plain)
    for each in range(40):
        trip.expired(10.0 + 2 * each)
    assert trip.rto == BACKED_OFF
    trip.measured(100.0, 0.1)
    assert trip.rto == pytest.approx(plain)


def test_karn_with_the_exception_of_an_answer_too_soon() -> None:
    trip = RoundTrip()
    assert trip.attribute([0.9, 0.1], None) == 0  # nothing known: an upper bound
    trip.measured(0.0, 0.6)
    assert trip.attribute([0.7], None) == 0
    assert trip.attribute([0.65, 0.3, 0.1], None) == 0  # too soon for the others
    assert trip.attribute([1.4, 0.7], None) is None  # either
    assert trip.attribute([0.05, 0.01], None) == 0  # the round trip fell
    assert trip.attribute([1.4, 0.7], 1) == 1  # told


def test_answers_that_nobody_can_attribute_do_not_starve_the_estimate() -> None:
    trip = RoundTrip()
    trip.measured(0.0, 0.1)
    assert [trip.starved([0.4, 0.1]) for _ in range(STARVED)] == [False] * (STARVED - 1) + [True]
    trip.measured(0.0, 0.1)
    assert [trip.starved([0.9, 0.6]) for _ in range(2)] == [False, True]  # no loss explains these
    trip.measured(0.0, 0.1)
    assert not trip.starved([0.9, 0.6])


@pytest.mark.parametrize("copies", [1, 2, 3])
@pytest.mark.parametrize("p", [0.02, 0.1, 0.2])
def test_loss_is_found_from_volleys(p: float, copies: int) -> None:
    """The receiver answers the first copy that arrives; answers are lost too."""
    dice, loss, seen = random.Random(5), Loss(), []
    for each in range(4000):
        arrived = any(dice.random() >= p for _ in range(copies))
        loss.volley(each / 20, copies, answered=arrived and dice.random() >= p)
        if each >= 1000:
            seen.append(loss.rate)
    assert sum(seen) / len(seen) == pytest.approx(p, rel=0.25)


def test_more_loss_and_its_end_are_noticed_in_seconds() -> None:
    dice, loss, found = random.Random(1), Loss(), {}
    for each in range(1200):
        p = 0.15 if 400 <= each < 800 else 0.0
        loss.volley(each / 20, 1, answered=dice.random() >= p and dice.random() >= p)
        found[each] = loss.rate
    assert found[399] < 0.003
    assert found[460] > 0.05  # three seconds
    assert found[799] == pytest.approx(0.15, rel=0.3)
    assert found[880] < 0.02  # four


def test_spells_are_told_from_random_loss() -> None:
    dice, random_loss, spells = random.Random(2), Loss(), Loss()
    for each in range(2000):
        lost = dice.random() < 0.1
        random_loss.volley(each / 20, 1, answered=not lost)
        random_loss.outcome(each, each / 20, lost=lost)
        faded = each % 100 < 6  # 0.3 s in 5 s
        spells.volley(each / 20, 1, answered=not faded)
        spells.outcome(each, each / 20, lost=faded)
    assert random_loss.spell == 0.0
    assert 0.1 < spells.spell < 0.6


def test_outcomes_are_bounded_and_counted_once() -> None:
    loss = Loss()
    for each in range(3 * ORDERED):
        loss.outcome(each, each / 20, lost=True)
        loss.outcome(each, each / 20, lost=False)
    assert len(loss._outcomes) == ORDERED
    assert loss.correlation > 0.8


def test_loss_stays_within_bounds() -> None:
    loss = Loss()
    loss.counted(0.0, 5.0, 0.0, arrived=0.0)
    assert loss.trials == 0.0
    for each in range(500):
        loss.volley(float(each), 1, answered=False)
    assert loss.rate <= MOST_LOSS
    before = loss.trials
    loss.counted(1e5, 0.0, 1.0, arrived=1.0)
    assert loss.trials < before / 100  # an hour later it is history


def feed(goodput: Goodput, rate: float, hz: float, begin: float, count: int, size: int = 400) -> float:
    """A queue in front of a link; when the last answer came."""
    free = begin
    for each in range(count):
        sent = begin + each / hz
        free = max(free, sent) + size / rate
        waited = free - sent
        goodput.acked(
            free + 0.05, sent, size, each * size, steady=waited < 1.5 * size / rate, deep=waited > 0.05 + DEEP
        )
    return free + 0.05


def test_a_stream_that_does_not_fill_the_link_only_raises_the_estimate() -> None:
    goodput = Goodput()
    assert goodput.rate == 0.0
    feed(goodput, 1e6, 20.0, 0.0, 40)
    assert not goodput.known
    assert goodput.rate == pytest.approx(8000, rel=0.01)
    feed(goodput, 1e6, 5.0, 10.0, 40)
    assert goodput.rate == pytest.approx(8000, rel=0.01)


def found(goodput: Goodput) -> tuple[bool, float]:
    return goodput.known, round(goodput.rate, -2)


def test_a_growing_queue_shows_the_link_and_a_steady_path_refutes_it() -> None:
    goodput = Goodput()
    feed(goodput, 1e6, 20.0, 0.0, 40)
    last = feed(goodput, 5000.0, 20.0, 3.0, 60)
    assert found(goodput) == (True, 5000)
    assert goodput.limited(last)
    assert not goodput.limited(last + 10)
    feed(goodput, 5000.0, 5.0, 20.0, 40)  # far below: says nothing
    assert found(goodput) == (True, 5000)
    feed(goodput, 1e6, 20.0, 40.0, 60)
    assert found(goodput) == (False, 8000)


def test_a_queue_that_grows_slowly_shows_the_link_once_it_is_deep() -> None:
    goodput = Goodput()
    feed(goodput, 7600.0, 20.0, 0.0, 60)  # 8,000 bytes a second come
    assert not goodput.known
    feed(goodput, 7600.0, 20.0, 10.0, 140)
    assert found(goodput) == (True, 7600)


def test_a_hiccup_hides_no_slow_queue_and_noise_is_none() -> None:
    for slope, known in ((0.003, True), (0.0, False)):
        goodput = Goodput()
        for each in range(240):
            sent = each / 20
            delay = 0.4 + slope * each + (0.008 if each % 7 == 3 else 0.0)
            goodput.acked(sent + delay, sent, 400, each * 400, steady=False, deep=True)
        assert goodput.known is known


@pytest.mark.parametrize("halves", [1, 2])
@pytest.mark.parametrize("hz", [12.0, 20.0])
def test_a_way_that_becomes_longer_in_steps_is_no_queue(hz: float, halves: int) -> None:
    """Each second some milliseconds more, at one end or at both; in each train a little too, so that it climbs."""
    for shift in range(TRAIN):
        goodput = Goodput()
        for each in range(400):
            sent = (each + shift) / hz
            way = sum(0.08 * int(sent + 0.1 * half) / halves for half in range(halves))
            goodput.acked(sent + 0.07 + way + 1e-5 * each, sent, 400, each * 400, steady=False, deep=True)
            assert not goodput.known, each


def test_a_slow_growth_that_four_hops_make_is_no_queue_and_one_that_each_message_makes_is() -> None:
    for hop, known in ((0.05, False), (0.0, True)):
        goodput = Goodput()
        for each in range(3 * TRAIN):
            hops = hop * sum(each >= at for at in (5, 9, 13, 17))
            delay = 0.5 + hops + 0.002 * (each - each % 2)  # pairs come alike, so that no train grows throughout
            goodput.acked(each / 20 + delay, each / 20, 400, each * 400, steady=False, deep=True)
        assert goodput.known is known


def test_an_answer_that_a_loss_held_back_behind_growing_round_trips_is_no_queue() -> None:
    goodput = Goodput()
    for each in range(TRAIN):
        late = 0.08 + each * 0.004 + (0.1 if each == TRAIN - 1 else 0.0)
        goodput.acked(each / 20 + late, each / 20, 400, each * 400, steady=False, deep=False)
    assert not goodput.known


def test_answers_that_a_loss_held_back_are_no_queue() -> None:
    goodput = Goodput()
    at = [0.3 if each < 6 else 0.05 + each / 20 for each in range(40)]
    for each, answered in enumerate(at):
        goodput.acked(answered, each / 20, 400, each * 400, steady=each >= 6, deep=False)
    assert not goodput.known
    goodput.acked(0.0, 0.0, 400, 0, steady=True, deep=False)  # told out of order
    assert len(goodput._train) == TRAIN
    assert goodput.rate < 10_000


def test_a_gap_among_growing_round_trips_is_no_queue() -> None:
    goodput = Goodput()
    for each in range(TRAIN):
        late = 0.05 + each * 0.001 + (0.6 if each >= 4 else 0.0)
        goodput.acked(each / 20 + late, each / 20, 400, each * 400, steady=False, deep=False)
    assert not goodput.known


def test_more_than_the_limit_delivered_refutes_it_at_once() -> None:
    goodput = Goodput()
    feed(goodput, 1e6, 20.0, 0.0, 40)
    feed(goodput, 5000.0, 20.0, 3.0, 60)
    assert found(goodput) == (True, 5000)
    for each in range(TRAIN - 1):  # not steady: the queue that stood drains, ever faster than before
        goodput.acked(20.0 + each / 200, 19.0 + each / 200, 400, each * 400, steady=False, deep=False)
    assert goodput.known
    goodput.acked(20.0 + TRAIN / 200, 19.0 + TRAIN / 200, 400, TRAIN * 400, steady=False, deep=False)
    assert not goodput.known


@pytest.mark.parametrize(("rate", "stays"), [(1e5, True), (3e5, False)])
def test_a_limit_that_a_burst_met_is_believed_while_it_could_matter(rate: float, *, stays: bool) -> None:
    """What waited in an outage leaves at once and meets the link's own rate; 8 kB/s after it are far below, or not."""
    goodput = Goodput()
    feed(goodput, rate, 10_000.0, 0.0, 40)
    assert found(goodput) == (True, rate)
    feed(goodput, rate, 20.0, 5.0, TRAIN)
    assert goodput.known
    feed(goodput, rate, 20.0, 10.0, TRAIN + 40)
    assert goodput.known is stays
