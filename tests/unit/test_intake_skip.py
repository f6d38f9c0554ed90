"""Rows that will never come, through the whole bridge but its sockets: settled and receipted like rows."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import pytest

from bridge import topics
from bridge.messages import Skip
from bridge.pipeline.arrival import Arrival
from bridge.wire.data import encode_skip
from bridge.wire.formats import Format
from tests.support.engines import HeldEngine, until
from tests.support.lives import Life, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path / "journal.db")
    yield world
    for life in world.lives:
        await life.crash()


def live(world: World) -> Life:
    slow = HeldEngine("slow", once=0.0)
    slow.let_all_go()
    return world.live(slow)


def skip(life: Life, stream: str, ranges: list[tuple[int, int]], *, receipt: bool = True, **how: Any) -> int:
    number = life._arrivals = life._arrivals + 1
    payload = encode_skip(Skip(ranges, "age", "e", receipt), Format.CBOR)
    settle = functools.partial(life._settle, number)  # which fails the second time
    life.inbox.put([Arrival(topics.data("s", "d", stream), payload, time.monotonic(), settle, **how)])
    return number


@pytest.mark.parametrize("stream", ["rows", "whole"])
@pytest.mark.parametrize("transient", [False, True], ids=["MQTT", "CoAP"])
async def test_rows_given_up_are_settled_once_and_receipted_like_rows(
    world: World, stream: str, transient: bool
) -> None:
    life = live(world)
    number = skip(life, stream, [(0, 3), (4, 5), (9, 9)], transient=transient)
    await until(lambda: number in life.verdicts)
    assert life.verdicts[number].refused is None
    assert life.receipts == [[[0, 5], [9, 9]]]
    assert (life.counts["skips"], life.counts["rows_skipped"]) == (1, 7 if stream == "rows" else 0)
    assert (life.counts["messages"], life.errors) == (1, [])
    if stream == "rows":  # the next life knows as well
        await life.crash()
        again = live(world)
        again.deliver("rows", 1, 3, receipt=True)
        await until(lambda: again.errors == [("stale", 1)])


async def test_no_receipt_is_sent_where_none_is_wanted(world: World) -> None:
    life = live(world)
    number = skip(life, "rows", [(0, 3)], receipt=False)
    await until(lambda: number in life.verdicts)
    assert life.receipts == []


async def test_what_is_complete_without_rows_given_up_is_answered(world: World) -> None:
    life = live(world)
    life.deliver("rows", 8, 8)
    await life.turn()
    assert life.seqs == []
    skip(life, "rows", [(0, 7)])
    await until(lambda: life.has_answered(2))
    assert life.seqs == [8, 12]
