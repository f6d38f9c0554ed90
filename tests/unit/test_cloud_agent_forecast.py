"""Run times of a cloud agent's batches, and when a question would be answered by them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_agent.engines.port import Served
from cloud_agent.forecast import FORGOTTEN, KEPT, TRUSTED, Forecast, RunTimes

SERVED = {
    "a": Served("1", "v", "CPU", 4, 2, 4, times=((1, 1.0), (2, 1.5), (4, 2.0))),
    "b": Served("1", "v", "CPU", 4, 2, 1, times=((1, 0.5),)),
    "unknown": Served("1", "v", "CPU", 4, 2, 8),
}


def test_at_first_it_is_what_warm_up_measured() -> None:
    times = RunTimes(((1, 1.0), (4, 2.5)))
    assert [times.of(n, now=0.0) for n in (1, 2, 4, 8)] == [1.0, 1.5, 2.5, 5.0]
    assert [RunTimes(((2, 1.0),)).of(n, now=0.0) for n in (1, 2, 3)] == [1.0, 1.0, 1.5]
    assert RunTimes(()).of(3, now=0.0) == RunTimes(((1, 0.0),)).of(3, now=0.0) == 0.0


def test_one_disturbed_run_changes_nothing_and_two_in_a_row_are_believed() -> None:
    times = RunTimes(((1, 1.0), (8, 2.0)))
    times.ran(8, 60.0, now=0.0)
    assert (times.of(8, now=0.0), times.of(1, now=0.0)) == (2.0, 1.0)
    times.ran(8, 4.0, now=0.0)
    assert (times.of(8, now=0.0), times.of(1, now=0.0)) == (4.0, 2.0), "sizes that did not run follow"


def test_a_size_is_judged_by_its_own_runs_as_long_as_they_are_fresh() -> None:
    times = RunTimes(((1, 1.0), (8, 2.0)))
    for _ in range(3):
        times.ran(8, 20.0, now=0.0)
    for _ in range(KEPT):
        times.ran(1, 1.0, now=1.0)
    assert (times.of(1, now=FORGOTTEN), times.of(8, now=FORGOTTEN)) == (1.0, 20.0)
    assert times.of(8, now=FORGOTTEN + 0.1) == 2.0
    times.ran(8, 60.0, now=FORGOTTEN + 0.1)
    assert times.of(8, now=FORGOTTEN + 0.1) == 2.0, "a bad run of today is not added to those of long ago"


def test_sizes_are_learned_without_a_warm_up_too() -> None:
    times = RunTimes(())
    times.ran(4, 2.0, now=0.0)
    assert [times.of(n, now=0.0) for n in (1, 4, 8)] == [0.5, 2.0, 4.0]


def test_what_comes_first_runs_in_batches_of_its_own_model() -> None:
    forecast = Forecast(SERVED, 0.0)
    assert forecast.answer("a", {}, 0, now=0.0) == 1.0
    assert forecast.answer("a", {"a": 1}, 1, now=0.0) == 1.5
    assert forecast.answer("a", {"a": 4}, 4, now=0.0) == 2.0 + 2.0, "four more may fill its batch"
    assert forecast.answer("a", {"b": 3}, 3, now=0.0) == 1.0 + 3 * 0.5
    assert forecast.answer("b", {"a": 5, "b": 1}, 6, now=0.0) == (2.0 + 1.0) + 0.5 + 0.5
    assert forecast.answer("unknown", {"unknown": 80}, 80, now=0.0) == 0.0


def test_the_rest_of_what_runs_comes_before_all() -> None:
    forecast = Forecast(SERVED, 0.0)
    forecast.began("a", 4, now=10.0)
    assert forecast.answer("b", {}, 0, now=10.5) == 1.5 + 0.5
    assert forecast.answer("b", {}, 0, now=99.0) == 0.5
    forecast.ended(now=10.5)
    assert forecast.answer("b", {}, 0, now=10.5) == 0.5


def test_full_batches_are_told_in_milliseconds_as_learned() -> None:
    forecast = Forecast(SERVED, 0.0)
    assert forecast.full_batches(0.0) == {"a": 2000.0, "b": 500.0, "unknown": 0.0}
    forecast.ran("unknown", 8, 0.0123456, now=1.0)
    assert forecast.full_batches(1.0)["unknown"] == 12.346


def test_times_are_trusted_during_a_run_and_for_a_while_after() -> None:
    forecast = Forecast(SERVED, 10.0)
    assert forecast.trusted("a", 10.0 + TRUSTED)
    assert not forecast.trusted("a", 10.1 + TRUSTED)
    forecast.began("a", 1, now=20.0)
    assert forecast.trusted("a", 99.0)
    assert not forecast.trusted("b", 99.0)
    forecast.ran("a", 1, 79.0, now=99.0)
    assert forecast.trusted("a", 99.0 + TRUSTED)
    assert not forecast.trusted("a", 99.1 + TRUSTED)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 64), st.floats(1e-6, 100.0), st.floats(0, 20.0)), max_size=20),
    st.sampled_from([(), ((1, 0.001), (64, 0.01))]),
    st.floats(1e-6, 1.0),
    st.integers(1, 64),
)
def test_whatever_ran_the_prediction_is_a_time_and_follows_a_steady_machine(
    ran: list[tuple[int, float, float]], warm: tuple[tuple[int, float], ...], steady: float, batch: int
) -> None:
    times = RunTimes(warm)
    now = 0.0
    for size, seconds, later in ran:
        now += later
        times.ran(size, seconds, now=now)
        assert all(times.of(n, now=now) > 0 for n in range(1, 130))
    for _ in range(KEPT):
        times.ran(batch, steady, now=now)
    assert times.of(batch, now=now) == pytest.approx(steady)
