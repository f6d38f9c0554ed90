"""Questions that ended without an answer: one that comes all the same tells how slow its agent is."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from bridge.offload.agents import SHARED

if TYPE_CHECKING:
    from bridge.offload.questions import Copy, Open

MOST = 1_024


class Late:
    """Who had which question, without its window.

    Args:
        most: questions remembered; the oldest go first.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[str, str], tuple[Copy, int]] = OrderedDict()

    def keep(self, one: Open, copy: Copy) -> None:
        """A copy was not answered in time."""
        self._kept[one.id, copy.agent.name] = (copy, one.size)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def take(self, window: str, agent: str) -> tuple[Copy, int] | None:
        """The copy that a late reply of an agent is for, and the bytes of its question."""
        return self._kept.pop((window, agent), None) or self._kept.pop((window, SHARED), None)

    def clear(self) -> None:
        """No reply comes any more: they were asked on an earlier connection."""
        self._kept.clear()
