"""A stream that nobody takes waits alone; what the bridge will not take so large goes as shorter messages."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from bridge.messages import Error
from bridge.store.outbox import Append, Limits, Outbox
from bridge.wire.formats import Format
from edge_agent.config import Stream, parse_url
from edge_agent.fake import FakeUplink
from edge_agent.keeper import Keeper
from edge_agent.login import Login
from edge_agent.mqtt import MqttUplink
from edge_agent.sender import Sender
from edge_agent.uplink import SAFE, TAKEN, Outcome
from edge_agent.way import LONGEST_WAIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from bridge.messages import Observation
    from edge_agent.mqtt_connection import Connection
    from edge_agent.route import Route

ROWS = 10
NO_ROUTE = "no_route: stream 'b' has no route; there are: a"


class World:
    """A sender of the streams a and b, whose clock a test sets."""

    def __init__(self, tmp_path: Path, answer: Callable[[str, Observation], Outcome | None]) -> None:
        self.now = 100.0
        self.uplink = FakeUplink(answer)
        self.keeper = Keeper(
            lambda: Outbox(tmp_path / "a.db", Limits(), tell=pytest.fail),
            clock=lambda: 5.0,
            mono=lambda: 1.0,
            commit_wait=0.0,
        )
        self.sender = Sender(
            self.keeper,
            self.uplink,
            clock=lambda: self.now,
            dice=lambda: 1.0,
            receipt_timeout=10.0,
            backlog_after=2.0,
        )
        self.routes: dict[str, Route] = {}

    def add(self, name: str, **settings: Any) -> None:
        stream = Stream(name=name, source="stdin", rate=50, rows_per_message=ROWS, **settings)
        self.routes[name] = self.sender.add(self.keeper.box.begin(name, "e"), stream, 0, lanes=True)

    async def put(self, name: str, count: int = ROWS) -> None:
        route = self.routes[name]
        done = await self.keeper.append(Append(route.series.id, np.zeros((count, 2), np.float32), align=ROWS))
        self.sender.grew(route, await done + count)

    async def after(self, seconds: float) -> None:
        self.now += seconds
        self.sender._wake.set()
        for _ in range(20):
            await asyncio.sleep(0.001)

    async def empty(self) -> None:
        """Returns once no row is kept any more."""
        async with asyncio.timeout(10):
            while self.keeper.box.rows():
                await self.after(0.1)
                await self.keeper.flush()

    def sent(self, name: str) -> list[Observation]:
        return [one for stream, one in self.uplink.sent if stream == name]


@contextlib.asynccontextmanager
async def running(
    tmp_path: Path, answer: Callable[[str, Observation], Outcome | None], *names: str, **settings: Any
) -> AsyncIterator[World]:
    world = World(tmp_path, answer)
    await world.keeper.open()
    for name in names:
        world.add(name, **settings)
    works = [asyncio.create_task(one) for one in (world.keeper.run(), world.sender.run())]
    world.sender.connected(fresh=False)
    yield world
    for work in works:
        work.cancel()
    await asyncio.gather(*works, return_exceptions=True)
    await world.keeper.close()


def barred_from(told: list[str]) -> list[str]:
    return [one for one in told if "is not taken" in one]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]


@pytest.mark.parametrize("asked", [0.0, 5.0])
async def test_a_stream_that_nobody_takes_holds_back_no_other_and_is_asked_ever_more_seldom(
    tmp_path: Path, asked: float
) -> None:
    refuses = True

    def answer(stream: str, _message: Observation) -> Outcome:
        return Outcome("barred", "reason 0x87", asked) if stream == "b" and refuses else SAFE

    async with running(tmp_path, answer, "b", "a") as world:
        await world.put("b", 3 * ROWS)
        await world.after(0.0)
        first = len(world.sent("b"))
        assert 0 < first <= 3
        for number in range(1, 6):
            await world.put("a")
            await world.after(0.0)
            assert len(world.sent("a")) == number, "a's rows leave at once, though b's wait"
        assert len(world.sent("b")) == first
        times = []
        while world.now < 232.0:
            count = len(world.sent("b"))
            await world.after(1.0)
            if len(world.sent("b")) > count:
                times.append(world.now)
        apart = [later - earlier for earlier, later in pairwise(times)]
        assert apart == sorted(apart)
        assert apart[0] >= max(asked, 1.0)
        assert apart[-1] == pytest.approx(30.0, abs=1.0)
        refuses = False
        await world.after(LONGEST_WAIT)
        await world.empty()
        assert not world.routes["b"].refused


async def test_what_waited_while_its_stream_was_not_taken_is_backlog(tmp_path: Path) -> None:
    refuses = True

    def answer(_stream: str, _message: Observation) -> Outcome:
        return Outcome("barred", NO_ROUTE) if refuses else SAFE

    async with running(tmp_path, answer, "b") as world:
        await world.put("b", 60 * ROWS)
        for _ in range(5):
            await world.after(3.0)
        refuses = False
        before = len(world.sent("b"))
        await world.after(LONGEST_WAIT)
        await world.empty()
        safe = world.sent("b")[before:]
        assert [one.lane for one in safe].count("backlog") >= 60 - world.uplink.window
        assert len({one.seq for one in safe}) == 60


async def test_that_a_stream_is_not_taken_is_told_once_until_it_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str | None] = [NO_ROUTE]

    def answer(_stream: str, _message: Observation) -> Outcome:
        return SAFE if said[0] is None else Outcome("barred", said[0])

    async with running(tmp_path, answer, "b") as world:
        for said[0], many in (NO_ROUTE, 1), ("reason 0x87", 2), (None, 2), (NO_ROUTE, 3):
            for _ in range(3):
                await world.put("b")
                await world.after(LONGEST_WAIT)
            assert len(barred_from(warnings(caplog))) == many, said
    assert barred_from(warnings(caplog))[0].startswith(f"stream b is not taken: {NO_ROUTE}; rows are kept")


@pytest.mark.parametrize("seq", [None, 0])
async def test_no_route_by_an_error_keeps_the_rows_and_is_a_warning_now_and_then(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, seq: int | None
) -> None:
    async with running(tmp_path, lambda _stream, _message: TAKEN, "b") as world:
        await world.put("b")
        await world.after(0.0)

        def hear(reason: Any, stream: str, times: int = 100) -> int:
            for _ in range(times):
                world.sender.refusal(Error(reason, "there is none", stream, seq))
            return len(warnings(caplog))

        assert hear("no_route", "b") == 1
        if seq is None:
            assert hear("too_large", "b") == 2
        told = hear("no_route", "others")
        for number in range(100):
            assert hear("no_route", f"other-{number}", 1) == told, "others' names are without number"
        world.now += 600.0
        assert hear("no_route", "b") == told + 1
        await world.keeper.flush()
        assert world.keeper.box.rows() == ROWS
        assert not world.routes["b"].refused


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(0x00, "taken"), (0x10, "taken"), (0x97, "wait")] + [(one, "barred") for one in (0x80, 0x83, 0x87, 0x90, 0x99)],
)
async def test_only_a_quota_holds_back_more_than_the_topic_that_a_broker_refuses(code: int, outcome: str) -> None:
    class Answering:
        async def publish(self, _topic: str, _payload: bytes, **_how: Any) -> int:
            return code

    made = MqttUplink(Login(url=parse_url("mqtt://127.0.0.1:1"), client_id="x"), site="s", device="d")
    made._connection, made._up = cast("Connection", Answering()), True
    assert (await made.send("b", b"x", Format.CBOR)).kind == outcome


@pytest.mark.parametrize("way", ["answer", "error"])
async def test_what_is_too_large_goes_as_shorter_messages(tmp_path: Path, way: str) -> None:
    def answer(_stream: str, message: Observation) -> Outcome:
        if len(message.values) <= 3:
            return SAFE
        if way == "answer":
            return Outcome("refused", "too_large: at most 100 bytes a message")
        error = Error("too_large", f"{len(message.values)} rows in a message; at most 3", "b", message.seq)
        asyncio.get_running_loop().call_soon(world.sender.refusal, error)
        return TAKEN

    async with running(tmp_path, answer, "b") as world:
        await world.put("b", 3 * ROWS)
        await world.empty()
        assert not world.routes["b"].refused
        assert not world.keeper.box.dropped()
        sent = len(world.uplink.sent)
        await world.put("b")
        await world.after(0.0)
        assert max(len(one.values) for _, one in world.uplink.sent[sent:]) <= 3, "it is not tried again"


@pytest.mark.parametrize(("rows", "settings"), [(1, {}), (ROWS, {"windows": "whole"})], ids=["a row", "a window"])
async def test_what_cannot_be_shortened_and_is_too_large_is_refused(
    tmp_path: Path, rows: int, settings: dict[str, Any]
) -> None:
    async with running(tmp_path, lambda *_: Outcome("refused", "too_large: no"), "b", **settings) as world:
        await world.put("b", rows)
        await world.after(60.0)
        await world.empty()
        assert world.routes["b"].refused == [(0, rows - 1)]
