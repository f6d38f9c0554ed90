"""Agents whose breaker is open are tried again by a shadow, so that no window waits for them.

The shadow is the question that opened the breaker: same window, same patience. It is asked only when somebody wished
for the agent meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.offload.agents import Agent
    from bridge.offload.questions import Open


class Probes:
    """One timer for each agent whose breaker is open.

    Args:
        ask: sends a shadow like this question to the agent, if it is there.
        remembered: whether an agent may still come back.
    """

    def __init__(self, ask: Callable[[Agent, Open], None], remembered: Callable[[Agent], bool]) -> None:
        self._ask = ask
        self._remembered = remembered
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def opened(self, agent: Agent, one: Open) -> None:
        """An agent's breaker opened because this question was not answered."""
        timer = self._timers.get(agent.name)
        if timer is not None:
            timer.cancel()
        self._arm(agent, one)

    def _arm(self, agent: Agent, one: Open) -> None:
        rest = asyncio.get_running_loop().call_later(agent.breaker.rest, self._due, agent, one)
        self._timers[agent.name] = rest

    def _due(self, agent: Agent, one: Open) -> None:
        del self._timers[agent.name]
        if not agent.breaker.open or not self._remembered(agent):
            return
        if agent.wanted and agent.breaker.allows(time.monotonic()):
            self._ask(agent, one)
        if agent.name not in self._timers:
            self._arm(agent, one)
