"""Rows that are to be forgotten, gathered: none needs a commit, so an fsync, of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.store.outbox import Release

WAIT = 0.25  # seconds that they gather
MOST = 256


class Releases:
    """In order; a commit that is made anyway takes them all.

    Args:
        ripened: called when they are due though no other commit is.

    Attributes:
        ripe: they are due.
    """

    def __init__(self, ripened: Callable[[], None]) -> None:
        self.ripe = False
        self._ripened = ripened
        self._waiting: list[Release] = []
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, releases: Iterable[Release], *, at_once: bool) -> None:
        """To be forgotten too; `at_once`: they do not wait for others."""
        self._waiting += releases
        if at_once or len(self._waiting) >= MOST:
            self.ripen()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WAIT, self.ripen)

    def ripen(self) -> None:
        """Those that wait are due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            self.ripe = True
            self._ripened()

    def take(self) -> list[Release]:
        """All of them, for a commit."""
        taken, self._waiting, self.ripe = self._waiting, [], False
        return taken

    def put_back(self, taken: list[Release]) -> None:
        """The commit failed."""
        self._waiting = taken + self._waiting
        self.ripe = bool(self._waiting)
