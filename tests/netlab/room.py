"""How many runs at once, and when in the time between two messages each of them has its turn.

All hand over at the same rate, so runs whose messages are due within the same milliseconds meet at the processors at
each message; so do they where one's datagrams arrive when the others hand over, and then it is a matter of delay, which
looks like the link's. Chance would make that some runs' lot and not others'. So each place has a phase of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from tests.netlab.scenarios import RATE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PERIOD = 1 / RATE  # s


class Room:
    """Places for runs.

    Args:
        places: at least one.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._free: asyncio.Queue[int] = asyncio.Queue()
        for place in range(places):
            self._free.put_nowait(place)

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[float]:
        """Waits for one, keeps it; its phase, a share of `PERIOD`, no other place's."""
        place = await self._free.get()
        try:
            yield place / self._places
        finally:
            self._free.put_nowait(place)


def in_phase(soonest: float, phase: float) -> float:
    """The first moment from `soonest` on, s, that is this share of `PERIOD` after a whole number of them."""
    return soonest + (phase * PERIOD - soonest) % PERIOD
