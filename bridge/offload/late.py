"""Questions that ended without an answer: one that comes all the same tells how slow its agent is."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

from bridge.offload.agents import SHARED

if TYPE_CHECKING:
    from bridge.offload.judge import Judge
    from bridge.offload.questions import Copy, Open
    from bridge.wire.offload import Reply

log = logging.getLogger("bridge.offload")

MOST = 1_024


def learn(copy: Copy, size: int, reply: Reply, now: float) -> None:
    """An agent that answers is there, and this is how long it takes.

    Args:
        copy: what was answered.
        size: bytes of the question.
        reply: the answer, or a refusal.
        now: monotonic seconds.
    """
    agent = copy.agent
    if reply.label is not None and not copy.repeated:  # else nobody knows which copy it answers (Karn)
        agent.replied(reply, now, took=now - copy.sent_at, size=size)
    if agent.breaker.open:
        log.info("%s answers again", agent.label)
    agent.breaker.answered()


class Late:
    """Who had which question, without its window.

    Args:
        judge: says which replies are none.
        most: questions remembered; the oldest go first.
    """

    def __init__(self, judge: Judge, most: int = MOST) -> None:
        self._judge = judge
        self._most = most
        self._kept: OrderedDict[tuple[str, str], tuple[Copy, int, str]] = OrderedDict()

    def keep(self, one: Open, copy: Copy) -> None:
        """A copy was not answered in time."""
        self._kept[one.id, copy.agent.name] = (copy, one.size, one.model)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def replied(self, reply: Reply, now: float) -> None:
        """Learn from a reply to a question that is not open any more, if it is a late one."""
        who = reply.cloud if (reply.id, reply.cloud) in self._kept else SHARED
        if (reply.id, who) not in self._kept or self._judge.stranger(reply, (who,), now):
            return
        copy, size, model = self._kept.pop((reply.id, who))
        if reply.error is not None or not self._judge.wrong(model, reply, now):
            learn(copy, size, reply, now)

    def clear(self) -> None:
        """No reply comes any more: they were asked on an earlier connection."""
        self._kept.clear()
