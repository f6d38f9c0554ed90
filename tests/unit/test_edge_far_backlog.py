"""A backlog beyond more rows that were given up than a message may leap over: a bridge as it is takes its rows."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from bridge.catalog import load_manifest
from bridge.errors import Refused
from bridge.messages import SeriesKey
from bridge.pipeline.entries import Patience
from bridge.pipeline.routes import Route
from bridge.pipeline.series import MAX_JUMP
from bridge.pipeline.window import Windower
from bridge.store.outbox import Append, Limits, Outbox, Release
from bridge.topics import DataTopic
from edge_agent.config import Stream
from edge_agent.fake import FakeUplink
from edge_agent.keeper import Keeper
from edge_agent.sender import Sender
from edge_agent.uplink import SAFE, TAKEN, Outcome
from tests.support.feeds import feed

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.messages import Observation, Rows, Skip

ACTIVITY = load_manifest(Path(__file__).parents[2] / "models" / "activity")
SHAPE = msgspec.structs.replace(ACTIVITY.input, rows=4, hop=2, channels=("c",), rate_hz=10.0)
ROUTE = Route(model="m", manifest=msgspec.structs.replace(ACTIVITY, input=SHAPE), stream="x", windows="rows")
WHO = DataTopic("s", "d", "x")
FAR = MAX_JUMP + 1  # rows


class Bridge:
    """A bridge's rows and windows; the receipt of the first Skip is lost."""

    def __init__(self) -> None:
        self.windower = Windower(Patience(), lambda: pytest.fail("the agent numbers its rows"))
        self.refused: list[str] = []
        self.skips = 0
        self.rows: set[int] = set()

    def take(self, _stream: str, seen: Observation) -> Outcome:
        assert seen.seq is not None
        try:
            self.windower.take(feed(self.windower, ROUTE, WHO), seen, 0.0, 1e9)
        except Refused as why:
            self.refused.append(str(why))
            return Outcome("refused", str(why))
        self.rows |= set(range(seen.seq, seen.seq + len(seen.values)))
        return SAFE

    def skip(self, _stream: str, seen: Skip) -> Outcome:
        self.windower.skip(feed(self.windower, ROUTE, WHO), seen, 0.0)
        self.skips += 1
        return TAKEN if self.skips == 1 else SAFE

    @property
    def next_row(self) -> int:
        entry = self.windower.entry(SeriesKey(*WHO, "e"))
        return 0 if entry is None else entry.series.next_row


def rows(first: int, count: int) -> Rows:
    return np.arange(first, first + count, dtype=np.float32)[:, None]


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 # what is waited for sets no event
            await asyncio.sleep(0.005)


async def test_a_backlog_that_comes_before_the_bridge_knows_what_was_given_up_is_not_refused(tmp_path: Path) -> None:
    bridge = Bridge()
    uplink = FakeUplink(bridge.take, bridge.skip)
    keeper = Keeper(
        lambda: Outbox(tmp_path / "a.db", Limits(), tell=pytest.fail),
        clock=time.time,
        mono=time.monotonic,
        commit_wait=0.0,
    )
    await keeper.open()
    sender = Sender(
        keeper, uplink, clock=time.monotonic, dice=lambda: 1.0, receipt_timeout=0.1, backlog_after=0.0
    )  # fmt: skip
    keeper.listen(sender.gave_up)
    one = keeper.box.begin("x", "e")
    route = sender.add(one, Stream(name="x", source="stdin", rate=50, rows_per_message=25), 0, lanes=True)
    works = [asyncio.create_task(each) for each in (keeper.run(), sender.run())]

    async def put(first: int, count: int, skip: int = 0) -> int:
        done = await keeper.append(Append(one.id, rows(first, count), t=1e6 + first, dt=0.02, skip=skip, align=25))
        end = await done + count
        sender.grew(route, end)
        return end

    sender.connected(fresh=False)
    assert await put(0, 100) == 100
    await eventually(lambda: bridge.next_row == 100)
    sender.disconnected("cut")
    await put(100, 100)
    end = await put(200 + FAR, 50, skip=FAR)
    assert end == 250 + FAR
    keeper.release([Release(one.id, 100, 199, rule="age")])
    await keeper.flush()
    await asyncio.sleep(0.02)
    sender.connected(fresh=False)
    await eventually(lambda: bridge.next_row == end and keeper.box.rows() == 0)
    assert bridge.refused == []
    assert route.refused == []
    assert bridge.rows == {*range(100), *range(200 + FAR, end)}
    late = [seen for _, seen in uplink.sent if seen.lane == "backlog"]
    assert late[0].live_from == end
    sender.disconnected("cut again")
    await put(end, 50)
    sender.connected(fresh=False)
    await eventually(lambda: bridge.next_row == end + 50)
    last = [seen for _, seen in uplink.sent if seen.lane == "backlog"][len(late) :]
    assert {seen.live_from for seen in last} == {None}, "all that was given up is told"
    for work in works:
        work.cancel()
    await asyncio.gather(*works, return_exceptions=True)
    await keeper.close()
