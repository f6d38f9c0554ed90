"""Replays: what is published again and when, and that live Results do not wait for it."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from bridge import replay as module
from bridge.errors import Refused, StoreError
from bridge.pipeline.unheard import Unheard
from bridge.replay import MOST_WAITING, WINDOW, Replayer
from bridge.requests import Reply
from bridge.store.kept import Kept, Record
from bridge.store.kept_file import KeptFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from bridge.mqtt.messages import Publish

NOBODY = 0x10
REPLY = Reply("re/ply", b"c")


def topic_of(device: str) -> str:
    return f"edge/v1/s/{device}/result/m"


class World:
    """A replayer between a real file and a broker that gives everything to whoever listens.

    Attributes:
        listened: devices that somebody listens to; None: all.
        deaf: the broker acknowledges nothing for now.
        most: most publishes under way at once.
    """

    def __init__(self, path: Path, *, again: float = 60.0) -> None:
        self.kept = Kept(path, pytest.fail, age=3_600.0, size=1 << 28)
        self.kept.start()
        self.counts: Counter[str] = Counter()
        self.unheard = Unheard(self.counts)
        self.sent: list[tuple[str, bytes]] = []
        self.heard: list[tuple[str, bytes]] = []
        self.recalled: list[str] = []
        self.listened: set[str] | None = None
        self.deaf = self.full = False
        self.most = self._under_way = 0
        self._held: list[Publish] = []
        self.replayer = Replayer(self.kept, self, self.unheard, self.recalled.append, self.counts, again=again)
        self.running = asyncio.create_task(self.replayer.run())

    def publish(self, messages: Iterable[Publish]) -> None:
        assert not self.full
        for message in messages:
            self.sent.append((message.topic, message.payload))
            if message.done is not None:
                self._under_way += 1
                self.most = max(self.most, self._under_way)
                self._held.append(message)
        if not self.deaf:
            asyncio.get_running_loop().call_soon(self.take)

    def take(self) -> None:
        """Acknowledge what came."""
        held, self._held = self._held, []
        for message in held:
            assert message.done is not None
            self._under_way -= 1
            heard = self.listened is None or message.topic.split("/")[3] in self.listened
            if heard:
                self.heard.append((message.topic, message.payload))
            message.done(0 if heard else NOBODY)

    async def live(
        self, *names: str, device: str = "d", ago: float = 0.0, heard: bool = True
    ) -> list[tuple[str, bytes]]:
        """Results published in the usual way, so long ago; the broker's word on them."""
        items = [(topic_of(device), json.dumps({"id": name}).encode()) for name in names]
        record = Record(time.time() - ago, time.monotonic() - ago, lambda _: None, items, list(names))
        self.kept.append(record)
        await self.kept.flush()
        for topic, payload in items:
            if heard:
                self.unheard.heard(topic)
            else:
                self.unheard.note(topic, payload, record.n)
        return items

    async def close(self) -> None:
        self.running.cancel()
        await asyncio.wait([self.running])
        await self.kept.close()

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(payload) for topic, payload in self.sent if topic == REPLY.topic]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


@pytest.fixture
async def world(path: Path) -> AsyncIterator[World]:
    world = World(path)
    yield world
    await world.close()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROBE_FIRST", "PROBE_LONGEST", "SWEEP_EVERY", "ROOM"):
        monkeypatch.setattr(module, name, 0.01)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 # what is waited for happens in other tasks
            await asyncio.sleep(0.002)


async def test_after_a_lost_session_the_latest_come_again_as_they_were(world: World) -> None:
    await world.live("old", ago=500.0)
    items = await world.live("a", "b", ago=30.0) + await world.live("c")
    world.replayer.session_lost(time.monotonic())
    await until(lambda: len(world.sent) == 3)
    assert world.sent == items
    assert world.counts["results_replayed"] == 3


async def test_after_a_restart_the_last_before_the_end_of_the_earlier_process_come_again(path: Path) -> None:
    world = World(path)
    await world.live("old", ago=1_000.0)
    items = await world.live("a", ago=500.0)
    await world.close()
    world = World(path)
    world.replayer.session_lost(None)
    await until(lambda: world.sent)
    await world.close()
    assert world.sent == items


async def test_an_operator_is_told_how_many_it_was(world: World) -> None:
    await world.live("a", ago=100.0)
    await world.live("b", "c")
    await world.live("d", device="e")
    world.replayer.asked({"since": time.time() - 50.0}, REPLY)
    world.replayer.asked({"since": 0, "device": "e"}, REPLY)
    world.replayer.asked({"since": time.time() + 50.0}, None)
    await until(lambda: len(world.told()) == 2)
    assert world.told() == [{"published": 3}, {"published": 1}]
    assert world.counts["replays_asked"] == 3


@pytest.mark.parametrize(
    ("request_", "reason", "names"),
    [
        ({}, "missing_key", "since"),
        ({"since": "yesterday"}, "malformed", "since"),
        ({"since": True}, "malformed", "since"),
        ({"since": None}, "malformed", "since"),
        ({"since": float("nan")}, "not_finite", "since"),
        ({"since": 1, "device": 3}, "malformed", "device"),
        ({"since": 1, "device": "a/b"}, "malformed", "device"),
        ({"since": 1, "devcie": "a"}, "malformed", "devcie"),
    ],
)
async def test_a_request_that_makes_no_sense(world: World, request_: dict[str, Any], reason: str, names: str) -> None:
    with pytest.raises(Refused, match=names) as why:
        world.replayer.asked(request_, None)
    assert why.value.reason == reason


