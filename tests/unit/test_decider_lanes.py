"""A slow model beside a fast one, through the whole pipeline: its windows leave the turn and come back.

The whole bridge but its sockets, on a real journal. The tests hold up the slow model's runs and the broker's PUBACKs.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING

import pytest

from bridge.errors import ModelError
from tests.support.engines import ROWS, HeldEngine, until
from tests.support.lives import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    found = World(tmp_path / "journal.db")
    yield found
    await found.end()


async def test_a_slow_model_does_not_delay_windows_of_a_fast_one(world: World) -> None:
    life = world.live()
    life.deliver("whole", 0)
    life.deliver("rows", 0, 8 * ROWS)
    await until(lambda: life.slow.running)
    for number in range(9):
        life.deliver("quick", number * ROWS)
        await until(functools.partial(life.has_answered, number + 1))
    assert life.seqs == [number * ROWS for number in range(9)]
    assert life.slow.began == [[0]]


async def test_rows_of_a_slow_model_are_settled_when_the_journal_has_their_windows(world: World) -> None:
    life = world.live()
    number = life.deliver("rows", 0, 3 * ROWS, receipt=True)
    await until(lambda: number in life.verdicts)
    assert (life.seqs, life.receipts, life.pipeline.open) == ([], [[[0, 3 * ROWS - 1]]], 3)
    life.slow.let_all_go()
    await until(lambda: len(life.seqs) == 3)
    life.take_all()
    await life.turn()
    await life.turn()
    assert life.pipeline.open == 0
    await life.crash()
    assert world.pending() == []


async def test_a_whole_window_of_a_slow_model_is_settled_after_its_result_s_puback(world: World) -> None:
    life = world.live()
    number = life.deliver("whole", 0)
    await until(lambda: life.slow.running)
    await life.turn()
    assert life.verdicts == {}
    life.slow.let_all_go()
    await until(lambda: life.seqs == [0])
    await life.turn()
    assert life.verdicts == {}
    life.take_all()
    assert list(life.verdicts) == [number]
    await life.crash()
    assert world.pending() == []


async def test_a_copy_of_a_waiting_window_is_settled_with_it_and_answered_once(world: World) -> None:
    life = world.live()
    first = life.deliver("whole", 0)
    await until(lambda: life.slow.running)
    second = life.deliver("whole", 0)
    await life.turn()
    third = life.deliver("whole", 0)
    await life.turn()
    life.slow.let_all_go()
    await until(lambda: life.seqs)
    assert life.verdicts == {}
    life.take_all()
    assert set(life.verdicts) == {first, second, third}
    assert (life.seqs, life.slow.began) == ([0], [[0]])
    fourth = life.deliver("whole", 0)
    await until(lambda: fourth in life.verdicts)
    await life.turn()
    assert (life.seqs, life.slow.began) == ([0], [[0]])


async def test_results_of_a_stream_keep_their_order_on_two_lanes(world: World) -> None:
    life = world.live(HeldEngine("slow", lanes=2))
    for number in range(6):
        life.deliver("whole", number * ROWS)
    await until(lambda: life.slow.running == [0, 1])
    for number in (1, 2, 3, 4, 5):  # one lane does all but the first
        life.slow.let_go(number)
    await until(lambda: len(life.slow.began) == 6)
    await life.turn()
    assert life.seqs == []
    life.slow.let_go(0)
    await until(lambda: len(life.seqs) == 6)
    assert life.seqs == [number * ROWS for number in range(6)]


async def test_a_few_windows_that_run_at_once_do_not_overtake_those_that_have_just_run(world: World) -> None:
    """A model that is quick for one window and slow for many, while the broker takes no more for a moment."""
    slow = HeldEngine("slow", batch=8, once=0.0)
    slow.cost = 0.004
    life = world.live(slow)
    life.deliver("whole", 0)
    life.deliver("whole", ROWS)
    await until(lambda: slow.running)
    life.full = True
    life.deliver("whole", 2 * ROWS)
    await asyncio.sleep(0)  # the turn takes it and waits for the broker
    await asyncio.sleep(0)
    slow.let_all_go()
    await until(lambda: not slow.running and len(life.inbox))
    life.full = False
    await until(lambda: len(life.seqs) == 3)
    assert life.seqs == [0, ROWS, 2 * ROWS]


async def test_a_coap_sender_is_answered_when_the_journal_has_its_window_or_with_the_result(world: World) -> None:
    life = world.live()
    safe = life.deliver("whole", 0, transient=True)
    curious = life.deliver("whole", ROWS, transient=True, wants_result=True)
    await until(lambda: safe in life.verdicts)
    await life.turn()
    assert curious not in life.verdicts
    life.slow.let_all_go()
    await until(lambda: curious in life.verdicts)
    assert [result.seq for result in life.verdicts[curious].results] == [ROWS]


async def test_who_asks_by_infer_gets_a_result_at_the_reply_topic(world: World) -> None:
    life = world.live()
    number = life.deliver("", 0, topic="edge/v1/_infer/slow", reply_to="edge/v1/_reply/me", correlation=b"c")
    await until(lambda: life.slow.running)
    life.slow.let_all_go()
    await until(lambda: life.sent)
    assert [(one.topic, one.correlation) for one in life.sent] == [("edge/v1/_reply/me", b"c")]
    life.take_all()
    assert number in life.verdicts


async def test_another_version_answers_from_the_next_run_on(world: World) -> None:
    life = world.live()
    for number in range(3):
        life.deliver("whole", number * ROWS)
    await until(lambda: life.slow.running)
    await life.turn()
    new = HeldEngine("slow", version="1.1.0", once=0.0)
    new.let_all_go()
    life.pipeline.swap(new)
    await life.turn()
    assert life.seqs == []
    life.slow.let_all_go()
    await until(lambda: len(life.seqs) == 3)
    life.deliver("whole", 3 * ROWS)
    await until(lambda: len(life.seqs) == 4)
    assert [(one["seq"], one["version"]) for one in life.results] == [
        (0, "1.0.0"), (ROWS, "1.1.0"), (2 * ROWS, "1.1.0"), (3 * ROWS, "1.1.0"),
    ]  # fmt: skip


async def test_an_engine_that_fails_ends_the_bridge_and_nothing_is_settled(world: World) -> None:
    life = world.live()
    life.slow.fails[0] = ModelError("device lost")
    life.deliver("whole", 0)
    await until(lambda: life.slow.running)
    life.slow.let_all_go()
    await asyncio.wait([life.running], timeout=10)
    with pytest.raises(ModelError, match="device lost"):
        await life.running
    assert life.verdicts == {}


async def test_drain_finishes_what_waits_for_lanes(world: World) -> None:
    life = world.live()
    life.deliver("whole", 0)
    life.deliver("rows", 0, 2 * ROWS)
    await until(lambda: life.slow.running)
    draining = asyncio.create_task(life.pipeline.drain(20.0))
    await life.turn()
    assert not draining.done()
    life.slow.let_all_go()
    await draining
    await asyncio.wait_for(life.running, 10)
    assert sorted(life.seqs) == [0, 0, ROWS]


async def test_what_cannot_be_drained_in_time_stays_with_its_sender_or_in_the_journal(world: World) -> None:
    life = world.live()
    life.deliver("whole", 0)
    rows = life.deliver("rows", 0, 2 * ROWS)
    await until(lambda: rows in life.verdicts)
    await life.pipeline.drain(0.01)
    await asyncio.wait_for(life.running, 10)
    life.slow.let_all_go()
    await until(lambda: not life.slow.running)
    life.journal.close()
    assert (list(life.verdicts), life.seqs) == ([rows], [])
    assert world.pending() == [(0, False), (ROWS, False)]
