"""The agent without a network, across outages: lanes, what it gives up by rule, what its status tells."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bridge.messages import Receipt
from bridge.store.database import Broken
from bridge.store.outbox import Append, Limits, Outbox
from edge_agent.app import App
from edge_agent.config import Agent, Stream
from edge_agent.fake import FakeUplink
from edge_agent.keeper import Keeper
from edge_agent.sampler import Chunk
from edge_agent.sender import Sender
from edge_agent.uplink import SAFE, TAKEN, Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from bridge.messages import Observation, Skip

ROWS = 3000


def app(tmp_path: Path, uplink: FakeUplink, *, lanes: bool = True, stream: dict[str, Any], **agent: Any) -> App:
    """An agent that reads a recording of `ROWS` rows 40 times as fast as it was made."""
    np.savez(tmp_path / "a.npz", values=np.arange(float(ROWS)), rate=50.0)
    settings = Agent(site="s", device="d", url="mqtt://x", **{"backlog_after": 0.0, **agent})
    made = Stream(name="wrist", source="replay", files=[str(tmp_path / "a.npz")], **{"speed": 40.0, **stream})
    return App(settings, [made], store=tmp_path / "state" / "a.db", uplink=uplink, lanes=lanes)


def put(tmp_path: Path, count: int, **limits: Any) -> str:
    """Rows in the outbox of an earlier life, of the series that the agent goes on with."""
    box = Outbox(tmp_path / "state" / "a.db", Limits(**limits), tell=pytest.fail)
    one = box.begin("wrist", f"{box.store}.0.a")
    for first in range(0, count, 100):
        values = np.arange(first, first + 100, dtype=np.float32)[:, None]
        box.apply([Append(one.id, values, t=float(first), dt=0.02, align=25)], 1.0)
    box.close()
    return one.epoch


async def eventually(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 # what is waited for sets no event
        await asyncio.sleep(0.005)


def numbers(sent: list[tuple[str, Observation]]) -> set[int]:
    found = set()
    for _, o in sent:
        assert o.seq is not None
        assert o.values[:, 0].tolist() == list(range(o.seq, o.seq + len(o.values)))
        found |= set(range(o.seq, o.seq + len(o.values)))
    return found


def check_lanes(sent: list[tuple[str, Observation]]) -> None:
    for _, o in sent:
        assert o.seq is not None
        if o.lane == "backlog":
            assert o.live_from is None
        elif o.live_from is not None:
            assert o.seq >= o.live_from


async def test_what_is_on_disk_at_the_start_is_backlog_and_live_rows_go_first(tmp_path: Path) -> None:
    put(tmp_path, 200)
    uplink = FakeUplink()
    await app(tmp_path, uplink, stream={}).run()
    check_lanes(uplink.sent)
    assert numbers(uplink.sent) == set(range(ROWS))
    late = [o.seq for _, o in uplink.sent if o.lane == "backlog"]
    assert late == list(range(0, 200, 25)), "oldest first, each once"
    live = [o for _, o in uplink.sent if o.lane == "live"]
    assert [o.seq for o in live] == sorted(o.seq or 0 for o in live)
    assert live[0].live_from == 200
    assert live[-1].live_from is None, "the backlog is receipted"


class Fed:
    """A source that a test feeds."""

    def __init__(self) -> None:
        self._chunks: asyncio.Queue[Chunk | None] = asyncio.Queue()
        self.count = 0

    def feed(self, rows: int) -> None:
        values = np.arange(self.count, self.count + rows, dtype=np.float32)[:, None]
        self._chunks.put_nowait(Chunk(values, float(self.count), 0.02))
        self.count += rows

    def end(self) -> None:
        self._chunks.put_nowait(None)

    async def chunks(self, _clock: Any, _mono: Any) -> AsyncIterator[Chunk]:
        while (chunk := await self._chunks.get()) is not None:
            yield chunk


async def test_an_outage_makes_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uplink = FakeUplink(lambda _, o: TAKEN if o.lane == "backlog" else SAFE)
    agent = app(tmp_path, uplink, stream={})
    source = Fed()

    async def take(stream: Stream) -> None:
        series = await agent.keeper.call(lambda: agent.keeper.box.begin(stream.name, "e"))
        await agent._take_series(stream, series, source)

    monkeypatch.setattr(agent, "_take", take)
    work = asyncio.create_task(agent.run())
    for _ in range(2):
        sent = len(uplink.sent)
        source.feed(100)
        await uplink.until(sent + 4)
        listener = uplink.listener
        assert listener is not None
        listener.disconnected("cut")
        source.feed(200)
        await eventually(lambda: agent.sender.routes[0].lanes.live.end == source.count)
        listener.connected(fresh=False)
        await uplink.until(lambda: numbers(uplink.sent) == set(range(source.count)))
    source.feed(100)
    await uplink.until(lambda: numbers(uplink.sent) == set(range(source.count)))
    source.end()
    assert uplink.listener is not None
    uplink.listener.receipt("wrist", Receipt("e", [(0, source.count - 1)]))
    await asyncio.wait_for(work, 20)
    check_lanes(uplink.sent)
    live = [(o.seq, o.live_from) for _, o in uplink.sent if o.lane == "live"]
    assert {seam for _, seam in live} == {None, 300, 600}
    late = {o.seq for _, o in uplink.sent if o.lane == "backlog"}
    assert late == {*range(100, 300, 25), *range(400, 600, 25)}


@pytest.mark.parametrize(
    ("lanes", "stream", "agent"),
    [
        (False, {}, {}),
        (True, {"speed": 0}, {}),
        (True, {}, {"backlog_after": 3600.0}),
    ],
    ids=["replay command", "as fast as it goes", "short break"],
)
async def test_one_lane_in_order(tmp_path: Path, lanes: bool, stream: dict[str, Any], agent: dict[str, Any]) -> None:
    uplink = FakeUplink()
    uplink.window = 1
    made = app(tmp_path, uplink, lanes=lanes, stream=stream, **agent)
    work = asyncio.create_task(made.run())
    await uplink.until(4)
    listener = uplink.listener
    assert listener is not None
    listener.disconnected("cut")
    await eventually(lambda: made.keeper.box.rows() >= 200)
    listener.connected(fresh=False)
    await asyncio.wait_for(work, 20)
    assert {(o.lane, o.live_from) for _, o in uplink.sent} == {("live", None)}
    firsts = [o.seq for _, o in uplink.sent]
    assert firsts == sorted(firsts, key=lambda seq: seq or 0)
    assert numbers(uplink.sent) == set(range(ROWS))


async def test_whole_windows_go_in_lanes_without_a_seam(tmp_path: Path) -> None:
    put(tmp_path, 1000)
    uplink = FakeUplink()
    await app(tmp_path, uplink, stream={"windows": "whole", "rows_per_message": 128}).run()
    assert numbers(uplink.sent) == set(range(ROWS))
    assert {o.live_from for _, o in uplink.sent} == {None}
    assert {o.seq for _, o in uplink.sent if o.lane == "backlog"} == {128 * i for i in range(7)}
    assert all(len(o.values) == 128 or (o.seq or 0) + len(o.values) == ROWS for _, o in uplink.sent)


async def test_over_coap_an_outage_is_noticed_by_what_comes_through_again(tmp_path: Path) -> None:
    put(tmp_path, 100)
    dead = {"now": False}
    uplink = FakeUplink(lambda _stream, _message: None if dead["now"] else Outcome("safe"))
    uplink.in_order = True
    agent = app(tmp_path, uplink, stream={})
    work = asyncio.create_task(agent.run())
    await uplink.until(8)
    dead["now"], accepted = True, agent.accepted
    await eventually(lambda: agent.accepted >= accepted + 300)
    dead["now"] = False
    await asyncio.wait_for(work, 25)
    check_lanes(uplink.sent)
    assert numbers(uplink.sent) == set(range(ROWS))
    assert any(o.live_from is not None and o.live_from > 100 for _, o in uplink.sent)
    assert uplink.most_under_way <= 2, "one in each lane"


async def test_ranges_given_up_are_told_until_receipted_across_a_restart(tmp_path: Path) -> None:
    epoch = put(tmp_path, 1000, max_bytes=6000, when_full="drop_oldest")
    deaf = FakeUplink(skipped=lambda _stream, _skip: TAKEN)
    agent = app(tmp_path, deaf, stream={"speed": 0.01}, receipt_timeout=0.05)
    work = asyncio.create_task(agent.run())
    await deaf.until(lambda: len(deaf.skips) >= 3)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    skip = deaf.skips[0][1]
    ((first, last),) = skip.ranges
    assert (first, skip.why, skip.epoch, skip.receipt) == (0, "size", epoch, True)

    heard: list[Skip] = []

    def receipt(stream: str, message: Skip) -> Outcome:
        heard.append(message)
        assert uplink.listener is not None
        asyncio.get_running_loop().call_soon(uplink.listener.receipt, stream, Receipt(epoch, message.ranges))
        return TAKEN

    uplink = FakeUplink(skipped=receipt)
    agent = app(tmp_path, uplink, stream={})
    await asyncio.wait_for(agent.run(), 20)
    assert [one.ranges for one in heard] == [[(first, last)]], "once it was receipted it is not told again"
    assert numbers(uplink.sent) | numbers(deaf.sent) == set(range(last + 1, ROWS))
    assert agent.dropped == [(first, last)]


async def test_messages_that_fail_together_do_not_hold_back_the_link_that_comes_next(tmp_path: Path) -> None:
    epoch = put(tmp_path, 1000)
    dead = True
    uplink = FakeUplink(lambda _stream, _message: None if dead else Outcome("safe"))
    keeper = Keeper(
        lambda: Outbox(tmp_path / "state" / "a.db", Limits(), tell=pytest.fail),
        clock=lambda: 5.0,
        mono=lambda: 1.0,
        commit_wait=0.0,
    )
    await keeper.open()
    sender = Sender(keeper, uplink, clock=lambda: 100.0, dice=lambda: 1.0, receipt_timeout=10.0)
    stream = Stream(name="wrist", source="replay", files=["a.npz"])
    route = sender.add(keeper.box.begin("wrist", epoch), stream, 0)
    run = asyncio.create_task(sender.run())
    sender.connected(fresh=False)
    await uplink.until(uplink.window)  # a half-open link: none of the window is acknowledged in time
    await eventually(lambda: not route.lanes.live.under_way())
    dead = False
    sender.disconnected("no PUBACK")
    sender.connected(fresh=False)
    await asyncio.wait_for(uplink.until(lambda: numbers(uplink.sent[uplink.window :]) == set(range(1000))), 10)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await keeper.close()


@pytest.mark.parametrize("spoil", ["newest commits", "content"])
async def test_a_recording_is_read_again_from_the_first_row_that_was_lost(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "state" / "a.db"
    epoch = put(tmp_path, 400)
    if spoil == "content":
        data = path.read_bytes()
        values = np.arange(200, 225, dtype=np.float32).tobytes()
        path.write_bytes(data.replace(values, b"\0" * len(values)))
    else:
        older = path.read_bytes()
        put(tmp_path, 200)
        path.write_bytes(older)
    uplink = FakeUplink()
    agent = app(tmp_path, uplink, stream={"speed": 0})
    await asyncio.wait_for(agent.run(), 20)
    assert numbers(uplink.sent) == set(range(ROWS))
    assert {message.epoch for _, message in uplink.sent} == {epoch}
    assert not uplink.skips
    assert not agent.dropped


@pytest.mark.parametrize("kind", ["refused", "wait", None])
async def test_a_skip_that_is_refused_waits_or_is_lost(tmp_path: Path, kind: Any) -> None:
    put(tmp_path, 1000, max_bytes=6000, when_full="drop_oldest")
    outcomes = iter([None if kind is None else Outcome(kind, "why", 0.01)])
    uplink = FakeUplink(skipped=lambda _stream, _skip: next(outcomes, Outcome("safe")))
    await asyncio.wait_for(app(tmp_path, uplink, stream={}).run(), 20)
    assert len(uplink.skips) == (1 if kind == "refused" else 2)


async def test_the_status_tells_what_is_kept_and_was_given_up(tmp_path: Path) -> None:
    epoch = put(tmp_path, 1000, max_bytes=6000, when_full="drop_oldest")
    uplink = FakeUplink()
    agent = app(tmp_path, uplink, stream={})
    await asyncio.wait_for(agent.run(), 20)
    (first,) = uplink.told[0]["streams"]["wrist"]
    (dropped,) = first["dropped"]
    assert dropped[::2] == [0, "size"]
    gone = dropped[1] + 1
    assert first == {"epoch": epoch, "accepted": 1000, "kept": 1000 - gone, "dropped": [dropped], "dropped_rows": gone}
    (last,) = uplink.told[-1]["streams"]["wrist"]
    assert last == {**first, "accepted": ROWS, "kept": 0}


async def test_a_full_disk_gives_up_old_rows_if_that_is_the_rule_and_goes_on(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "a.db", Limits(when_full="drop_oldest"), tell=pytest.fail)
    one = box.begin("wrist", "e").id
    for _ in range(20):
        box.apply([Append(one, np.zeros((1000, 4), np.float32), align=100)], 1.0)
    pages = box._db.execute("PRAGMA page_count").fetchone()[0]
    box._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    told = 0

    def gave_up() -> None:
        nonlocal told
        told += 1

    keeper = Keeper(lambda: box, clock=lambda: 5.0, mono=lambda: 1.0, commit_wait=0.0)
    await keeper.open()
    keeper.listen(gave_up)
    run = asyncio.create_task(keeper.run())
    for _ in range(5):
        done = await keeper.append(Append(one, np.zeros((1000, 4), np.float32), align=100))
        await asyncio.wait_for(done, 10)
    assert {d.rule for d in box.dropped()} == {"size"}
    assert told
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await keeper.close()


async def test_a_store_that_refuses_holds_the_source_back_is_told_and_recovers(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "a.db", Limits(), tell=pytest.fail)
    one = box.begin("wrist", "e").id
    keeper = Keeper(lambda: box, clock=lambda: 5.0, mono=lambda: 1.0, commit_wait=0.0)
    await keeper.open()
    run = asyncio.create_task(keeper.run())
    await keeper.call(lambda: box._db.execute("PRAGMA query_only = ON"))
    done = await keeper.append(Append(one, np.zeros((1000, 4), np.float32)))
    await eventually(lambda: bool(keeper.trouble))
    assert "read-only" in keeper.trouble
    assert not done.done()
    await keeper.call(lambda: box._db.execute("PRAGMA query_only = OFF"))
    assert await asyncio.wait_for(done, 10) == 0
    await eventually(lambda: not keeper.trouble)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await keeper.close()


async def test_a_file_found_damaged_is_left_for_the_next_start(tmp_path: Path) -> None:
    keeper = Keeper(
        lambda: Outbox(tmp_path / "a.db", Limits(), tell=pytest.fail),
        clock=lambda: 5.0,
        mono=lambda: 1.0,
        commit_wait=0.0,
    )
    await keeper.open()

    def step() -> None:
        raise Broken("a page")

    with pytest.raises(Broken):
        await keeper.call(step)
    await keeper.close()
    told: list[str] = []
    Outbox(tmp_path / "a.db", Limits(), tell=told.append).close()
    assert "found damaged while it was in use" in told[0]
