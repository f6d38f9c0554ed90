"""Places for runs, each with a phase of its own."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.netlab.room import PERIOD, Room, in_phase


async def test_so_many_run_at_once_each_with_its_phase_and_the_next_gets_that_which_is_free() -> None:
    room = Room(4)
    async with contextlib.AsyncExitStack() as stack:
        first = [await stack.enter_async_context(room.place()) for _ in range(3)]
        async with room.place() as last:
            assert sorted([*first, last]) == [0.0, 0.25, 0.5, 0.75]
            waiting = asyncio.create_task(stack.enter_async_context(room.place()))
            await asyncio.sleep(0)
            assert not waiting.done()
        assert await waiting == last


async def test_a_run_that_fails_leaves_its_place() -> None:
    room = Room(1)
    with pytest.raises(ValueError, match="failed"):
        async with room.place():
            raise ValueError("failed")
    async with asyncio.timeout(1), room.place() as phase:
        assert phase == 0.0


@given(st.floats(0, 1e7), st.floats(0, 0.999))
def test_a_run_begins_in_phase_and_soon(soonest: float, phase: float) -> None:
    start = in_phase(soonest, phase)
    assert soonest <= start <= soonest + PERIOD
    off = (start / PERIOD - phase) % 1
    assert min(off, 1 - off) == pytest.approx(0, abs=1e-5)
