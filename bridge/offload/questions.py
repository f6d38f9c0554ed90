"""One question under way: who has a copy of it since when, and what may still be tried."""

from __future__ import annotations

import asyncio
from typing import Literal, TypeAlias

import msgspec

from bridge.messages import Rows
from bridge.offload.agents import Agent
from bridge.offload.hedging import overdue

# "window": its end is told. "explore": a shadow to learn from. "probe": a shadow that may close a breaker.
Kind: TypeAlias = Literal["window", "explore", "probe"]


class Copy(msgspec.Struct, eq=False):
    """What one agent has.

    Attributes:
        agent: the agent.
        sent_at: monotonic seconds.
        late_at: monotonic seconds from which its answer is late for that agent.
        first: it is no hedge: the whole patience was for it.
        repeated: it was sent twice, to whoever takes it.
    """

    agent: Agent
    sent_at: float
    late_at: float
    first: bool
    repeated: bool = False


class Open(msgspec.Struct, eq=False):
    """A question under way.

    Attributes:
        id: the window's, or a name of our own for a shadow.
        model: model asked.
        values: float32, shape (rows, channels), private channels masked.
        size: bytes of the question on the way up, about.
        asked_at: monotonic seconds.
        deadline: monotonic seconds.
        kind: what it is for.
        key: where its answer is kept for repeats; None: nowhere.
        copies: by name of the agent.
        tries: copies sent to replace lost or refused ones.
        asked: names of all agents that ever had a copy.
        refused: names of agents that refused or lost it.
        hedged: it had its second chance.
        note: how its answer comes about, in words.
        timer: the next that is due.
    """

    id: str
    model: str
    values: Rows
    size: int
    asked_at: float
    deadline: float
    kind: Kind = "window"
    key: bytes | None = None
    copies: dict[str, Copy] = {}
    tries: int = 0
    asked: set[str] = set()
    refused: set[str] = set()
    hedged: bool = False
    note: str = ""
    timer: asyncio.TimerHandle | None = None

    def sent(self, agent: Agent, now: float, *, first: bool = True) -> Copy:
        """A copy leaves."""
        late = now + overdue(agent.cost.predict(now, size=self.size), self.deadline - now)
        copy = self.copies[agent.name] = Copy(agent, now, late, first)
        self.asked.add(agent.name)
        agent.takes(self.id, now)
        return copy

    def drop(self, name: str) -> Copy | None:
        """A copy is lost, answered or refused."""
        copy = self.copies.pop(name, None)
        if copy is not None:
            copy.agent.under_way.discard(self.id)
        return copy
