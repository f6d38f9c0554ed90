"""What silences are held to mean: each, how slow its agent is; several in a row, that it is to be left alone.

No clock: `now` is an argument.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.offload.agents import Agent
    from bridge.offload.probes import Probes
    from bridge.offload.questions import Copy, Open

log = logging.getLogger("bridge.offload")


class Blame:
    """Tells costs and breakers of silences.

    Args:
        probes: try again who is left alone.
        left_alone: told of an agent whose breaker opened, of the question that opened it, and when.
    """

    def __init__(self, probes: Probes, left_alone: Callable[[Agent, Open, float], None]) -> None:
        self._probes = probes
        self._left_alone = left_alone

    def silent(self, one: Open, copy: Copy, now: float, *, final: bool) -> None:
        """A copy ended without an answer; before its deadline only one that is late is held against its agent.

        That counts once for what was asked together: the agent may be slow.

        Args:
            one: the question.
            copy: what the agent had of it.
            now: monotonic seconds.
            final: it ended because its deadline is there.
        """
        agent = copy.agent
        agent.cost.silent(now, now - copy.sent_at, size=one.size)
        if one.kind == "explore":
            return
        if final and copy.first:
            self.failed(agent, one, now)
        elif now >= copy.late_at and copy.sent_at > agent.blamed_for:
            agent.blamed_for = copy.sent_at
            self.failed(agent, one, now)

    def failed(self, agent: Agent, one: Open, now: float) -> None:
        """An agent did not answer, or as good as; if that opens its breaker, it is left alone."""
        was_open = agent.breaker.open
        if not agent.breaker.silent(now):
            return
        self._probes.opened(agent, one)
        if was_open:
            return
        log.warning("%s does not answer: left alone for %.0f s", agent.label, agent.breaker.rest)
        self._left_alone(agent, one, now)
