"""The agent inside a program, without a network: what `put` promises, and what leaving the block does."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import edge_agent
from bridge.errors import ConfigError, StoreError, TakenOver
from bridge.store.database import Broken
from bridge.store.outbox import Append, End, Limits, Outbox
from edge_agent import EdgeAgent, cli, config, embedded, keeper, one_thread, waiting
from edge_agent.config import Agent, Settings, Stream
from edge_agent.fake import FakeUplink
from edge_agent.uplink import SAFE, TAKEN, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bridge.messages import Observation, Rows
    from bridge.store.outbox import Change
    from edge_agent.uplink import Listener


def rows(first: int, count: int = 2) -> Rows:
    return np.arange(first, first + count, dtype=np.float32)[:, None]


class Stand:
    """Agents of one device, one after the other."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.uplink = FakeUplink()
        monkeypatch.setattr(embedded, "make_uplink", lambda *_args, **_more: self.uplink)

    def agent(self, *, drain: float = 5.0, stream: dict[str, Any] | None = None, **more: Any) -> EdgeAgent:
        agent = Agent(site="s", device="d", url="mqtt://x", state=str(self.folder), **{"commit_wait": 0.0, **more})
        made = {"name": "wrist", "source": "program", "rows_per_message": 2, "longest_wait": 0.0, **(stream or {})}
        return EdgeAgent(Settings(agent=agent, streams=[Stream(**made)]), drain=drain)

    def arrived(self) -> dict[int, float]:
        """First channel of all rows sent, by number."""
        return {
            one.seq + i: row[0] for _, one in self.uplink.sent for i, row in enumerate(one.values.tolist())
            if one.seq is not None
        }  # fmt: skip

    def kept(self) -> list[tuple[int, int]]:
        box = Outbox(self.folder / "agent-s-d.db", Limits(), tell=pytest.fail)
        try:
            return [one for series in box.series() for one in box.kept(series.id)]
        finally:
            box.close()

    def end(self) -> None:
        """Has the outbox say that no more rows come."""
        box = Outbox(self.folder / "agent-s-d.db", Limits(), tell=pytest.fail)
        box.apply([End(series.id) for series in box.series()], 1.0)
        box.close()


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    return Stand(tmp_path, monkeypatch)


async def test_rows_keep_the_order_of_calls_and_their_numbers_go_on_in_the_next_life(stand: Stand) -> None:
    async with stand.agent() as agent:
        wrist = agent.stream("wrist")
        assert await wrist.put(rows(0, 3)) == 0
        assert await asyncio.gather(*(wrist.put(rows(3 + n, 1)) for n in range(5))) == [3, 4, 5, 6, 7]
    assert stand.arrived() == {n: float(n) for n in range(8)}
    epochs = {one.epoch for _, one in stand.uplink.sent}
    stand.uplink = FakeUplink()
    async with stand.agent() as agent:
        assert await agent.stream("wrist").put(rows(8)) == 8
    assert stand.arrived() == {8: 8.0, 9: 9.0}
    assert {one.epoch for _, one in stand.uplink.sent} == epochs
    assert stand.kept() == []


@pytest.mark.parametrize("ended", [False, True])
async def test_a_whole_window_begun_at_the_end_is_completed_by_the_next_life(stand: Stand, ended: bool) -> None:
    stream = {"windows": "whole", "rows_per_message": 8}
    refused = Outcome("refused", "shape: a whole window has 8 rows")
    stand.uplink = FakeUplink(lambda _stream, message: SAFE if len(message.values) == 8 else refused)
    async with asyncio.timeout(4):  # less than it would wait for receipts
        async with stand.agent(stream=stream) as agent:
            await agent.stream("wrist").put(rows(0, 13))
        assert stand.kept() == [(8, 12)]
        if ended:  # as earlier versions left it
            stand.end()
        async with stand.agent(stream=stream):
            pass
        assert stand.kept() == [(8, 12)]
        async with stand.agent(stream=stream) as agent:
            assert await agent.stream("wrist").put(rows(13, 11)) == 13
    assert [(one.seq, len(one.values)) for _, one in stand.uplink.sent] == [(0, 8), (8, 8), (16, 8)]
    assert stand.arrived() == {n: float(n) for n in range(24)}
    assert stand.kept() == []


