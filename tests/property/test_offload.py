"""Whatever agents, broker and pipeline do: each question ends once, by its deadline, and nothing is left behind."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from bridge.offload.agents import Agents
from bridge.offload.cache import Cache
from bridge.offload.desk import Desk
from bridge.offload.hedging import Budget
from bridge.offload.judge import Judge
from bridge.offload.questions import Open
from bridge.wire.offload import Reply

if TYPE_CHECKING:
    from bridge.offload.messages import Answered, Unanswered
    from bridge.offload.outgoing import Outgoing

MEMBERS = ("c", "d", "nobody told")
ROWS = np.zeros((4, 2), np.float32)
PATIENCE = 0.05  # seconds
SLACK = 0.5  # seconds: another process may have the core
REFUSALS = ("stopping", "overload: too much waits", "too late: its patience ran out", "engine failed: no", "shape: no")


class Wire:
    """What left, by agent: `desk` and the dice play the rest of the world."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def ask(self, agent: str, one: Open) -> None:
        self.asked.append((agent, one.id))

    def cancel(self, agent: str, one: Open) -> None:
        self.asked = [pair for pair in self.asked if pair != (agent, one.id)]

    def clear(self) -> None:
        self.asked.clear()


class World:
    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.wire = Wire()
        self.agents = Agents()
        self.up = False
        self.connections = 0
        self.began: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.cancelled: set[str] = set()
        self.desk = Desk(
            self.agents,
            cast("Outgoing", self.wire),
            Budget(0.3),
            Cache(0.0),
            Judge(self.agents, {}),
            self.tell,
            lambda: self.up,
        )

    def tell(self, event: Answered | Unanswered) -> None:
        assert event.id in self.began
        assert event.id not in self.ended, f"{event.id} ended twice"
        assert event.id not in self.cancelled, f"{event.id} was cancelled"
        self.ended[event.id] = time.monotonic()

    def turn(self) -> None:
        deed = self.dice.choices(
            (
                self.ask,
                self.answer,
                self.refuse,
                self.status,
                self.leave,
                self.fail,
                self.cancel,
                self.cut,
                self.shadow,
            ),
            (40, 25, 8, 8, 4, 4, 3, 1, 2),
        )[0]
        deed(time.monotonic())

    def ask(self, now: float) -> None:
        for _ in range(self.dice.randrange(1, 6)):
            window = f"w{len(self.began)}"
            self.began[window] = now
            self.desk.begin(Open(window, "m", ROWS, 32, now, now + PATIENCE), now)

    def answer(self, now: float) -> None:
        for _ in range(min(4, len(self.wire.asked))):
            agent, window = self.dice.choice(self.wire.asked)
            label = self.dice.choice(("sit", "sit", "sit", "\n"))  # the last is refused
            self.desk.replied(Reply(window, agent or self.dice.choice(MEMBERS), label, 0.9), now)

    def refuse(self, now: float) -> None:
        if self.wire.asked:
            agent, window = self.dice.choice(self.wire.asked)
            self.desk.replied(Reply(window, agent or self.dice.choice(MEMBERS), error=self.dice.choice(REFUSALS)), now)

    def status(self, now: float) -> None:
        name = self.dice.choice("abcd")
        facts = {"models": {"m": "1"}, "direct": name in "ab", "instance": self.dice.choice("12")}
        if self.up:
            news = self.agents.told(name, facts)
            assert news is not None
            if news.replaced is not None:
                self.desk.gone(news.replaced, name, now)
            self.desk.told(news.agent, now)

    def leave(self, now: float) -> None:
        name = self.dice.choice("abcd")
        agent = self.agents.gone(name)
        if agent is not None:
            self.desk.gone(agent, name, now)

    def fail(self, _now: float) -> None:
        if self.wire.asked:
            agent, window = self.dice.choice(self.wire.asked)
            self.desk.not_taken(agent, [window, "unknown"], self.dice.choice((0x10, 0x87, 0x00)))

    def cancel(self, _now: float) -> None:
        if self.desk.open:
            window = self.dice.choice(list(self.desk.open))
            if window in self.began:
                self.cancelled.add(window)
            self.desk.cancel(window)

    def shadow(self, now: float) -> None:
        agent = self.agents.least_known("m")
        if agent is not None and self.up:
            self.desk.shadow(Open("", "m", ROWS, 32, now, now + PATIENCE, "explore"), agent, now)

    def cut(self, now: float) -> None:
        self.up = not self.up
        if self.up:
            self.connections += 1
            self.agents.connected(self.connections, now)
            self.desk.connected(now)


@pytest.mark.parametrize("seed", range(6))
async def test_each_question_ends_once_and_in_time(seed: int) -> None:
    world = World(seed)
    world.cut(time.monotonic())
    end = time.monotonic() + 0.7
    while time.monotonic() < end:
        world.turn()
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while world.desk.open:  # noqa: ASYNC110 # timers
            await asyncio.sleep(0.01)
    assert set(world.ended) | world.cancelled == set(world.began)
    late = [window for window, at in world.ended.items() if at - world.began[window] > PATIENCE + SLACK]
    assert not late
    assert not world.desk._waiting
    assert not any(agent.under_way for agent in world.agents.serving("m"))
    assert len(world.began) > 100
