"""Virtual time: an event loop that jumps to its next timer, and `time.monotonic` that goes with it.

So asyncio code of the product runs as it is, a two-minute trace in a fraction of a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import time
from typing import TYPE_CHECKING
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from selectors import SelectorKey


class _Jump(selectors.SelectSelector):
    """Where a loop would wait for a socket, its clock goes on instead."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen: no timer is set")
        self._clock.now += max(0.0, timeout)
        return super().select(0)


class Clock(asyncio.SelectorEventLoop):
    """The loop.

    Attributes:
        now: virtual seconds.
    """

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        return self.now

    def run_until(self, end: float) -> None:
        """Let happen what is due by then."""
        self.call_at(end, self.stop)
        self.run_forever()


@contextlib.contextmanager
def virtual() -> Iterator[Clock]:
    """A clock that everything in this process goes by meanwhile."""
    clock = Clock()
    try:
        with mock.patch.object(time, "monotonic", clock.time):
            yield clock
    finally:
        clock.close()