async def test_what_is_handed_over_may_change_afterwards(stand: Stand) -> None:
    async with stand.agent() as agent:
        buffer = rows(7)
        accepted = agent.stream("wrist").put(buffer)
        buffer[:] = -1.0
        await accepted
    assert list(stand.arrived().values()) == [7.0, 8.0]


async def test_rows_that_are_not_finite_take_numbers_and_never_arrive(stand: Stand) -> None:
    nan, inf = float("nan"), float("inf")
    async with stand.agent() as agent:
        wrist = agent.stream("wrist")
        assert await wrist.put([[nan], [1.0], [inf], [3.0], [nan]]) == 0
        assert await wrist.put([[nan], [inf]]) == 5
        assert await wrist.put([[7.0]]) == 7
        await stand.uplink.until(lambda: len(stand.arrived()) == 3 and bool(stand.uplink.skips))
    assert stand.arrived() == {1: 1.0, 3: 3.0, 7: 7.0}
    assert {row for _, one in stand.uplink.skips for first, last in one.ranges for row in range(first, last + 1)} == {
        0, 2, 4, 5, 6,
    }  # fmt: skip


async def test_a_bad_call_takes_nothing(stand: Stand) -> None:
    async with stand.agent() as agent:
        wrist = agent.stream("wrist")
        await wrist.put(rows(0))
        with pytest.raises(ValueError, match="wrist: 2 channels, the first rows had 1"):
            wrist.put([[1.0, 2.0]])
        with pytest.raises(TypeError, match="wrist: rows are numbers"):
            wrist.put("[1.0]")
        assert await wrist.put(rows(2)) == 2
    assert sorted(stand.arrived()) == [0, 1, 2, 3]