async def test_so_many_requests_wait_and_no_more(world: World) -> None:
    await world.live("a")
    world.deaf = True
    world.replayer.asked({"since": 0}, REPLY)
    await until(lambda: world.sent)  # it runs
    for _ in range(MOST_WAITING):
        world.replayer.asked({"since": 0}, REPLY)
    with pytest.raises(Refused, match="wait already") as why:
        world.replayer.asked({"since": 0}, REPLY)
    assert why.value.reason == "overload"
    assert len(world.sent) == 1  # one at a time
    world.deaf = False
    world.take()
    await until(lambda: len(world.told()) == MOST_WAITING + 1)


async def test_so_many_are_under_way_and_no_more(world: World) -> None:
    for n in range(10):
        await world.live(*(f"{n}.{i}" for i in range(100)))
    world.deaf = True
    world.replayer.asked({"since": 0}, REPLY)
    await until(lambda: len(world.sent) == WINDOW)
    world.deaf = False
    world.take()
    await until(world.told)
    assert world.most == WINDOW
    assert world.told() == [{"published": 1_000}]


async def test_while_the_broker_takes_no_more_nothing_is_added(world: World) -> None:
    await world.live("a")
    world.full = True
    world.replayer.session_lost(None)
    await asyncio.sleep(0.05)
    assert world.sent == []
    world.full = False
    await until(lambda: world.sent)


async def test_once_somebody_listens_everything_from_the_watermark_on_comes(world: World) -> None:
    world.listened = set()
    await world.live("before")
    items = await world.live("a", heard=False) + await world.live("b", heard=False)
    await until(lambda: len(world.sent) > 3)
    assert set(world.sent) == {items[0]}  # tried, and no more
    world.listened = None
    await until(lambda: set(items) <= set(world.heard))
    assert set(world.heard) == set(items)
    await until(lambda: world.unheard.low is None)


async def test_a_live_result_that_is_heard_is_enough(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_LONGEST", 1e6)
    world.listened = set()
    items = await world.live("a", heard=False)
    await until(lambda: world.sent)
    world.listened = None
    await world.live("b")
    await until(lambda: items[0] in world.heard)


async def test_where_one_topic_is_heard_all_are_tried(world: World) -> None:
    world.listened = set()
    items = [(await world.live("a", device=f"d{n}", heard=False))[0] for n in range(20)]
    await until(lambda: len(world.sent) > 2)
    world.listened = None
    await until(lambda: set(items) <= set(world.heard))


async def test_who_listens_to_one_device_does_not_make_the_others_come_over_and_over(world: World) -> None:
    world.listened = {"mine"}
    for n in range(50):
        await world.live(f"o{n}", device="other", heard=False)
    for n in range(50):
        await world.live(f"m{n}", device="mine")
    world.replayer.session_lost(None)
    await until(lambda: len(world.heard) == 50)
    await asyncio.sleep(0.1)
    others = Counter(payload for topic, payload in world.sent if topic == topic_of("other"))
    assert len(others) == 1
    assert world.unheard.marks.keys() == {topic_of("other")}


async def test_what_nobody_heard_is_known_after_a_restart(path: Path) -> None:
    world = World(path)
    world.listened = set()
    await world.live("before", ago=100.0)
    items = await world.live("a", heard=False, ago=50.0) + await world.live("b", heard=False)
    await until(lambda: world.replayer._noted == 2)
    await world.close()
    world = World(path)
    await until(lambda: len(world.heard) == 2)
    assert world.heard == items
    await until(lambda: world.replayer._noted is None)
    await world.close()
    assert Kept(path, pytest.fail, age=3_600.0, size=1 << 28).unheard is None


async def test_a_whole_window_is_recalled_with_the_bytes_it_had(world: World) -> None:
    items = await world.live("a", "b", "c")
    world.replayer.recall("b", 1)
    await until(lambda: world.recalled)
    assert world.sent == [items[1]]
    assert world.recalled == ["b"]


async def test_a_window_kept_no_more_is_told_so(world: World) -> None:
    await world.live("a")
    world.replayer.recall("x", 1)
    world.replayer.recall("y", 99)
    await until(lambda: len(world.recalled) == 2)
    assert world.sent == []


async def test_a_recall_does_not_wait_for_the_end_of_a_replay(world: World) -> None:
    for n in range(3):
        payload = json.dumps({"id": str(n), "long": "x" * 200_000}).encode()
        world.kept.append(Record(time.time(), time.monotonic(), lambda _: None, [(topic_of("d"), payload)]))
    await world.live("last")
    world.full = True  # the replay stands before its first Result
    world.replayer.asked({"since": 0}, REPLY)
    await until(lambda: world.counts["replays_asked"])
    await world.kept.flush()
    world.replayer.recall("last", 4)
    world.full = False
    await until(world.told)
    names = [json.loads(payload).get("id") for _, payload in world.sent]
    assert names.index("last") < names.index("2")


async def test_what_cannot_be_read_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(KeptFile, "read", refuse)
        world.replayer.asked({"since": 0}, REPLY)
        await until(world.told)
        world.replayer.recall("a", 1)
        await until(lambda: caplog.text.count("the disk is gone") >= 2)
    assert world.told()[0]["reason"] == "overload"
    await world.live("a")
    world.replayer.asked({"since": 0}, REPLY)
    await until(lambda: len(world.told()) == 2)
    assert world.told()[1] == {"published": 1}
    await until(lambda: "a" in world.recalled)
