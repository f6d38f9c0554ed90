"""An uplink without a network, for tests of what stands before the port."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from bridge.errors import LinkError
from bridge.messages import Observation, Skip
from bridge.wire.answers import encode_status
from bridge.wire.data import decode_data
from edge_agent.uplink import SAFE, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.wire.formats import Format
    from edge_agent.uplink import Listener, Said, Writing


class FakeUplink:
    """Decodes what it is given, and answers as it is told.

    Args:
        answer: what becomes of a message; None: nobody knows.
        skipped: what becomes of a Skip.

    Attributes:
        sent: stream and message, in order.
        skips: stream and Skip, in order.
        forms: how each message was written.
        told: facts told, in order.
        now: how rows are to be written; None: as the settings say.
        listener: who sends, once running.
        most_under_way: the most messages ever under way at once.
    """

    def __init__(
        self,
        answer: Callable[[str, Observation], Outcome | None] = lambda _stream, _message: SAFE,
        skipped: Callable[[str, Skip], Outcome | None] = lambda _stream, _skip: SAFE,
    ) -> None:
        self.transport = "fake"
        self.window = 16
        self.in_order = False
        self.most_bytes: int | None = None
        self.sent: list[tuple[str, Observation]] = []
        self.skips: list[tuple[str, Skip]] = []
        self.forms: list[Format] = []
        self.told: list[dict[str, Any]] = []
        self.now: Writing | None = None
        self.listener: Listener | None = None
        self.most_under_way = 0
        self._under_way = 0
        self._arrived = asyncio.Event()
        self._answer = answer
        self._skipped = skipped

    async def run(self, listener: Listener) -> None:
        """Is connected until cancelled."""
        self.listener = listener
        listener.connected(fresh=False)
        await asyncio.Event().wait()

    def writing(self, _stream: str) -> Writing | None:
        """As a test says, by `now`."""
        return self.now

    async def send(self, stream: str, payload: bytes, form: Format, *, said: Said | None = None) -> Outcome:  # noqa: ARG002 # as every uplink
        """Asks `answer`.

        Raises:
            LinkError: the answer was None.
        """
        message = decode_data(payload, form)
        if isinstance(message, Observation):
            self.sent.append((stream, message))
            self.forms.append(form)
        else:
            self.skips.append((stream, message))
        self._arrived.set()
        self._under_way += 1
        self.most_under_way = max(self.most_under_way, self._under_way)
        await asyncio.sleep(0)
        self._under_way -= 1
        outcome = self._skipped(stream, message) if isinstance(message, Skip) else self._answer(stream, message)
        if outcome is None:
            raise LinkError("no answer")
        return outcome

    async def tell(self, facts: dict[str, Any], *, at_once: bool = True) -> int:  # noqa: ARG002 # as every uplink
        """Remembers them."""
        self.told.append(facts)
        self._arrived.set()
        return len(encode_status(online=True, t=0.0, **facts))

    async def until(self, true: int | Callable[[], bool]) -> None:
        """Returns when so many messages have been sent, or when this is true after something came."""
        while not (true() if callable(true) else len(self.sent) >= true):
            self._arrived.clear()
            await self._arrived.wait()

    async def close(self) -> None:
        """Nothing to close."""
