"""Rows that come alone: committed, and sent, in the very call in which they came."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bridge.errors import StoreError
from bridge.store.outbox import Append, Limits, Outbox
from edge_agent.config import Stream
from edge_agent.fake import FakeUplink
from edge_agent.keeper import AT_ONCE, LONE, RETRY, Keeper
from edge_agent.one_thread import PROVEN
from edge_agent.sender import Sender
from edge_agent.uplink import TAKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from bridge.messages import Rows
    from bridge.store.outbox import Change


def rows(first: int, count: int) -> Rows:
    return np.arange(first, first + count, dtype=np.float32)[:, None]


@pytest.fixture
async def ticking(tmp_path: Path) -> AsyncIterator[tuple[Keeper, list[float]]]:
    """A keeper whose commits have proven quick, and its clock."""
    now = [1.0]
    keeper = Keeper(
        lambda: Outbox(tmp_path / "a.db", Limits(), tell=pytest.fail),
        clock=lambda: 5.0,
        mono=lambda: now[0],
        commit_wait=0.0,
    )
    await keeper.open()
    run = asyncio.create_task(keeper.run())
    series = keeper.box.begin("wrist", "e").id
    for number in range(PROVEN + 1):
        now[0] += LONE
        assert await (await keeper.append(Append(series, rows(number, 1)))) == number
    await asyncio.sleep(0)  # it waits for more
    now[0] += 2 * LONE
    yield keeper, now
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await keeper.close()


async def test_rows_that_come_alone_are_committed_in_the_very_call_and_those_right_behind_together(
    ticking: tuple[Keeper, list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, now = ticking
    commits: list[int] = []
    apply = Outbox.apply

    def counted(box: Outbox, changes: Sequence[Change], *more: float) -> list[int | None]:
        commits.append(len(changes))
        return apply(box, changes, *more)

    monkeypatch.setattr(Outbox, "apply", counted)
    series = keeper.box.series()[0]
    alone = await keeper.append(Append(series.id, rows(0, 5)))
    assert alone.done()
    assert alone.result() == series.next
    behind = [await keeper.append(Append(series.id, rows(5 * n, 5), skip=1)) for n in (1, 2)]
    assert not any(one.done() for one in behind)
    assert await asyncio.gather(*behind) == [series.next + 6, series.next + 12]
    await asyncio.sleep(0)
    assert commits == [1, 2], "nor is there one with nothing in it"
    now[0] += 2 * LONE
    assert (await keeper.append(Append(series.id, rows(0, 1)))).done()


@pytest.mark.parametrize("wait", [RETRY, 60.0])
async def test_many_rows_end_the_gathering_at_once_however_long_it_may_last(tmp_path: Path, wait: float) -> None:
    keeper = Keeper(
        lambda: Outbox(tmp_path / "a.db", Limits(), tell=pytest.fail),
        clock=lambda: 5.0,
        mono=lambda: 1.0,
        commit_wait=wait,
    )
    await keeper.open()
    run = asyncio.create_task(keeper.run())
    series = keeper.box.begin("wrist", "e").id
    async with asyncio.timeout(RETRY / 2):
        assert await keeper.take(Append(series, rows(0, AT_ONCE))) == 0
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await keeper.close()


async def test_what_the_store_refuses_in_the_very_call_is_committed_later_under_the_same_number(
    ticking: tuple[Keeper, list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, _ = ticking
    apply = Outbox.apply

    def refuse(*_: Any) -> list[int | None]:
        monkeypatch.setattr(Outbox, "apply", apply)
        raise StoreError("busy")

    monkeypatch.setattr(Outbox, "apply", refuse)
    series = keeper.box.series()[0]
    done = await keeper.append(Append(series.id, rows(0, 5)))
    assert not done.done()
    assert await asyncio.wait_for(done, 5) == series.next
    assert keeper.box.rows(series.id) == series.next + 5


async def test_one_listener_that_fails_hides_no_commit_from_the_others(ticking: tuple[Keeper, list[float]]) -> None:
    keeper, _ = ticking
    series = keeper.box.series()[0]

    def fail(_first: int) -> None:
        raise LookupError("a bug")

    await keeper.append(Append(series.id, rows(0, 1)))  # so that the next are not alone
    taken = [await keeper.append(Append(series.id, rows(n, 1)), fail) for n in (1, 2)]
    async with asyncio.timeout(5):
        assert await asyncio.gather(*taken) == [series.next + 1, series.next + 2]


async def test_rows_are_kept_though_whoever_sends_them_before_that_fails(ticking: tuple[Keeper, list[float]]) -> None:
    keeper, now = ticking
    series = keeper.box.series()[0]
    keeper.take(Append(series.id, rows(0, 1)), early=lambda _first: None)  # reserves numbers
    now[0] += 2 * LONE

    def fail(_first: int) -> None:
        raise LookupError("a bug")

    committed = keeper.next_commit()
    with pytest.raises(LookupError):
        keeper.take(Append(series.id, rows(1, 1)), early=fail)
    await asyncio.wait_for(committed.wait(), 5)
    assert keeper.box.rows(series.id) == series.next + 2


@pytest.mark.parametrize("hindered", ["", "way", "overdue", "awake", "old"])
async def test_rows_on_disk_leave_in_the_very_call_unless_something_is_to_go_first(
    ticking: tuple[Keeper, list[float]], hindered: str
) -> None:
    keeper, now = ticking
    uplink = FakeUplink(lambda _stream, _message: TAKEN)
    sender = Sender(keeper, uplink, clock=lambda: now[0], dice=lambda: 0.0, receipt_timeout=1.0)
    series = keeper.box.series()[0]
    stream = Stream(name="wrist", source="stdin", rows_per_message=5, longest_wait=10.0)
    route = sender.add(series, stream, series.next - series.next % 5)
    run = asyncio.create_task(sender.run())
    if hindered != "way":
        sender.connected(fresh=False)
    await asyncio.sleep(0)
    if hindered == "overdue":
        route.lanes.live.sent(0, 4, 0)
        route.lanes.live.again(0, now[0])
    if hindered == "awake":
        sender.gave_up()
    if hindered == "old":
        keeper.newest.recent.clear()
    done = await keeper.append(Append(series.id, rows(0, 5)), lambda first: sender.grew(route, first + 5))
    assert done.done()
    assert route.lanes.live.under_way() == (not hindered)
    if hindered == "way":
        sender.connected(fresh=False)
    await asyncio.wait_for(uplink.until(lambda: any(one.seq == series.next - 2 for _, one in uplink.sent)), 5)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
