"""CoAP ping (RFC 7252 section 4.3): an empty confirmable message, which the peer's stack answers with a Reset."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bridge.coap.origin import Origin
from bridge.coap.tally import HEADERS
from bridge.link.events import Acked, GivenUp, Sent

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.link.events import Event

PATIENCE_S = 60.0
"""Seconds after which an answer is not waited for any more."""

_CON, _RST = 0x40, 0x70  # version 1, no token
_SIZE = 4
_MOST = 16  # pings whose answer is awaited


class Pinger(asyncio.DatagramProtocol):
    """Pings one bridge from a socket of its own, and tells what came of it.

    What was asked before an answered ping, and was not answered itself, is given up: its answer was overtaken or lost.

    Args:
        url: `coap://host[:port]`.
        tell: takes the events: `Sent` with `probe`, `Acked`, `GivenUp`.
        learn: takes the seconds that each answered ping took.

    Attributes:
        asked: pings that left so far.

    Raises:
        ConfigError: it is not such a URL.
    """

    def __init__(
        self, url: str, tell: Callable[[Event], None], learn: Callable[[float], None] = lambda _seconds: None
    ) -> None:
        self._origin = Origin.parse(url)
        self._tell, self._learn = tell, learn
        self._transport: asyncio.DatagramTransport | None = None
        self._id = 0
        self._waiting: dict[int, float] = {}
        self.asked = 0

    async def ping(self) -> None:
        """Sends one; without a socket or a route nothing is sent."""
        loop = asyncio.get_running_loop()
        try:
            if self._transport is None or self._transport.is_closing():
                host, _, port = (await self._origin.address()).rpartition(":")
                address = (host.strip("[]"), int(port))
                self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=address)
        except OSError:
            self._origin.doubt()
            return
        self._forget(loop.time())
        self._id = (self._id + 1) & 0xFFFF
        self._waiting[self._id] = loop.time()
        self._tell(Sent(f"ping-{self._id}", loop.time(), "coap", _SIZE + HEADERS, probe=True))
        self.asked += 1
        self._transport.sendto(bytes((_CON, 0)) + self._id.to_bytes(2, "big"))

    def datagram_received(self, data: bytes, _addr: object) -> None:
        """A Reset answers the ping whose message ID it bears."""
        number = int.from_bytes(data[2:_SIZE], "big")
        sent = self._waiting.pop(number, None) if len(data) == _SIZE and data[0] == _RST else None
        if sent is not None:
            now = asyncio.get_running_loop().time()
            self._tell(Acked(f"ping-{number}", now))
            self._learn(now - sent)
            self._give_up([each for each, at in self._waiting.items() if at < sent], now)

    def error_received(self, _exc: Exception) -> None:
        """Nobody listens there, or there is no route: like silence."""

    def close(self) -> None:
        """Closes the socket; what was awaited is given up."""
        if self._transport is not None:
            self._transport.close()
        self._transport = None
        self._forget(float("inf"))

    def _forget(self, now: float) -> None:
        late = [number for number, at in self._waiting.items() if now - at > PATIENCE_S]
        room = list(self._waiting)[: max(0, len(self._waiting) - len(late) - _MOST + 1)]
        self._give_up(late + room, min(now, asyncio.get_running_loop().time()))

    def _give_up(self, numbers: list[int], now: float) -> None:
        for number in numbers:
            if self._waiting.pop(number, None) is not None:
                self._tell(GivenUp(f"ping-{number}", now))
