"""More than a model or the inbox can take: who waits, who is given up, and in what order the others go on.

The whole bridge but its sockets, on a real journal. The tests hold up the slow model's runs and the broker's PUBACKs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bridge.pipeline import decider as decider_module
from tests.support.engines import ROWS, until
from tests.support.lives import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    found = World(tmp_path / "journal.db")
    yield found
    await found.end()


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
