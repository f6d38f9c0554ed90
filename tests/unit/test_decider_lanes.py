"""A slow model beside a fast one, through the whole pipeline: its windows leave the turn and come back.

The whole bridge but its sockets, on a real journal. The tests hold up the slow model's runs and the broker's PUBACKs.
"""

from __future__ import annotations

import asyncio
import functools
import json
import time
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import pytest

from bridge.errors import ModelError
from bridge.pipeline import decider as decider_module
from tests.support.engines import ROWS, HeldEngine, until
from tests.support.lives import ROUTES, SHORT, Life, World, manifest_of, route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    found = World(tmp_path / "journal.db")
    yield found
    for life in found.lives:
        life.slow.let_all_go()
        if not life.running.done():
            await life.crash()
        await life.slow.ended()


Begin: TypeAlias = "Callable[[Life], int]"


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


async def test_rows_of_a_slow_model_survive_a_crash_and_are_computed_once_and_in_order(world: World) -> None:
    first = world.live()
    number = first.deliver("rows", 0, 5 * ROWS + 2)
    await until(lambda: number in first.verdicts)
    first.slow.let_go(0)
    await until(lambda: first.seqs == [0])
    await first.turn()
    await first.crash()
    assert world.pending() == [(n * ROWS, False) for n in range(1, 5)]
    second = world.live()
    again = second.deliver("rows", ROWS, 5 * ROWS)  # most of it comes again
    await until(lambda: again in second.verdicts)
    second.slow.let_all_go()
    await until(lambda: len(second.seqs) == 6)
    assert second.seqs == [n * ROWS for n in range(6)]  # the first's PUBACK had not come
    assert second.slow.began == [[n] for n in range(1, 6)]
    second.take_all()
    await second.turn()
    await second.turn()
    await second.crash()
    third = world.live()
    await third.turn()
    assert (third.seqs, third.slow.began) == ([], [])


async def test_a_window_of_a_model_that_has_no_route_any_more_is_refused_once(world: World) -> None:
    first = world.live()
    number = first.deliver("rows", 0)
    await until(lambda: number in first.verdicts)
    await first.crash()
    second = world.live(routes=[route("quick", "whole", model="fast")])
    await until(lambda: second.errors)
    assert second.errors == [("no_route", 0)]
    await second.crash()
    assert world.pending() == []


async def test_a_window_cut_for_another_window_length_is_refused_at_the_next_start(world: World) -> None:
    """A model with other windows takes a restart; what waits for its lanes then is of no use any more."""
    first = world.live()
    number = first.deliver("rows", 0)
    await until(lambda: number in first.verdicts)
    await first.crash()
    longer = [msgspec.structs.replace(one, manifest=manifest_of(2 * ROWS)) for one in ROUTES]
    slow = HeldEngine("slow")
    slow.rows = 2 * ROWS
    slow.answers = functools.partial(HeldEngine.__mro__[1].answers, slow)  # type: ignore[attr-defined, method-assign]
    second = world.live(slow, longer)
    await until(lambda: second.errors or second.running.done())
    assert not second.running.done(), second.running.exception()
    assert second.errors == [("shape", 0)]
    await second.crash()
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


async def test_a_whole_window_that_waited_in_vain_comes_again_and_is_new(world: World) -> None:
    first = world.live()
    first.deliver("whole", 0)
    await until(lambda: first.slow.running)
    await first.crash()
    assert (first.verdicts, world.pending()) == ({}, [])
    second = world.live()
    number = second.deliver("whole", 0)
    second.slow.let_all_go()
    await until(lambda: second.seqs == [0])
    second.take_all()
    assert number in second.verdicts


async def late(life: Life, begin: Begin) -> int:
    """Begins a window while another one computes, and lets that end when the window is late."""
    life.deliver("whole", 0, device="other")
    await until(lambda: life.slow.running)
    number = begin(life)
    await life.turn()
    due = time.monotonic() + SHORT
    await until(lambda: time.monotonic() > due)
    life.slow.let_all_go()
    await until(lambda: len(life.seqs) + len(life.errors) == 2)
    await life.turn()
    return number


async def test_a_late_whole_window_is_refused_as_stale_and_settled(world: World) -> None:
    life = world.live()
    number = await late(life, lambda life: life.deliver("brief", 4 * ROWS))
    assert life.errors == [("stale", 4 * ROWS)]
    assert (life.seqs, life.slow.began) == ([0], [[0]])
    life.take_all()
    assert number in life.verdicts
    assert life.counts["refused_stale"] == 1
    again = life.deliver("brief", 4 * ROWS)  # not known: it has no answer
    await until(lambda: life.seqs == [0, 4 * ROWS])
    assert again not in life.verdicts


@pytest.mark.parametrize(
    "begin",
    [
        lambda life: life.deliver("patient", 4 * ROWS),
        lambda life: life.deliver("brief", 4 * ROWS, lane="backlog"),
        lambda life: life.deliver("brief", 4 * ROWS, receipt=True),
        lambda life: life.deliver("brief", 4 * ROWS, transient=True),
    ],
    ids=["late-answer", "backlog", "receipt", "coap"],
)
async def test_a_late_whole_window_that_may_not_be_given_up_is_answered(world: World, begin: Begin) -> None:
    life = world.live()
    number = await late(life, begin)
    assert (life.seqs, life.errors) == ([0, 4 * ROWS], [])
    life.take_all()
    assert number in life.verdicts


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


