"""What one turn makes of its messages is bounded, however packed they came; the rest waits its turn, fairly.

The whole bridge but its sockets, on a real journal. Memory is what `tracemalloc` saw a turn add at its peak.
"""

from __future__ import annotations

import functools
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from bridge import topics
from bridge.catalog import Catalog
from bridge.pipeline.arrival import Arrival
from bridge.pipeline.chunk import CUT, most_rows
from bridge.pipeline.pipeline import MADE, MOST
from bridge.pipeline.routes import Route
from tests.support.engines import HeldEngine, until
from tests.support.lives import LONG, Life, World
from tests.support.payloads import packed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bridge.catalog import Manifest
    from bridge.pipeline.inbox import Event
    from bridge.pipeline.turn import Turn

ACTIVITY = Catalog()["activity"]
ROWS, HOP, CHANNELS = ACTIVITY.input.rows, ACTIVITY.input.hop, len(ACTIVITY.input.channels)
LARGE = 16_384  # rows of a frame of the flood: 96 KiB in 1 KiB, 1.4 MB of rows and windows
FLOOD = 40  # such frames, which fit into one turn's 2 MiB
MIB = 1 << 20


def hopping(hop: int) -> Manifest:
    return msgspec.structs.replace(ACTIVITY, input=msgspec.structs.replace(ACTIVITY.input, hop=hop))


ROUTES = [
    Route("fast", ACTIVITY, "quick", "rows", "bridge", LONG),
    Route("slow", ACTIVITY, "slow", "rows", "bridge", LONG),
    Route("fast", hopping(1), "dense", "rows", "bridge", LONG),
]


class Watched:
    """A bridge whose turns are watched.

    Attributes:
        life: the bridge.
        peaks: bytes that each turn had added at its peak.
        handled: messages of each turn.
    """

    def __init__(self, life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
        self.life = life
        self.peaks: list[int] = []
        self.handled: list[int] = []
        take, turn = life.pipeline._intake.take, life.pipeline._turn

        def counted(arrival: Arrival, found: Turn) -> None:
            self.handled[-1] += 1
            take(arrival, found)

        async def watched(events: list[Event], most: int) -> None:
            self.handled.append(0)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            await turn(events, most)
            self.peaks.append(tracemalloc.get_traced_memory()[1] - before)

        monkeypatch.setattr(life.pipeline._intake, "take", counted)
        monkeypatch.setattr(life.pipeline, "_turn", watched)

    def send(self, stream: str, payload: bytes, *, device: str = "flood", **how: Any) -> int:
        life = self.life
        number = life._arrivals = life._arrivals + 1
        settle = functools.partial(life._settle, number)
        life.inbox.put([Arrival(topics.data("s", device, stream), payload, time.monotonic(), settle, **how)])
        return number

    async def all_settled(self) -> None:
        """Returns when every message was answered for; the broker takes all that it gets."""

        def settled() -> bool:
            self.life.take_all()
            return len(self.life.verdicts) == self.life._arrivals

        await until(settled)


@pytest.fixture
async def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    world = World(tmp_path / "journal.db")
    slow = HeldEngine("slow", batch=64)
    slow.let_all_go()
    found = Watched(world.live(slow, ROUTES), monkeypatch)
    tracemalloc.start()
    yield found
    tracemalloc.stop()
    await world.end()


@pytest.mark.parametrize("stream", ["quick", "slow"], ids=["answered in the turn", "handed over"])
async def test_a_flood_of_highly_compressed_frames_is_taken_in_turns_of_bounded_memory(
    watched: Watched, stream: str
) -> None:
    for number in range(FLOOD):
        watched.send(stream, packed(number * LARGE, LARGE, CHANNELS))
    assert watched.life.inbox._arrivals.size < 2 * MIB
    windows = (FLOOD * LARGE - ROWS) // HOP + 1
    await until(lambda: len(watched.life.sent) == windows)
    await watched.all_settled()
    assert watched.life.seqs == list(range(0, windows * HOP, HOP)), "all answered, in order"
    assert all(verdict.refused is None for verdict in watched.life.verdicts.values())
    assert max(watched.peaks) < 3 * MADE
    assert max(watched.handled) * LARGE // HOP <= MOST + LARGE // HOP


async def test_frames_that_are_refused_once_unpacked_end_a_turn_too(watched: Watched) -> None:
    for number in range(3 * FLOOD):
        watched.send("quick", packed(number * LARGE, LARGE, CHANNELS + 1))
    await watched.all_settled()
    assert {str(verdict.refused)[:5] for verdict in watched.life.verdicts.values()} == {"shape"}
    assert max(watched.handled) <= MADE // (LARGE * (CHANNELS + 1)) + 1
    assert max(watched.peaks) < MADE // 2, "what was decoded is not kept until the end of the turn"


async def test_another_device_waits_for_one_turn_of_the_flood(watched: Watched) -> None:
    for number in range(FLOOD):
        watched.send("quick", packed(number * LARGE, LARGE, CHANNELS))
    watched.send("quick", packed(0, LARGE // 2, CHANNELS), device="victim")
    await watched.all_settled()
    devices = [result["device"] for result in watched.life.results]
    assert devices.index("victim") <= MOST + LARGE // HOP


async def test_a_message_that_gives_too_many_windows_is_refused_and_the_largest_that_is_not_is_a_turn(
    watched: Watched,
) -> None:
    most = most_rows(hopping(1).input)
    assert most == CUT // (1_024 + 4 * ROWS * CHANNELS) == 4_096
    refused = watched.send("dense", packed(0, 65_536, CHANNELS))
    taken = [watched.send("dense", packed(number * most, most, CHANNELS)) for number in range(2)]
    await until(lambda: len(watched.life.sent) == 2 * most - ROWS + 2)
    await watched.all_settled()
    assert str(watched.life.verdicts[refused].refused) == (
        "too_large: 65536 rows in a message; at most 4096, for fast begins a window every 1"
    )
    assert watched.life.errors == [("too_large", 0)]
    assert [watched.life.verdicts[number].refused for number in taken] == [None, None]
    assert max(watched.handled) == 2, "the refused one and one of the others"
    assert max(watched.peaks) < 4 * CUT
