"""Whole windows that would be answered too late by a slow model: given up, or not, and settled all the same.

The whole bridge but its sockets, on a real journal. The tests hold up the slow model's runs and the broker's PUBACKs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

import pytest

from tests.support.engines import ROWS, until
from tests.support.lives import SHORT, Life, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    found = World(tmp_path / "journal.db")
    yield found
    await found.end()


Begin: TypeAlias = "Callable[[Life], int]"


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


async def test_a_message_that_was_given_up_is_settled_once_the_broker_has_its_error(world: World) -> None:
    life = world.live()
    number = await late(life, lambda life: life.deliver("brief", 4 * ROWS))
    assert number not in life.verdicts
    (error,) = [one for one in life.sent if one.topic.endswith("/error")]
    assert error.done is not None
    error.done(0)
    assert number in life.verdicts
