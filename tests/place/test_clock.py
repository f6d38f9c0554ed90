"""Virtual time goes by timers alone, and only as long as it is asked for."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.place.clock import virtual


def test_timers_are_due_in_order_at_their_times() -> None:
    heard: list[tuple[str, float, float]] = []
    with virtual() as clock:
        clock.call_at(3_600.0, lambda: heard.append(("late", clock.now, time.monotonic())))
        clock.call_at(0.5, lambda: heard.append(("early", clock.now, time.monotonic())))
        clock.call_at(
            1.0, lambda: asyncio.get_running_loop().call_later(0.25, heard.append, ("nested", clock.now, 1.0))
        )
        clock.run_until(4_000.0)
        assert clock.now == pytest.approx(4_000.0)
    assert heard == [("early", 0.5, 0.5), ("nested", 1.0, 1.0), ("late", 3_600.0, 3_600.0)]


def test_what_is_due_later_does_not_happen() -> None:
    heard: list[float] = []
    with virtual() as clock:
        clock.call_at(2.0, heard.append, 2.0)
        clock.run_until(1.0)
    assert heard == []


def test_real_time_is_back_afterwards() -> None:
    before = time.monotonic()
    with virtual() as clock:
        clock.run_until(1e6)
    assert before <= time.monotonic() < before + 60.0


def test_it_says_so_when_nothing_can_happen() -> None:
    with virtual() as clock, pytest.raises(RuntimeError, match="nothing will ever happen"):
        clock.run_forever()
