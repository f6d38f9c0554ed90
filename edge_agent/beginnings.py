"""The first message of each numbering goes alone, until it has arrived.

Messages overtake each other, and the bridge puts rows in order. But it does not wait as long for rows before those that
a series begins with: a state that was lost is likelier than a beginning that was overtaken.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from edge_agent.uplink import Outcome

Numbering: TypeAlias = tuple[str, str]
MOST = 64  # numberings remembered


class Beginnings:
    """Of all series, named by stream and epoch."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Numbering, asyncio.Lock | None] = OrderedDict()

    def is_over(self, numbering: Numbering) -> bool:
        """Whether something of it has arrived, so that nothing need go alone."""
        return self._waiting.get(numbering, self) is None

    async def deliver(self, numbering: Numbering, send: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Sends, alone while nothing of this numbering has arrived; what `send` raises passes through."""
        if numbering in self._waiting:
            lock = self._waiting[numbering]
        else:
            lock = self._waiting[numbering] = asyncio.Lock()
            if len(self._waiting) > MOST:
                self._waiting.popitem(last=False)
        if lock is None:
            return await send()
        async with lock:
            if self._waiting.get(numbering) is lock:
                outcome = await send()
                if outcome.kind in {"safe", "taken"}:
                    self._waiting[numbering] = None
                return outcome
        return await send()