async def test_rows_that_come_alone_have_left_when_the_call_returns(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LONE", 0.0)
    monkeypatch.setattr(one_thread, "QUICK", 1e3)  # whatever this disk is
    stand.uplink = FakeUplink(lambda _stream, _message: TAKEN)
    async with stand.agent(drain=0.0) as agent:
        wrist = agent.stream("wrist")
        for number in range(10 * one_thread.PROVEN):
            accepted = wrist.put(rows(2 * number))
            if accepted.done() and stand.arrived().get(2 * number) == 2 * number:
                break
            await accepted
            await stand.uplink.until(number + 1)
            await asyncio.sleep(0)  # the sender waits for more
        else:
            pytest.fail("none had left")


async def test_rows_that_come_alone_leave_before_they_are_on_disk_and_are_accepted_after(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LONE", 0.0)
    monkeypatch.setattr(one_thread, "QUICK", 1e3)
    gone_before: list[bool] = []
    apply = Outbox.apply

    def watched(box: Outbox, changes: Sequence[Change], *args: float) -> list[int | None]:
        last = [change for change in changes if isinstance(change, Append)]
        if last:
            gone_before.append(float(last[-1].values[-1, 0]) in stand.arrived().values())
        return apply(box, changes, *args)

    monkeypatch.setattr(Outbox, "apply", watched)
    async with stand.agent() as agent:
        wrist = agent.stream("wrist")
        for number in range(10 * one_thread.PROVEN):
            assert await wrist.put(rows(2 * number)) == 2 * number
            await stand.uplink.until(number + 1)
            if gone_before[-1]:
                break
            await asyncio.sleep(0)
        else:
            pytest.fail("none had left")
    assert stand.arrived() == {n: float(n) for n in range(2 * number + 2)}
    assert stand.kept() == []


async def test_rows_that_were_sent_and_that_the_disk_refuses_are_kept_later_under_their_numbers(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LONE", 0.0)
    monkeypatch.setattr(keeper, "RETRY", 0.01)
    monkeypatch.setattr(one_thread, "QUICK", 1e3)
    refused: list[int] = []
    apply = Outbox.apply

    def full(box: Outbox, changes: Sequence[Change], *args: float) -> list[int | None]:
        last = [change for change in changes if isinstance(change, Append)]
        value = float(last[-1].values[-1, 0]) if last else -1.0
        if value in stand.arrived().values() and len(refused) < 3:
            refused.append(int(value))
            raise StoreError("no space left on device")
        return apply(box, changes, *args)

    monkeypatch.setattr(Outbox, "apply", full)
    async with stand.agent() as agent:
        wrist = agent.stream("wrist")
        for number in range(10 * one_thread.PROVEN):
            assert await wrist.put(rows(2 * number)) == 2 * number
            await stand.uplink.until(number + 1)
            if refused:
                break
            await asyncio.sleep(0)
        assert len(refused) == 3
        assert await wrist.put(rows(2 * number + 2)) == 2 * number + 2
    assert stand.arrived() == {n: float(n) for n in range(2 * number + 4)}
    assert stand.kept() == [], "what was receipted before it was kept is forgotten after"


async def test_sources_of_which_nobody_awaits_the_calls_wait_for_room_in_their_order(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MOST_ROWS", 4)
    disk, apply = threading.Event(), Outbox.apply

    def slow(box: Outbox, changes: Sequence[Change], *more: float) -> list[int | None]:
        assert disk.wait(10)
        return apply(box, changes, *more)

    async with stand.agent() as agent:
        wrist = agent.stream("wrist")
        await wrist.put(rows(0))
        monkeypatch.setattr(Outbox, "apply", slow)
        calls = [wrist.put(rows(n)) for n in range(2, 12, 2)]
        calls[3].cancel()
        assert not any(one.done() for one in calls[:3])
        disk.set()
        assert await asyncio.gather(*calls[:3], calls[4]) == [2, 4, 6, 8]
    assert stand.arrived() == dict(enumerate([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 10.0, 11.0]))


async def test_what_is_not_receipted_in_time_is_sent_by_the_next_life(stand: Stand) -> None:
    stand.uplink = FakeUplink(lambda _stream, _message: TAKEN)
    async with asyncio.timeout(5), stand.agent(drain=0.05) as agent:
        await agent.stream("wrist").put(rows(0))
    assert stand.kept() == [(0, 1)]
    stand.uplink = FakeUplink()
    async with stand.agent():
        await stand.uplink.until(1)
    assert stand.arrived() == {0: 0.0, 1: 1.0}
    assert stand.kept() == []


async def test_what_waits_for_room_at_the_end_is_accepted_or_told_of(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> list[int | None]:
        raise StoreError("the disk is full")

    monkeypatch.setattr("edge_agent.app.FLUSH_TIMEOUT", 0.05)
    monkeypatch.setattr(waiting, "MOST_ROWS", 2)
    async with stand.agent(drain=0.05) as agent:
        wrist = agent.stream("wrist")
        await wrist.put(rows(0))
        monkeypatch.setattr(Outbox, "apply", full)
        calls = [wrist.put(rows(n)) for n in (2, 4)]
    for one in calls:
        with pytest.raises(StoreError, match="not accepted"):
            await one
    with pytest.raises(RuntimeError, match="wrist: the agent has ended"):
        wrist.put(rows(6))


class Dying(FakeUplink):
    """Somebody else goes by its name, when told so."""

    def __init__(self) -> None:
        super().__init__(lambda _stream, _message: None)
        self.dies = asyncio.Event()

    async def run(self, listener: Listener) -> None:
        listener.connected(fresh=False)
        await self.dies.wait()
        raise TakenOver("another client uses our name")


async def test_the_agents_own_end_reaches_the_next_call_and_leaving(stand: Stand) -> None:
    uplink = stand.uplink = Dying()
    told: list[TakenOver] = []

    async def program() -> None:
        async with asyncio.timeout(5), stand.agent() as agent:
            wrist = agent.stream("wrist")
            await wrist.put(rows(0))
            uplink.dies.set()
            while not told:
                await asyncio.sleep(0)
                try:
                    await wrist.put(rows(2))
                except TakenOver as why:
                    told.append(why)

    with pytest.raises(TakenOver, match="another client"):
        await program()
    assert len(told) == 1


async def test_calls_after_the_agents_end_do_not_add_up_in_memory(stand: Stand) -> None:
    uplink = stand.uplink = Dying()
    frames: set[int] = set()  # that hang on what was raised

    async def program() -> None:
        async with asyncio.timeout(5), stand.agent() as agent:
            wrist = agent.stream("wrist")
            uplink.dies.set()
            with suppress(TakenOver):
                while True:
                    await wrist.put(rows(0))
            for _ in range(5):
                with pytest.raises(TakenOver) as caught:
                    wrist.put(rows(0))
                frames.add(len(caught.traceback))

    with pytest.raises(TakenOver):
        await program()
    assert len(frames) == 1


async def test_an_outbox_that_is_damaged_reaches_whoever_waits(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: Any) -> list[int | None]:
        raise Broken("the file is damaged")

    async def program() -> None:
        async with asyncio.timeout(5), stand.agent() as agent:
            wrist = agent.stream("wrist")
            await wrist.put(rows(0))
            monkeypatch.setattr(Outbox, "apply", damaged)
            accepted = wrist.put(rows(2))
            with pytest.raises(StoreError, match="damaged"):
                await accepted

    with pytest.raises(Broken, match="damaged"):
        await program()


async def test_the_programs_own_error_is_not_hidden_by_the_agents(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    uplink = stand.uplink = Dying()

    async def program() -> None:
        async with stand.agent():
            uplink.dies.set()
            await asyncio.sleep(0.05)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await program()
    assert "the agent had failed: another client uses our name" in caplog.text


async def test_a_program_that_is_cancelled_while_it_leaves_ends_at_once_and_keeps_its_rows(stand: Stand) -> None:
    stand.uplink = FakeUplink(lambda _stream, _message: TAKEN)
    leaving = asyncio.Event()

    async def program() -> None:
        async with stand.agent(drain=1e3) as agent:
            await agent.stream("wrist").put(rows(0))
            leaving.set()

    work = asyncio.create_task(program())
    await leaving.wait()
    await asyncio.sleep(0.01)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(work, 5)
    assert stand.kept() == [(0, 1)]


@pytest.mark.parametrize("ends", ["late", "failing"])
async def test_an_uplink_that_does_not_close_holds_no_outbox(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    closing = asyncio.Event()

    async def close() -> None:
        closing.set()
        if ends == "failing":
            raise OSError("no socket")
        await asyncio.Event().wait()

    monkeypatch.setattr(stand.uplink, "close", close)
    agent = stand.agent(drain=1.0)
    await agent.__aenter__()
    await agent.stream("wrist").put(rows(0))
    if ends == "failing":
        with pytest.raises(OSError, match="no socket"):
            await agent.__aexit__(None, None, None)
    else:
        await agent.__aexit__(None, None, None)
    assert closing.is_set()
    assert stand.kept() == [], "the next can open it"


async def test_what_the_bridge_refuses_is_dropped_and_the_rest_goes_on(stand: Stand) -> None:
    def answer(_stream: str, message: Observation) -> Outcome:
        return Outcome("refused", "no_route") if message.seq == 0 else SAFE

    stand.uplink = FakeUplink(answer)
    async with stand.agent() as agent:
        wrist = agent.stream("wrist")
        assert [await wrist.put(rows(n)) for n in (0, 2)] == [0, 2]
    assert stand.kept() == []


async def test_only_streams_of_the_program_are_fed_within_the_block(stand: Stand) -> None:
    agent = stand.agent()
    with pytest.raises(ValueError, match=r"no stream 'wrist'.* the agent has not begun"):
        agent.stream("wrist")
    async with agent:
        with pytest.raises(ValueError, match="no stream 'ankle' with source = \"program\"; there is wrist"):
            agent.stream("ankle")


async def test_an_outbox_that_cannot_be_opened_is_told_at_the_beginning(stand: Stand) -> None:
    async with stand.agent():
        with pytest.raises(StoreError, match="another"):
            await stand.agent().__aenter__()


FILE = '[agent]\nsite = "s"\ndevice = "d"\nurl = "mqtt://h"\n[[streams]]\nname = "wrist"\nsource = "{}"\n{}\n'


def test_each_way_to_run_an_agent_refuses_the_others_streams(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(FILE.format("stdin", ""))
    with pytest.raises(ConfigError, match=r'agent.toml: streams\[0\].source: "stdin" is for `edge-agent run`'):
        EdgeAgent.load(file)
    file.write_text(FILE.format("program", ""))
    assert cli.main(["run", "--config", str(file)]) == 2
    assert f'{file}: streams[0].source: "program" is for programs that embed' in capsys.readouterr().err


@pytest.mark.parametrize("more", ["confirm = true", 'files = ["a.csv"]', 'columns = ["a"]'])
def test_what_a_programs_stream_cannot_have(tmp_path: Path, more: str) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(FILE.format("program", more))
    with pytest.raises(ConfigError, match=rf"streams\[0\]\.{more.split(' ')[0]}: is of "):
        config.load(file)


def test_the_package_names_what_it_offers() -> None:
    assert edge_agent.EdgeAgent is embedded.EdgeAgent
    assert edge_agent.Feed.__name__ == "Feed"
    with pytest.raises(AttributeError, match="no attribute 'Feeds'"):
        _ = edge_agent.Feeds
