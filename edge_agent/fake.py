"""An uplink without a network, for tests of what stands before the port."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bridge.errors import LinkError
from bridge.wire.observation import decode_observation
from edge_agent.uplink import SAFE, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.messages import Observation
    from bridge.wire.formats import Format
    from edge_agent.uplink import Listener


class FakeUplink:
    """Decodes what it is given, and answers as it is told.

    Args:
        answer: what becomes of a message; None: nobody knows.

    Attributes:
        sent: stream and message, in order.
        listener: who sends, once running.
        most_under_way: the most messages ever under way at once.
    """

    def __init__(self, answer: Callable[[str, Observation], Outcome | None] = lambda _stream, _message: SAFE) -> None:
        self.transport = "fake"
        self.window = 16
        self.in_order = False
        self.most_bytes: int | None = None
        self.sent: list[tuple[str, Observation]] = []
        self.listener: Listener | None = None
        self.most_under_way = 0
        self._under_way = 0
        self._arrived = asyncio.Event()
        self._answer = answer

    async def run(self, listener: Listener) -> None:
        """Is connected until cancelled."""
        self.listener = listener
        listener.connected(fresh=False)
        await asyncio.Event().wait()

    async def send(self, stream: str, payload: bytes, form: Format) -> Outcome:
        """Asks `answer`.

        Raises:
            LinkError: the answer was None.
        """
        message = decode_observation(payload, form)
        self.sent.append((stream, message))
        self._arrived.set()
        self._under_way += 1
        self.most_under_way = max(self.most_under_way, self._under_way)
        await asyncio.sleep(0)
        self._under_way -= 1
        outcome = self._answer(stream, message)
        if outcome is None:
            raise LinkError("no answer")
        return outcome

    async def until(self, count: int) -> None:
        """Returns when so many messages have been sent."""
        while len(self.sent) < count:
            self._arrived.clear()
            await self._arrived.wait()

    async def close(self) -> None:
        """Nothing to close."""
