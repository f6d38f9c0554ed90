"""When to try again."""

from __future__ import annotations

from bridge.mqtt.backoff import Backoff


def test_each_failure_doubles_the_wait_up_to_the_longest() -> None:
    backoff = Backoff(first=0.25, longest=15.0)
    assert [backoff.failed(1.0) for _ in range(9)] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]


def test_the_dice_spread_it_from_half_to_whole() -> None:
    assert [Backoff(first=1.0).failed(dice) for dice in (0.0, 0.5, 1.0)] == [0.5, 0.75, 1.0]


def test_a_success_starts_anew() -> None:
    backoff = Backoff(first=1.0)
    backoff.failed(1.0)
    backoff.failed(1.0)
    backoff.succeeded()
    assert (backoff.failures, backoff.failed(1.0)) == (0, 1.0)


def test_failures_for_years_do_not_overflow() -> None:
    backoff = Backoff(longest=15.0)
    backoff.failures = 100_000
    assert backoff.failed(1.0) == 15.0