async def test_a_copy_of_a_window_that_is_given_up_is_settled_with_it(world: World) -> None:
    life = world.live()

    def begin(life: Life) -> int:
        life.deliver("brief", 4 * ROWS)
        return life.deliver("brief", 4 * ROWS)

    copy = await late(life, begin)
    assert life.errors == [("stale", 4 * ROWS)]
    life.take_all()
    assert {copy - 1, copy} <= set(life.verdicts)


async def test_a_copy_whose_sender_insists_is_not_told_that_what_was_given_up_is_safe(world: World) -> None:
    life = world.live()

    def begin(life: Life) -> int:
        life.deliver("brief", 4 * ROWS)
        life.deliver("brief", 4 * ROWS, receipt=True)
        return life.deliver("brief", 4 * ROWS, transient=True)

    over_coap = await late(life, begin)
    refused = life.verdicts[over_coap].refused
    assert refused is not None
    assert refused.reason == "overload"
    assert life.receipts == []


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


async def test_while_too_much_waits_for_a_slow_model_its_messages_stay_and_others_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decider_module, "HELD", 1)
    life = world.live()
    life.deliver("whole", 0)
    await until(lambda: life.slow.running)
    waits = life.deliver("whole", ROWS)
    infer = life.deliver("whole", 0, topic="edge/v1/_infer/slow", reply_to="edge/v1/_reply/r/1", correlation=b"")
    life.deliver("quick", 0)
    await until(lambda: life.seqs == [0])
    assert (len(life.inbox), life.slow.began) == (2, [[0]])
    life.slow.let_all_go()
    await until(lambda: len(life.seqs) == 4)
    life.take_all()
    assert {waits, infer} <= set(life.verdicts)


async def test_a_message_that_was_given_up_is_settled_once_the_broker_has_its_error(world: World) -> None:
    life = world.live()
    number = await late(life, lambda life: life.deliver("brief", 4 * ROWS))
    assert number not in life.verdicts
    (error,) = [one for one in life.sent if one.topic.endswith("/error")]
    assert error.done is not None
    error.done(0)
    assert number in life.verdicts


async def test_a_stream_stays_in_order_whoever_of_it_may_be_given_up(world: World) -> None:
    life = world.live()
    life.deliver("whole", 0, device="other")
    await until(lambda: life.slow.running)
    for number in range(1, 7):
        life.deliver("whole", number * ROWS, receipt=number % 3 == 1)
    await life.turn()
    life.slow.let_all_go()
    await until(lambda: len(life.seqs) == 7)
    assert life.seqs == [number * ROWS for number in range(7)]


async def test_an_asker_shares_as_one_however_many_response_topics_it_makes(world: World) -> None:
    life = world.live()
    life.deliver("whole", 0, device="other")
    await until(lambda: life.slow.running)
    for number in range(8):
        life.deliver(
            "whole", number * ROWS, topic="edge/v1/_infer/slow", reply_to=f"edge/v1/_reply/me/{number}", correlation=b""
        )
    life.deliver("whole", 70 * ROWS)
    await life.turn()
    life.slow.let_all_go()
    await until(lambda: len(life.seqs) == 10)
    assert life.seqs.index(70 * ROWS) <= 2


async def test_many_tiny_windows_count_by_more_than_their_numbers(world: World) -> None:
    life = world.live()
    life.deliver("rows", 0, 100 * ROWS)
    await until(lambda: life.slow.running)
    assert life.pipeline._decider._lanes["slow"].held > 100 * 500  # what the objects around each take


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


async def test_what_the_inbox_gave_up_is_told_as_overload_once_a_topic(world: World) -> None:
    life = world.live()
    life.inbox._limit = 4_000
    for number in range(8):
        life.deliver("quick", number * ROWS, sheddable=True)
    await until(lambda: life.errors)
    assert life.errors == [("overload", None)]
    assert len(life.seqs) + life.counts["refused_overload"] == 8
    assert life.seqs == [number * ROWS for number in range(8 - len(life.seqs), 8)] != []


async def test_who_asks_is_told_that_its_questions_were_given_up(world: World) -> None:
    life = world.live()
    life.inbox._limit = 4_000
    for number in range(8):
        asker = "mine" if number == 0 else "flood"
        reply_to, correlation = f"edge/v1/_reply/{asker}/1", b"%d" % number
        life.deliver(
            "whole", number * ROWS, topic="edge/v1/_infer/slow", reply_to=reply_to, correlation=correlation,
            sheddable=True,
        )  # fmt: skip
    await until(lambda: life.sent)
    (told,) = life.sent
    given_up = life.counts["refused_overload"]
    assert (told.topic, told.correlation) == ("edge/v1/_reply/flood/1", b"%d" % given_up)
    assert json.loads(told.payload) == {
        "reason": "overload",
        "detail": f"{given_up} messages at QoS 0: the bridge has no room, and this sender holds most",
        "stream": None,
        "seq": None,
    }


async def test_streams_of_a_device_do_not_wait_behind_its_messages_for_a_crowded_model(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decider_module, "HELD", 1)
    life = world.live()
    life.deliver("whole", 0)
    await until(lambda: life.slow.running)
    for number in (1, 2, 3):
        life.deliver("whole", number * ROWS)
    life.deliver("quick", 0)
    await until(lambda: life.has_answered(1))
    assert (len(life.inbox), life.slow.began) == (3, [[0]])
