"""A task that begins in the call that makes it is a task like any other."""

from __future__ import annotations

import asyncio

import pytest

from edge_agent.eager import begin


async def test_it_runs_until_it_first_waits_and_then_in_its_turn() -> None:
    said: list[str] = []
    here = asyncio.current_task()

    async def work() -> None:
        said.append("begun")
        assert asyncio.current_task() is not here
        await asyncio.sleep(0)
        said.append("ended")

    task = begin(work())
    assert asyncio.current_task() is here
    assert said == ["begun"]
    await task
    assert said == ["begun", "ended"]


async def test_work_that_never_waits_has_ended_and_what_it_raised_is_the_tasks() -> None:
    async def good() -> None:
        return

    async def bad() -> None:
        raise ValueError("as it is")

    done, failed = begin(good()), begin(bad())
    await done
    with pytest.raises(ValueError, match="as it is"):
        await failed


def begin_outside_of_tasks(work: asyncio.Future[None]) -> asyncio.Task[None]:
    async def wait() -> None:
        await work

    return begin(wait())


async def test_it_begins_outside_of_any_task_too() -> None:
    loop = asyncio.get_running_loop()
    work: asyncio.Future[None] = loop.create_future()
    made: asyncio.Future[asyncio.Task[None]] = loop.create_future()
    loop.call_soon(lambda: made.set_result(begin_outside_of_tasks(work)))
    task = await made
    work.set_result(None)
    await task


async def test_cancelled_before_its_turn_it_gives_back_what_it_waited_for() -> None:
    one = asyncio.Semaphore(1)
    await one.acquire()

    async def work() -> None:
        async with one:
            pytest.fail("it was cancelled")

    task = begin(work())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    one.release()
    assert await asyncio.wait_for(one.acquire(), 1)
    assert one.locked(), "one place, not two"


async def test_what_was_there_when_it_was_cancelled_is_not_lost() -> None:
    one = asyncio.Semaphore(1)
    await one.acquire()

    async def work() -> None:
        async with one:
            pytest.fail("it was cancelled")

    task = begin(work())
    one.release()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.wait_for(one.acquire(), 1)


async def test_cancelled_after_it_has_ended_it_has_ended() -> None:
    async def work() -> None:
        return

    task = begin(work())
    task.cancel()
    await task
    assert not task.cancelled()


async def test_a_cancelling_that_it_outlives_ends_there() -> None:
    """As `Airborne.recall` does."""
    told: list[str] = []

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            task.uncancel()
        await asyncio.sleep(0)
        told.append("went on")

    for turns in range(3):
        task = begin(work())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await task
    assert told == ["went on"] * 3


async def test_time_outs_are_its_own() -> None:
    async def work() -> None:
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await begin(work())
