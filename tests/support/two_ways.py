"""An adaptive uplink over two ways that a test controls, with a clock that it sets: no network, no waiting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.link import Estimator, Limits
from bridge.link.events import Acked, Disconnected, GivenUp, Sent
from bridge.messages import Error, Observation, Receipt, Skip
from bridge.wire.data import encode_skip
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from edge_agent.adaptive import AdaptiveUplink
from edge_agent.choice import Choice
from edge_agent.config import Stream
from edge_agent.fake import FakeUplink
from edge_agent.link_settings import Link
from edge_agent.uplink import SAFE, Outcome

if TYPE_CHECKING:
    from bridge.link import Profile
    from bridge.link.events import Protocol
    from edge_agent.uplink import Listener
    from edge_agent.ways import Message

RTT = 0.05


class Heard:
    """A listener."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def connected(self, *, fresh: bool) -> None:
        self.said.append(("connected", fresh))

    def disconnected(self, why: str) -> None:
        self.said.append(("disconnected", why))

    def receipt(self, stream: str, receipt: Receipt) -> None:
        self.said.append((stream, receipt))

    def refusal(self, error: Error) -> None:
        self.said.append(error)


class FakeWay:
    """A way that carries while it is `through`; what it carries waits for `answer` while that is unset."""

    def __init__(self, name: Protocol, world: World) -> None:
        self.name = name
        self.uplink = FakeUplink()
        self.world = world
        self.through = True
        self.answers = True
        self.carried: list[tuple[int, str]] = []
        self.asked = self.dropped = self.hurried = 0
        self.fails: Exception | None = None
        self.used = False
        self._count = 0
        self._unanswered: list[str] = []

    async def run(self, listener: Listener) -> None:
        listener.connected(fresh=False)
        if self.fails is not None:
            raise self.fails
        await asyncio.Event().wait()

    async def carry(self, message: Message, profile: Profile | None) -> Outcome:
        self.carried.append((message.rows[0][0], "as configured" if profile is None else profile.name))
        if self.fails is not None:
            raise self.fails
        self._count += 1
        name = f"{self.name}-{self._count}"
        self.world.estimator.on(Sent(name, self.world.now, self.name, 200))
        try:
            while not (self.through and self.answers):
                await self.world.tick.wait()
        except asyncio.CancelledError:
            self.world.estimator.on(GivenUp(name, self.world.now))
            raise
        self.world.estimator.on(Acked(name, self.world.now + RTT))
        return SAFE

    async def ask(self) -> None:
        self.asked += 1
        name = f"{self.name}-ask-{self.asked}"
        self.world.estimator.on(Sent(name, self.world.now, self.name, 40, probe=True))
        if not self.through:
            self._unanswered.append(name)
            return
        self.world.estimator.on(Acked(name, self.world.now + RTT))
        while self._unanswered:
            self.world.estimator.on(GivenUp(self._unanswered.pop(), self.world.now + RTT))

    def look(self, now: float, *, used: bool) -> None:
        assert now == self.world.now
        self.used = used

    def drop(self, why: str) -> None:
        assert "while the other way is heard" in why
        self.dropped += 1

    def hurry(self) -> None:
        self.hurried += 1

    async def close(self) -> None:
        await self.uplink.close()


class World:
    """Both ways, a clock, and the uplink over them."""

    def __init__(self, *names: Protocol, **link: Any) -> None:
        self.now = 100.0
        self.tick = asyncio.Event()
        self.estimator = Estimator()
        if "mqtt" not in names:
            self.estimator.on(Disconnected("mqtt", self.now))
        self.ways = {name: FakeWay(name, self) for name in names}
        stream = Stream(name="wrist", source="stdin", rate=50.0)
        chosen = Choice(
            stream, Link(**{"freshness": 0.3, **link}), Limits(), ways=names, name_bytes=30
        )  # fmt: skip
        self.heard = Heard()
        self.uplink = AdaptiveUplink(
            list(self.ways.values()), {"wrist": chosen}, self.estimator, clock=lambda: self.now, wall=lambda: 1.7e9
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self.uplink.run(self.heard))
        await settle()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.uplink.close()

    def send(self, first: int = 0, epoch: str = "e") -> asyncio.Task[Outcome]:
        seen = Observation(np.ones((4, 3), np.float32), seq=first, epoch=epoch, receipt=True)
        payload = encode_observation(seen, Format.CBOR)
        return asyncio.create_task(self.uplink.send("wrist", payload, Format.CBOR))

    def skip(self) -> asyncio.Task[Outcome]:
        payload = encode_skip(Skip([(0, 3)], "age", "s", receipt=True), Format.CBOR)
        return asyncio.create_task(self.uplink.send("wrist", payload, Format.CBOR))

    async def after(self, seconds: float, step: float = 0.1) -> None:
        """Lets time pass, looking at the link as the timer would."""
        for _ in range(round(seconds / step)):
            self.now += step
            self.tick.set()
            self.tick.clear()
            self.uplink.look()
            await settle()

    @property
    def profile(self) -> str:
        return str(self.uplink._choice_facts()["profile"])


async def settle() -> None:
    for _ in range(12):
        await asyncio.sleep(0)
