"""The learned time-out."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.coap.rto import INITIAL_S, LEAST_S, LEAST_SHARE, MARGIN_S, MOST_SHARE, Rfc6298
from bridge.link.smoothing import MOST_RTO


def test_before_the_first_sample() -> None:
    trip = Rfc6298()
    assert (trip.srtt_s, trip.rto_s) == (None, INITIAL_S)
    assert Rfc6298(initial_s=0.3).rto_s == 0.3


def test_the_first_and_the_second_sample() -> None:
    """RFC 6298, (2.2) and (2.3), by hand: R = 0.2, then R' = 0.4."""
    trip = Rfc6298()
    trip.sample(0.2)
    assert trip.srtt_s == 0.2
    assert trip.rto_s == pytest.approx(0.2 + 4 * 0.1)
    trip.sample(0.4)
    assert trip.srtt_s == pytest.approx(7 / 8 * 0.2 + 1 / 8 * 0.4)
    assert trip.rto_s == pytest.approx(0.225 + 4 * (3 / 4 * 0.1 + 1 / 4 * 0.2))


def test_a_steady_round_trip_leaves_the_margin() -> None:
    trip = Rfc6298()
    for _ in range(200):
        trip.sample(0.05)
    assert trip.rto_s == pytest.approx(0.05 + MARGIN_S)
    for _ in range(200):
        trip.sample(0.001)
    assert trip.rto_s == LEAST_S


def steady(seconds: float = 0.1) -> Rfc6298:
    trip = Rfc6298()
    for _ in range(200):
        trip.sample(seconds)
    return trip


def test_repetitions_that_were_needed_bring_the_time_out_nearer() -> None:
    trip = steady()
    before = trip.rto_s
    trip.needed()
    assert 0.1 < trip.rto_s < before
    for _ in range(100):
        trip.needed()
    assert trip.rto_s == pytest.approx(0.1 + LEAST_SHARE * MARGIN_S)


def test_answers_after_the_time_out_move_it_away() -> None:
    trip = steady()
    trip.sample(trip.rto_s - 1e-6)
    for _ in range(200):
        trip.sample(0.1)
    assert trip.rto_s == pytest.approx(0.1 + MARGIN_S)
    for _ in range(10):
        trip.sample(trip.rto_s + 0.001)
    for _ in range(200):
        trip.sample(0.1)
    assert trip.rto_s == pytest.approx(0.1 + MOST_SHARE * MARGIN_S)


def test_of_the_repetitions_one_in_six_is_spurious() -> None:
    """Where answers are late by 8 ms in the mean, exponentially, and half as many are lost as come."""
    trip, dice = steady(), random.Random(1)
    needed = spurious = 0
    for _ in range(20_000):
        if dice.random() < 0.5:
            trip.needed()
            needed += 1
        seconds = 0.1 + dice.expovariate(1 / 0.008)
        spurious += seconds > trip.rto_s
        trip.sample(seconds)
    assert spurious / (needed + spurious) == pytest.approx(1 / 6, abs=0.03)


@given(st.lists(st.floats(0, 1000) | st.none(), min_size=1))
def test_always_within_bounds_and_above_the_round_trip(events: list[float | None]) -> None:
    trip = Rfc6298()
    samples: list[float] = []
    for sample in events:
        if sample is None:
            trip.needed()
        else:
            trip.sample(sample)
            samples.append(sample)
        if not samples:
            continue
        assert trip.srtt_s is not None
        assert min(samples) - 1e-9 <= trip.srtt_s <= max(samples) + 1e-9
        assert LEAST_S <= trip.rto_s <= MOST_RTO
        assert trip.rto_s >= min(trip.srtt_s, MOST_RTO)
