"""The learned time-out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.coap.rto import INITIAL_S, LEAST_S, MARGIN_S, Rfc6298
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


@given(st.lists(st.floats(0, 1000), min_size=1))
def test_always_within_bounds_and_above_the_round_trip(samples: list[float]) -> None:
    trip = Rfc6298()
    for sample in samples:
        trip.sample(sample)
        assert trip.srtt_s is not None
        assert min(samples) - 1e-9 <= trip.srtt_s <= max(samples) + 1e-9
        assert LEAST_S <= trip.rto_s <= MOST_RTO
        assert trip.rto_s >= min(trip.srtt_s, MOST_RTO)
