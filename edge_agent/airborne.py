"""A message under way by one of several ways, that can be called back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.link.events import Protocol
    from edge_agent.choice import Choice


class Airborne:
    """Made by the task that carries it, just before; as `asyncio.timeout` it needs no task of its own.

    Args:
        way: what it goes by.
        choice: of its stream.
        zstd: it is in a frame of zstd.

    Raises:
        RuntimeError: there is no task.
    """

    def __init__(self, way: Protocol, choice: Choice, *, zstd: bool = False) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a message is carried by a task")
        self.way, self.choice, self.zstd = way, choice, zstd
        self._task = task
        self._recalled = False
        self._timer: asyncio.TimerHandle | None = None

    def risk(self, seconds: float) -> None:
        """Calls it back unless it has `landed` within these seconds."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self.recall)

    def landed(self) -> None:
        """It is not under way any more."""
        if self._timer is not None:
            self._timer.cancel()

    def recall(self) -> None:
        """Ends its carrying; once is enough."""
        if not self._recalled:
            self._recalled = True
            self._task.cancel()

    def is_recalled(self) -> bool:
        """Called for a `CancelledError`: whether it came of `recall` alone, and so ends here."""
        return self._recalled and self._task.uncancel() == 0
