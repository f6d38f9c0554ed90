"""The congestion window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.coap.congestion import FIRST, INITIAL, LEAST, Window


def grow(window: Window, answers: int) -> None:
    for _ in range(answers):
        window.answered(limited=True)


def samples(window: Window, seconds: float, *, start: float, until: float, in_flight: int) -> None:
    now = start
    while now < until:
        now += seconds / 8
        window.sample(seconds, now, in_flight)


def test_slow_start_only_while_something_waits() -> None:
    window = Window(32)
    assert window.size == FIRST
    for _ in range(100):
        window.answered(limited=False)
    assert window.size == FIRST
    grow(window, 4)
    assert window.size == FIRST + 4
    grow(window, 100)
    assert window.size == 32


def test_a_standing_queue_halves_it_and_then_it_grows_by_one_a_round_trip() -> None:
    window = Window(32)
    samples(window, 0.05, start=0, until=1, in_flight=8)
    grow(window, 28)
    samples(window, 0.3, start=1, until=1.9, in_flight=32)
    assert window.size == 16
    grow(window, 17)
    assert window.size == 17


def test_losses_with_the_usual_round_trip_leave_it_alone() -> None:
    window = Window(32)
    grow(window, 28)
    for second in range(20):  # now and then a sample three times as long: not the least of any interval
        samples(window, 0.05, start=second, until=second + 0.9, in_flight=32)
        window.sample(0.15, second + 0.95, 32)
    assert window.size == 32


def test_a_queue_is_measured_by_its_least_round_trip_not_by_one_sample() -> None:
    window = Window(8)
    grow(window, 4)
    window.sample(0.05, 0.0, 8)
    window.sample(0.5, 10.0, 8)
    window.sample(0.5, 10.1, 8)
    assert window.size == 8


def test_a_path_that_became_longer_is_no_queue() -> None:
    """Halving did not shorten it, so the window is given back."""
    window = Window(32)
    samples(window, 0.05, start=0, until=1, in_flight=16)
    grow(window, 28)
    samples(window, 0.6, start=1, until=2.8, in_flight=32)
    assert window.size == 16
    samples(window, 0.6, start=2.8, until=5, in_flight=16)
    assert window.size == 32
    samples(window, 0.6, start=5, until=20, in_flight=32)
    assert window.size == 32


def test_a_queue_that_halving_shortens_was_ours() -> None:
    window = Window(32)
    samples(window, 0.05, start=0, until=1, in_flight=16)
    grow(window, 28)
    samples(window, 0.6, start=1, until=2.8, in_flight=32)
    samples(window, 0.3, start=2.8, until=4, in_flight=16)
    assert window.size < 16


def test_few_datagrams_make_no_queue() -> None:
    window = Window(32)
    samples(window, 0.05, start=0, until=1, in_flight=2)
    samples(window, 0.6, start=1, until=6, in_flight=INITIAL)
    assert window.size == FIRST


def test_a_queue_is_told_from_a_slow_commit() -> None:
    window = Window(32)
    window.sample(0.05, 0.0, 1)
    window.sample(0.2, 1.0, 1)
    assert window.is_clear(0.06)
    assert not window.is_clear(0.07)


def test_time_outs_in_a_row_halve_it_and_an_outage_starts_anew() -> None:
    window = Window(32)
    grow(window, 28)
    window.stalled()
    assert window.size == 16
    for _ in range(9):
        window.stalled()
    assert window.size == INITIAL
    grow(window, 4)
    window.restart()
    assert window.size == INITIAL
    grow(window, 28)
    assert window.size == 32


@pytest.mark.parametrize("most", [1, 2, 3])
def test_small_bounds_hold(most: int) -> None:
    window = Window(most)
    grow(window, 9)
    assert window.size == most
    window.stalled()
    window.restart()
    assert window.size == most


@given(
    st.integers(1, 32),
    st.lists(st.tuples(st.sampled_from(["sample", "limited", "free", "stalled", "restart"]), st.floats(0.001, 5))),
)
def test_always_within_bounds(most: int, events: list[tuple[str, float]]) -> None:
    window, now = Window(most), 0.0
    for kind, seconds in events:
        now += seconds
        if kind == "sample":
            window.sample(seconds, now, most)
        elif kind == "stalled":
            window.stalled()
        elif kind == "restart":
            window.restart()
        else:
            window.answered(limited=kind == "limited")
        assert min(LEAST, most) <= window.size <= most
