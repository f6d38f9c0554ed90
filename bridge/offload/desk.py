"""The life of each question: sent, late, put to another agent, answered or given up. Each ends once.

::

    begin ──▶ at an agent ──answer──▶ Answered
                │   ▲   │
                │   └───┴─ its agent is gone, refused, or is left alone: to another
                ├─ late: to a second one besides, within the budget
                └─ deadline, or nobody left: Unanswered

Whoever else has a copy of what is answered, or of what nobody wants to know any more, is told to forget it. At the
deadline nobody is: the question said itself how long an answer helps, and one that comes all the same is learned from.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

from bridge.mqtt.session import NO_MATCHING_SUBSCRIBERS
from bridge.offload import refusals
from bridge.offload.agents import SHARED
from bridge.offload.blame import Blame
from bridge.offload.late import Late, learn
from bridge.offload.messages import Answered, Unanswered
from bridge.offload.probes import Probes
from bridge.offload.questions import Open

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from bridge.offload.agents import Agent, Agents
    from bridge.offload.cache import Cache
    from bridge.offload.hedging import Budget
    from bridge.offload.judge import Judge
    from bridge.offload.outgoing import Outgoing
    from bridge.offload.questions import Copy
    from bridge.wire.offload import Reply

AGAIN_AFTER = 0.05  # seconds
MOST_AGAIN = 8
FAILURE = 0x80  # MQTT 5 section 2.4: reason codes from here on
CLOCK = 0.001  # seconds by which a timer may be early
AWAY = "the cloud's broker is not there"


class Desk:
    """All questions under way.

    Args:
        agents: who can be asked.
        outgoing: takes what leaves.
        budget: of second copies.
        cache: takes answers.
        judge: says which are none.
        tell: takes the end of each question about a window.
        reachable: whether what leaves now reaches the broker.

    Attributes:
        open: questions under way, by id.
    """

    def __init__(
        self,
        agents: Agents,
        outgoing: Outgoing,
        budget: Budget,
        cache: Cache,
        judge: Judge,
        tell: Callable[[Answered | Unanswered], None],
        reachable: Callable[[], bool],
    ) -> None:
        self.open: dict[str, Open] = {}
        self._agents = agents
        self._outgoing = outgoing
        self._budget = budget
        self._cache = cache
        self._judge = judge
        self._tell = tell
        self._reachable = reachable
        self._blame = Blame(Probes(self._probe, agents.remembered), self._left_alone)
        self._late = Late(judge)
        self._waiting: dict[str, None] = {}  # without a copy, until an agent is told
        self._shadows = 0
        self._shadow_name = f"~{secrets.token_hex(4)}-"  # no other life's, whose answers may come late

    # ---- questions in

    def begin(self, one: Open, now: float) -> None:
        """Ask."""
        self.open[one.id] = one
        self._budget.asked()
        self._dispatch(one, now)

    def shadow(self, like: Open, agent: Agent, now: float) -> None:
        """Ask one agent a question whose end nobody is told."""
        self._shadows += 1
        like.id = f"{self._shadow_name}{self._shadows}"
        self.open[like.id] = like
        self._send(like, agent, now)

    def forget(self, model: str) -> None:
        """Answers to what is under way for a model are not kept for repeats: it is another version's question."""
        for one in self.open.values():
            if one.model == model:
                one.key = None

    def cancel(self, window: str) -> None:
        """Nobody wants to know any more: no end is told."""
        one = self.open.get(window)
        if one is not None:
            self._end(one, None)

    def _probe(self, agent: Agent, like: Open) -> None:
        if not self._reachable() or not self._agents.there(agent):
            return
        now = time.monotonic()
        agent.wanted = False
        patience = like.deadline - like.asked_at
        self.shadow(Open("", like.model, like.values, like.size, now, now + patience, "probe"), agent, now)

    def _dispatch(self, one: Open, now: float, *, avoid: Collection[str] = (), why: str = "") -> None:
        """Send a question to the best agent, or end it and say why; while agents may still be told, it waits."""
        left = one.deadline - now
        found = self._agents.best(one.model, now, left, one.size, avoid=avoid) if self._reachable() else None
        if found is not None and left > 0:
            self._send(one, found.agent, now)
        elif left > 0 and self._agents.may_be_told(one.model, now):
            self._wait(one, now)
        else:
            self._end(one, Unanswered(one.id, why or self._nobody(one, left)))

    def _wait(self, one: Open, now: float) -> None:
        """For an agent that serves it, until all agents must have been told."""
        self._waiting[one.id] = None
        self._arm(one, now, min(one.deadline, self._agents.all_told_at))

    def _nobody(self, one: Open, left: float) -> str:
        if left <= 0:
            patience = one.deadline - one.asked_at
            return _silence(patience) if patience > 0 else "no time was left to ask"
        return self._agents.why_not(one.model) if self._reachable() else AWAY

    def _send(self, one: Open, agent: Agent, now: float, *, first: bool = True) -> None:
        copy = one.sent(agent, now, first=first)
        self._outgoing.ask(agent.name, one)
        self._arm(one, now, one.deadline if one.hedged or one.kind != "window" else copy.late_at)

    def _arm(self, one: Open, now: float, when: float) -> None:
        if one.timer is not None:
            one.timer.cancel()
        one.timer = asyncio.get_running_loop().call_later(max(0.0, when - now), self._due, one)

    def _due(self, one: Open) -> None:
        now = time.monotonic()
        if now >= one.deadline - CLOCK:
            self._end(one, Unanswered(one.id, _silence(now - one.asked_at)), final=True)
        elif one.id in self._waiting:
            del self._waiting[one.id]
            self._dispatch(one, now)
        else:
            one.hedged = True
            self._arm(one, now, one.deadline)
            self._hedge(one, now)

    def _hedge(self, one: Open, now: float) -> None:
        """It is late: put it to a second agent besides."""
        if not one.copies or not self._reachable():
            return
        found = self._agents.best(one.model, now, one.deadline - now, one.size, avoid=one.copies)
        shared = SHARED in one.copies and self._agents.members(one.model) > 1
        if (found is None and not shared) or not self._budget.spend():
            return
        one.note = "a second agent was asked"
        if found is not None:
            self._send(one, found.agent, now, first=False)
        else:
            self._repeat(one)

    def _repeat(self, one: Open) -> None:
        """Ask those that share a topic once more: another one may get it."""
        one.copies[SHARED].repeated = True
        self._outgoing.ask(SHARED, one)

    # ---- replies in

    def replied(self, reply: Reply, now: float) -> None:
        """Take a reply; one of no open question comes too late, or is the second one."""
        one = self.open.get(reply.id)
        if one is None:
            self._late.replied(reply, now)
            return
        if self._judge.stranger(reply, one.asked, now):
            return
        copy = one.drop(reply.cloud) or one.drop(SHARED)
        refusal = self._judge.refusal(one.model, reply, now)
        if refusal is not None:
            self._refused(one, copy, refusal.error, refusal.why, now)
            return
        if copy is not None:
            learn(copy, one.size, reply, now)
            self._agents.answered(reply.cloud, copy.agent, one.model, reply.version)
        self._cache.keep(one.key, one.model, reply, now)
        self._end(one, Answered(one.id, reply, one.note))

    def _refused(self, one: Open, copy: Copy | None, error: str, why: str, now: float) -> None:
        if copy is None:
            return
        agent = copy.agent
        if refusals.missed(error):
            agent.cost.silent(now, one.deadline - copy.sent_at, size=one.size)
        if refusals.failed(error):
            self._blame.failed(agent, one, now)
        else:
            agent.breaker.answered()
        if one.copies or one.id not in self.open:
            return
        if one.kind != "window" or not refusals.its_own(error) or one.tries >= MOST_AGAIN:
            self._end(one, Unanswered(one.id, why))
            return
        one.tries += 1
        if agent.name == SHARED and refusals.passing(error):
            asyncio.get_running_loop().call_later(AGAIN_AFTER, self._again, one, why)
        else:
            one.refused.add(agent.name)
            self._dispatch(one, now, avoid=one.refused, why=why)

    def _again(self, one: Open, why: str) -> None:
        if self.open.get(one.id) is one and not one.copies:
            self._dispatch(one, time.monotonic(), avoid=one.refused, why=why)

    # ---- agents and broker

    def told(self, agent: Agent, now: float) -> None:
        """An agent is there."""
        for window in [window for window in self._waiting if self.open[window].model in agent.models]:
            del self._waiting[window]
            self._dispatch(self.open[window], now)

    def gone(self, agent: Agent, name: str, now: float) -> None:
        """An agent went away with what it had: others are asked, or nobody.

        Args:
            agent: who was asked for it.
            name: its id.
            now: monotonic seconds.
        """
        for one in self._at(agent):
            if one.tries < MOST_AGAIN and agent.name == SHARED and self._agents.members(one.model):
                one.tries += 1
                self._repeat(one)
            else:
                self._move(one, agent, now, f"{name} went away")

    def connected(self, now: float) -> None:
        """A new connection: replies to what was asked on the last one will not come; windows wait for agents again."""
        self._outgoing.clear()
        self._late.clear()
        for one in list(self.open.values()):
            for name in list(one.copies):
                one.drop(name)
            if one.kind == "window":
                self._wait(one, now)
            else:
                self._end(one, None)

    def not_taken(self, name: str, ids: Iterable[str], code: int) -> None:
        """The broker did not take questions for an agent."""
        now = time.monotonic()
        blamed = False
        for one in [self.open[window] for window in ids if window in self.open]:
            copy = one.copies.get(name)
            if copy is None:
                continue
            if code == NO_MATCHING_SUBSCRIBERS:
                if not blamed and one.kind != "explore":
                    blamed = True
                    self._blame.failed(copy.agent, one, now)
                self._move(one, copy.agent, now, "no cloud agent was subscribed")
            elif code >= FAILURE:
                one.drop(name)
                if not one.copies:
                    why = f"the cloud's broker refused the question (0x{code:02X})"
                    self._end(one, Unanswered(one.id, why))

    def _at(self, agent: Agent) -> list[Open]:
        return [self.open[window] for window in list(agent.under_way) if window in self.open]

    def _move(self, one: Open, agent: Agent, now: float, why: str) -> None:
        """Take a question from an agent; if nobody else has it, ask another one, or end it."""
        one.drop(agent.name)
        if one.copies or self.open.get(one.id) is not one:
            return
        if one.kind != "window" or one.tries >= MOST_AGAIN:
            self._end(one, Unanswered(one.id, why))
            return
        one.tries += 1
        one.refused.add(agent.name)
        self._dispatch(one, now, avoid=one.refused, why=why)

    def _left_alone(self, agent: Agent, one: Open, now: float) -> None:
        """Nobody waits any more for an agent whose breaker this question opened."""
        for other in self._at(agent):
            if other is not one:
                copy = other.copies[agent.name]
                agent.cost.silent(now, now - copy.sent_at, size=other.size)
                self._take_back(other, copy)
                self._move(other, agent, now, "")

    # ---- the end

    def _end(self, one: Open, event: Answered | Unanswered | None, *, final: bool = False) -> None:
        """It is over, once. `final`: because its deadline is there."""
        if self.open.pop(one.id, None) is None:
            return
        self._waiting.pop(one.id, None)
        if one.timer is not None:
            one.timer.cancel()
        if event is not None and one.kind == "window":
            self._tell(event)
        now = time.monotonic()
        for name in list(one.copies):
            copy = one.drop(name)
            if copy is not None and self._reachable():
                if final:  # it knows from the question's patience; should it answer, that is worth knowing
                    self._late.keep(one, copy)
                else:
                    self._take_back(one, copy)
                self._blame.silent(one, copy, now, final=final)

    def _take_back(self, one: Open, copy: Copy) -> None:
        """Cancel a copy, where it is known who has it."""
        if copy.agent.name != SHARED or self._agents.members(one.model) == 1:
            self._outgoing.cancel(copy.agent.name, one)


def _silence(waited: float) -> str:
    return f"the cloud did not answer within {waited:.1f} s"
