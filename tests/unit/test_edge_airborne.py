"""A message that is called back, in the task that carries it."""

from __future__ import annotations

import asyncio

import pytest

from edge_agent.airborne import Airborne


async def test_what_is_recalled_ends_but_a_cancelled_task_stays_cancelled() -> None:
    made: list[Airborne] = []

    async def carry() -> str:
        made.append(Airborne("coap", None))  # type: ignore[arg-type] # its choice is not asked
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not made[-1].is_recalled():
                raise
        return "recalled"

    task = asyncio.create_task(carry())
    await asyncio.sleep(0)
    made[0].recall()
    made[0].recall()
    assert await task == "recalled"
    assert not task.cancelling()
    both = asyncio.create_task(carry())
    await asyncio.sleep(0)
    made[1].recall()
    both.cancel()
    with pytest.raises(asyncio.CancelledError):
        await both
    alone = asyncio.create_task(carry())
    await asyncio.sleep(0)
    alone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await alone


def test_a_message_outside_a_task_is_a_mistake() -> None:
    async def nowhere() -> None:
        caught: list[BaseException] = []

        def make() -> None:
            try:
                Airborne("coap", None)  # type: ignore[arg-type] # its choice is not asked
            except RuntimeError as why:
                caught.append(why)

        asyncio.get_running_loop().call_soon(make)
        await asyncio.sleep(0)
        assert caught

    asyncio.run(nowhere())
