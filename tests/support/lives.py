"""The whole bridge but its sockets, on a real journal, in one process, with a slow model and a fast one."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
import pytest

from bridge import topics
from bridge.catalog import Catalog
from bridge.messages import Observation
from bridge.offload.messages import Answered, Ask, Unanswered
from bridge.pipeline.admit import Admission, ErrorGate
from bridge.pipeline.arrival import Arrival, Verdict
from bridge.pipeline.entries import Patience
from bridge.pipeline.inbox import Inbox
from bridge.pipeline.outbound import Outbound
from bridge.pipeline.pipeline import Pipeline
from bridge.pipeline.routes import Route, RouteTable
from bridge.pipeline.unheard import Unheard
from bridge.pipeline.window import Windower
from bridge.place.decide import CloudView
from bridge.replay import Replayer
from bridge.store.journal import Journal
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from bridge.wire.offload import Reply
from tests.support.engines import CHANNELS, ROWS, HeldEngine, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from bridge.catalog import Manifest
    from bridge.messages import Rows
    from bridge.mqtt.messages import Publish
    from bridge.offload.client import CloudClient
    from bridge.store.kept import Kept

LONG = 1e6  # seconds: a deadline that does not pass
SHORT = 0.02  # seconds: one that a test waits for


def manifest_of(rows: int = ROWS) -> Manifest:
    shipped = Catalog()["activity"]
    shape = msgspec.structs.replace(shipped.input, rows=rows, hop=rows, channels=("x", "y", "z"))
    return msgspec.structs.replace(shipped, input=shape)


def route(stream: str, windows: Any, *, model: str = "slow", deadline: float = LONG, **more: Any) -> Route:
    return Route(model, manifest_of(), stream, windows, "bridge", deadline, **more)


ROUTES = [
    route("rows", "rows"),
    route("whole", "whole"),
    route("brief", "whole", deadline=SHORT),
    route("patient", "whole", deadline=SHORT, late="answer"),
    route("quick", "whole", model="fast"),
]


class PatientCloud:
    """Answers when a test says so.

    Attributes:
        asked: ids of the windows it was asked about, by their numbers.
        deadlines: of the questions, by the same.
        private: channels to be masked, likewise.
        explored: numbers of windows it was passed over for.
        explored_private: their channels to mask.
        cancelled: ids of windows that nobody waits for any more.
        there: it can be asked.
        in_time: the chance that it answers in time; of the time with the grace `in_grace`.
        expected: seconds that it is expected to take.
        views: how often it was looked at.
    """

    def __init__(self) -> None:
        self.asked: dict[int, str] = {}
        self.deadlines: dict[int, float] = {}
        self.private: dict[int, tuple[int, ...]] = {}
        self.explored: list[int] = []
        self.explored_private: list[tuple[int, ...]] = []
        self.cancelled: list[str] = []
        self.there = True
        self.in_time = self.in_grace = 0.9
        self.expected = 0.0
        self.views = 0

    def view(self, _model: str, _now: float, *, planned: int, **_: float) -> CloudView:
        self.views += 1
        there = self.there and planned < 64
        return CloudView(there, "it is away", in_time=self.in_time, in_grace=self.in_grace, expected=self.expected)

    def ask_all(self, asks: list[Ask]) -> None:
        for ask in asks:
            number = int(ask.values[0, 0])
            self.asked[number] = ask.id
            self.deadlines[number] = ask.deadline
            self.private[number] = ask.private

    def explore(self, _model: str, values: Rows, _now: float, private: tuple[int, ...] = ()) -> None:
        self.explored.append(int(values[0, 0]))
        self.explored_private.append(private)

    def cancel(self, window: str) -> None:
        self.cancelled.append(window)

    def answer(self, number: int) -> Answered:
        return Answered(self.asked[number], Reply(self.asked[number], "gpu", f"cloud {number}", 0.99, engine="x"))

    def silence(self, number: int) -> Unanswered:
        return Unanswered(self.asked[number], "it was silent")


class Life:
    """One process of a bridge, with its broker and its senders.

    Attributes:
        sent: what it published.
        verdicts: what became of each arrival, by its number.
        full: the broker takes no more for now.
    """

    def __init__(
        self,
        path: Path,
        slow: HeldEngine,
        routes: list[Route],
        kept: Kept | None = None,
        cloud: PatientCloud | None = None,
        tell: Callable[[str], None] = pytest.fail,
        later: Path | None = None,
    ) -> None:
        self.slow = slow
        self.fast = HeldEngine("fast", once=0.0)
        self.fast.let_all_go()
        self.sent: list[Publish] = []
        self.verdicts: dict[int, Verdict] = {}
        self.full = False
        self.counts: Counter[str] = Counter()
        self.journal = Journal(path, tell, later=later)
        self.replaying: asyncio.Task[None] | None = None
        self._arrivals = 0
        table = RouteTable(routes)
        self.inbox = Inbox(1 << 25, lambda: None, table.owner)
        windower = Windower(Patience(gap=30.0), lambda: f"b-{self._arrivals}")
        outbound = Outbound(self, lambda _topic, _payload: None, ErrorGate(), self.counts)
        if kept is not None:
            outbound = self._keeping(kept, windower)
        self.pipeline = Pipeline(
            inbox=self.inbox,
            admission=Admission(
                table, {"slow": route("_infer", "whole")}, max_payload=1 << 20, max_rows=65_536, depth=32
            ),
            table=table,
            windower=windower,
            engines={"slow": slow, "fast": self.fast},
            journal=self.journal,
            outbound=outbound,
            cloud=cast("CloudClient | None", cloud),
            counts=self.counts,
            published=None if kept is None else kept.published,
        )
        self.running = asyncio.create_task(self.pipeline.run())

    def _keeping(self, kept: Kept, windower: Windower) -> Outbound:
        """A way out that keeps what it publishes, and what publishes it again."""
        unheard = Unheard(self.counts)
        outbound = Outbound(
            self,
            lambda _topic, _payload: None,
            ErrorGate(),
            self.counts,
            kept=kept,
            unheard=unheard,
            earlier=kept.whole,
            recall=lambda window, record: replayer.recall(window, record),
        )
        for window in kept.whole:
            windower.remember(window)
        replayer = Replayer(kept, self, unheard, outbound.waiters.recalled, self.counts, again=60.0)
        self.replaying = asyncio.create_task(replayer.run())
        return outbound

    def publish(self, messages: Iterable[Publish]) -> None:
        self.sent += messages

    def deliver(self, stream: str, first: int, count: int = ROWS, *, device: str = "d", **more: Any) -> int:
        """A message whose rows hold their window's number; returns the arrival's."""
        numbers = np.arange(first, first + count, dtype=np.float32) // ROWS
        seen = Observation(
            np.repeat(numbers[:, None], CHANNELS, axis=1),
            seq=first,
            epoch="e",
            lane=more.pop("lane", "live"),
            receipt=more.pop("receipt", False),
        )
        topic = more.pop("topic", topics.data("s", device, stream))
        number = self._arrivals = self._arrivals + 1
        settle = functools.partial(self._settle, number)
        arrival = Arrival(topic, encode_observation(seen, Format.CBOR), time.monotonic(), settle, **more)
        self.inbox.put([arrival])
        return number

    def _settle(self, number: int, verdict: Verdict) -> None:
        assert number not in self.verdicts, "settled twice"
        self.verdicts[number] = verdict

    def take_all(self) -> None:
        """The broker acknowledges everything it got."""
        for message in self.sent:
            if message.done is not None:
                message.done(0)

    @property
    def results(self) -> list[dict[str, Any]]:
        return [json.loads(one.payload) for one in self.sent if "/result/" in one.topic or "_reply" in one.topic]

    @property
    def seqs(self) -> list[int]:
        """First rows of the windows answered, in order."""
        return [result["seq"] for result in self.results]

    def has_answered(self, count: int) -> bool:
        return len(self.seqs) == count

    @property
    def errors(self) -> list[tuple[str, int | None]]:
        found = [json.loads(one.payload) for one in self.sent if one.topic.endswith("/error")]
        return [(error["reason"], error["seq"]) for error in found]

    @property
    def receipts(self) -> list[Any]:
        return [json.loads(one.payload)["safe"] for one in self.sent if "/receipt/" in one.topic]

    async def turn(self) -> None:
        """Returns when a turn that began after this call has ended, by a message of the fast model."""
        number = self.deliver("quick", self._arrivals * ROWS, device="probe")
        before = len(self.sent)
        await until(lambda: any("probe" in one.topic for one in self.sent[before:]))
        for one in self.sent[before:]:
            if "probe" in one.topic and one.done is not None:
                one.done(0)
        self.sent = [one for one in self.sent if "probe" not in one.topic]
        del self.verdicts[number]

    async def crash(self) -> None:
        """Ends at once; nothing more has an effect."""
        for task in (self.running, self.replaying):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        self.slow.let_all_go()
        self.journal.close()


class World:
    """Lives on one journal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lives: list[Life] = []

    def live(
        self, slow: HeldEngine | None = None, routes: list[Route] | None = None, cloud: PatientCloud | None = None
    ) -> Life:
        routes = ROUTES if routes is None else routes
        life = Life(self.path, HeldEngine("slow") if slow is None else slow, routes, cloud=cloud)
        self.lives.append(life)
        return life

    async def end(self) -> None:
        """Ends what still lives, and what its slow model still computes."""
        for life in self.lives:
            life.slow.let_all_go()
            if not life.running.done():
                await life.crash()
            await life.slow.ended()

    def pending(self) -> list[tuple[int, bool]]:
        """First row of each window in the journal, and whether it has an answer already."""
        journal = Journal(self.path, pytest.fail)
        saved = journal.load()
        journal.close()
        return sorted((kept.seq, kept.local is not None) for kept in saved.asked)
