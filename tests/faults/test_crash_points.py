"""The pipeline dies between any two steps: before and after each commit, publish, PUBACK and acknowledgement.

The whole bridge but its sockets, on a real journal, in one process: `kill -9` hits the moments between two steps only
by luck, this hits them by the dozen. A life that is dead has no more effect; the broker of this world sends again what
was not acknowledged, in order and at most 20 ahead, and the cloud never says the same twice.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from bridge import topics
from bridge.assembly import route_table
from bridge.catalog import Catalog, default_directory
from bridge.config import BridgeSection, Config, RouteSection
from bridge.messages import Observation, Skip
from bridge.offload.messages import Answered, Ask, Unanswered
from bridge.pipeline.admit import Admission, ErrorGate
from bridge.pipeline.arrival import Arrival
from bridge.pipeline.entries import Patience
from bridge.pipeline.inbox import Inbox
from bridge.pipeline.lanes import Lanes
from bridge.pipeline.outbound import Outbound
from bridge.pipeline.pipeline import Pipeline
from bridge.pipeline.window import Windower
from bridge.place.decide import CloudView
from bridge.runtime.fake import FakeEngine
from bridge.store.journal import Journal, Record
from bridge.wire.data import encode_skip
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from bridge.wire.offload import Reply
from tests.support.fleet import HOP, MODEL, SITE, STREAM, WINDOW, dice, seeds

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from random import Random

    from bridge.mqtt.messages import Publish
    from bridge.offload.client import CloudClient
    from bridge.store.records import Changes

AHEAD = 20
VALUES = np.random.default_rng(1).normal(size=(1_200, 6)).astype(np.float32)


class DeadError(BaseException):
    """This life is over; nothing in the product may catch it."""


class World:
    """What outlives the bridge: messages at the broker, the journal, what an operator saw."""

    def __init__(
        self,
        path: Path,
        random: Random,
        windows: str,
        messages: Iterable[Observation | Skip],
        seconds: float,
        *,
        provisional: bool = False,
    ) -> None:
        self.random = random
        self.path = path
        self.seconds = seconds
        self.config = Config(
            BridgeSection(id="gw"),
            routes=(
                RouteSection(
                    stream=STREAM, model=MODEL, windows=cast("Any", windows), deadline=1e6, provisional=provisional
                ),
            ),
        )
        self.manifest = Catalog(default_directory())[MODEL]
        self.topic = topics.data(SITE, "w0", STREAM)
        self.waiting = deque(
            encode_skip(one, Format.CBOR) if isinstance(one, Skip) else encode_observation(one, Format.CBOR)
            for one in messages
        )
        self.labels: dict[str, set[str]] = defaultdict(set)  # of final Results, with their revisions
        self.provisional: dict[str, set[str]] = defaultdict(set)
        self.windows: dict[str, int] = {}
        self.lanes: dict[str, list[int]] = defaultdict(list)  # windows as their first Results came
        self.errors: list[bytes] = []
        self.answers = 0


class Life:
    """One process, which is its own journal towards the pipeline.

    Attributes:
        recovered: as of a journal: it was not lost.
    """

    recovered = False

    def __init__(self, world: World, die_at: int) -> None:
        self.world = world
        self.left = die_at
        self.dead = asyncio.Event()
        self.full = False
        self.committing = False
        self.ahead_most = world.random.choice((1, 4, AHEAD))
        self.ahead: list[list[Any]] = []  # payload, settled
        table = route_table(world.config, {MODEL: world.manifest})
        self.inbox = Inbox(1 << 25, lambda: None, table.owner)
        self.questions: dict[str, asyncio.TimerHandle] = {}
        self.journal = Journal(world.path, pytest.fail)
        counts: Counter[str] = Counter()
        patience = Patience(gap=30.0)
        engine = FakeEngine(
            world.manifest.output.labels,
            model=MODEL,
            below=world.manifest.for_tier("bridge").below,
            seconds=world.seconds,
            max_batch=2,
            lanes=2,
        )
        self.pipeline = Pipeline(
            inbox=self.inbox,
            admission=Admission(table, {}, max_payload=1 << 20, max_rows=65_536, depth=32),
            table=table,
            windower=Windower(patience, lambda: "b-1"),
            engines={MODEL: engine},
            journal=cast("Journal", self),
            outbound=Outbound(self, lambda _topic, _payload: None, ErrorGate(), counts),
            cloud=cast("CloudClient", self),
            counts=counts,
        )

    def step(self) -> None:
        """One more thing has an effect; or the life ends before it has."""
        if not self.dead.is_set():
            self.left -= 1
            if self.left <= 0:
                self.dead.set()
        if self.dead.is_set():
            raise DeadError

    # ---- as the broker

    def deliver(self) -> None:
        """Send what is waiting, at most so much ahead."""
        fresh = list(self.world.waiting)[len(self.ahead) : self.ahead_most]
        for payload in fresh:
            one = [payload, False]
            self.ahead.append(one)
            arrived = asyncio.get_running_loop().time()
            self.inbox.put([Arrival(self.world.topic, payload, arrived, functools.partial(self._settle, one))])

    def _settle(self, one: list[Any], _verdict: object) -> None:
        one[1] = True
        asyncio.get_running_loop().call_soon(self._acknowledge)

    def _acknowledge(self) -> None:
        try:
            while self.ahead and self.ahead[0][1]:
                self.step()
                self.ahead.pop(0)
                self.world.waiting.popleft()
            self.deliver()
        except DeadError:
            pass

    def publish(self, messages: list[Publish]) -> None:
        for message in messages:
            self.step()
            if topics.parse_result(message.topic) is None:
                self.world.errors.append(message.payload)
            else:
                result = _result(message.payload)
                said = self.world.provisional if result["provisional"] else self.world.labels
                said[result["id"]].add(f"{result['label']} {result['reason']} {result['rev']}")
                if result["id"] not in self.world.windows:
                    self.world.lanes[result["lane"]].append(result["seq"])
                self.world.windows[result["id"]] = result["seq"]
            asyncio.get_running_loop().call_soon(self._puback, message)

    def _puback(self, message: Publish) -> None:
        try:
            self.step()
            if message.done is not None:
                message.done(0)
        except DeadError:
            pass

    # ---- as the journal

    def load(self) -> Any:
        return self.journal.load()

    def prepare(self, changes: Changes) -> Record | None:
        record = self.journal.prepare(changes)
        self.committing = record is not None
        return record

    def write(self, record: Record) -> None:
        self.step()
        self.journal.write(record)
        self.step()

    def done(self, record: Record) -> None:
        self.journal.done(record)
        self.committing = False

    # ---- as the cloud

    def view(self, _model: str, _now: float, *, planned: int, **_: float) -> CloudView:
        there = planned < 64 and self.world.random.random() < 0.7
        why = "" if there else f"it rained {self.world.random.random()}"
        return CloudView(there, why, in_time=self.world.random.choice((0.2, 0.9)), in_grace=1.0)

    def ask_all(self, asks: list[Ask]) -> None:
        for ask in asks:
            self.step()
            delay = self.world.random.choice((0.0, 0.001, 0.004))
            asyncio.get_running_loop().call_later(delay, self._answer, ask.id)

    def cancel(self, _window: str) -> None:
        pytest.fail("so many windows do not wait here")

    def _answer(self, window: str) -> None:
        if self.dead.is_set():
            return
        self.world.answers += 1
        if self.world.random.random() < 0.2:
            self.inbox.tell(Unanswered(window, f"silence {self.world.answers}"))
            return
        reply = Reply(window, "gpu", f"label {self.world.answers}", 0.9, engine="x")
        self.inbox.tell(Answered(window, reply))

    # ---- living

    async def live(self) -> bool:
        """Until it dies, or everything is done.

        Returns:
            Whether everything is done.
        """
        loop = asyncio.get_running_loop()
        running = asyncio.create_task(self._run())
        self.deliver()
        quiet_since = loop.time()
        async with asyncio.timeout(10):
            while not self.dead.is_set():
                done = self.pipeline.taken_up.is_set() and not self._at_work()
                if done and loop.time() > quiet_since + 0.05:
                    break
                if not done:
                    quiet_since = loop.time()
                await asyncio.sleep(0.001)
        finished = not self.dead.is_set()
        self.dead.set()
        running.cancel()
        await asyncio.wait([running])
        if not running.cancelled() and (why := running.exception()) is not None:
            raise why
        self.journal.close()
        return finished

    def _at_work(self) -> bool:
        """Whether something is under way, also while the disk is slow."""
        return bool(self.world.waiting or len(self.inbox) or self.pipeline.open or self.committing)

    async def _run(self) -> None:
        try:
            await self.pipeline.run()
        except DeadError:
            self.dead.set()


def _result(payload: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(payload)
    return found


def packed(random: Random) -> list[tuple[int, int]]:
    """Rows in packings of all sizes; some overlap, some overtake each other."""
    first, messages = 0, []
    while first < len(VALUES):
        end = min(len(VALUES), first + random.choice((7, 25, 64, 128, 300)))
        messages.append((max(0, first - random.choice((0, 0, 20))), end))
        first = end
    for i in range(0, len(messages) - 1, 3):
        messages[i], messages[i + 1] = messages[i + 1], messages[i]
    return messages


def rows(low: int, high: int, **more: Any) -> Observation:
    return Observation(VALUES[low:high], seq=low, epoch="e1", **more)


def outages(random: Random) -> tuple[list[Observation | Skip], list[int]]:
    """An agent whose connection comes and goes: live rows, older ones after them, some given up.

    Returns:
        What it sends; the first rows of the windows that can be.
    """
    said: list[Observation | Skip] = []
    backlog: list[tuple[int, int]] = []
    gone: set[int] = set()
    first, live_from, online = 0, 0, True
    while first < len(VALUES) or backlog:
        if first < len(VALUES):
            end = min(len(VALUES), first + random.choice((7, 25, 64, 128)))
            if online:
                said.append(rows(first, end, live_from=live_from if backlog else None))
            else:
                backlog.append((first, end))
                live_from = end
            first, online = end, random.random() < (0.8 if online else 0.4)
        if backlog and random.random() < 0.4:
            low, high = backlog.pop(0)
            if random.random() < 0.2:
                said.append(Skip([(low, high - 1)], "age", "e1"))
                gone.update(range(low, high))
            else:
                said.append(rows(low, high, lane="backlog"))
    starts = range(0, len(VALUES) - WINDOW + 1, HOP)
    return said, [start for start in starts if gone.isdisjoint(range(start, start + WINDOW))]


@pytest.mark.parametrize("seconds", [0.0, 0.004, 0.01], ids=["in-turns", "in-both", "in-lanes"])
@pytest.mark.parametrize("windows", ["rows", "whole"])
@pytest.mark.parametrize("seed", seeds(6))
async def test_dies_between_any_two_steps(tmp_path: Path, seed: int, windows: str, seconds: float) -> None:
    """Seconds that a window is said to take: all run in the turns, or single ones, or none."""
    random = dice(seed)
    starts = list(range(0, len(VALUES) - WINDOW + 1, HOP))
    messages = packed(random) if windows == "rows" else [(first, first + WINDOW) for first in starts]
    world = World(tmp_path / "journal.db", random, windows, [rows(*one) for one in messages], seconds)
    await survive(world, starts, f"seed {seed}")


@pytest.mark.parametrize("seconds", [0.0, 0.004], ids=["in-turns", "in-both"])
@pytest.mark.parametrize("seed", seeds(6))
async def test_dies_between_any_two_steps_of_a_backlog(tmp_path: Path, seed: int, seconds: float) -> None:
    """Each window whose rows were not given up is answered once, though live rows overtook the older ones."""
    random = dice(seed)
    messages, starts = outages(random)
    await survive(World(tmp_path / "journal.db", random, "rows", messages, seconds), starts, f"seed {seed}")


@pytest.mark.parametrize("seconds", [0.0, 0.004, 0.01], ids=["in-turns", "in-both", "in-lanes"])
@pytest.mark.parametrize("windows", ["rows", "whole"])
@pytest.mark.parametrize("seed", seeds(6))
async def test_dies_between_any_two_steps_of_provisional_results(
    tmp_path: Path, seed: int, windows: str, seconds: float
) -> None:
    """Each provisional Result says one thing, whichever life publishes it, and one final one that says so follows."""
    random = dice(seed)
    starts = list(range(0, len(VALUES) - WINDOW + 1, HOP))
    messages = packed(random) if windows == "rows" else [(first, first + WINDOW) for first in starts]
    world = World(tmp_path / "journal.db", random, windows, [rows(*one) for one in messages], seconds, provisional=True)
    await survive(world, starts, f"seed {seed}")
    if not world.provisional:
        pytest.skip("the dice had no window answered in two steps")
    assert all(len(said) == 1 and said.pop().endswith(" 0") for said in world.provisional.values())
    for window, (said,) in world.labels.items():
        assert said.endswith(" 1") or window not in world.provisional, said


@pytest.mark.parametrize("provisional", [False, True])
@pytest.mark.parametrize("windows", ["rows", "whole"])
@pytest.mark.parametrize("seed", seeds(6))
async def test_dies_between_any_two_steps_of_a_busy_bridge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, windows: str, *, provisional: bool
) -> None:
    """Now and then its lanes seem full, so that the cloud is asked instead of them."""
    random = dice(seed)
    monkeypatch.setattr(Lanes, "wait", lambda _lanes, _ahead: random.choice((0.0, 2e6)))
    starts = list(range(0, len(VALUES) - WINDOW + 1, HOP))
    messages = packed(random) if windows == "rows" else [(first, first + WINDOW) for first in starts]
    said = [rows(*one) for one in messages]
    world = World(tmp_path / "journal.db", random, windows, said, 0.01, provisional=provisional)
    await survive(world, starts, f"seed {seed}")


async def survive(world: World, starts: list[int], seed: str) -> None:
    """Live and die until everything is done: each window has one answer, in order, and nothing was refused."""
    random = world.random
    lives = 0
    while True:
        lives += 1
        # Each life is a little longer than it needs to get somewhere; from the 200th on it may live.
        if await Life(world, random.randint(1, random.choice((3, 12, 60))) if lives < 200 else 1 << 30).live():
            break
    assert sorted(world.windows.values()) == starts, f"{seed}, {lives} lives"
    assert world.windows.keys() == world.labels.keys(), f"{seed}, {lives} lives"
    for lane, seqs in world.lanes.items():
        assert seqs == sorted(seqs), f"{seed}, {lives} lives: {lane} is out of order"
    two = {window: said for window, said in world.labels.items() if len(said) > 1}
    assert not two, f"{seed}, {lives} lives: {list(two.values())[:3]}"
    assert world.errors == []
    print(f"{seed}: {lives} lives")  # noqa: T201 # the campaign's record
