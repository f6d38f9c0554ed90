"""Drives a `Path` with the event loop's clock: one timer for all datagrams to one destination."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.coap.path import Exchange, Path


class Pacer:
    """Sends each datagram when its path says so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._timer: asyncio.TimerHandle | None = None
        self._sending = False

    def begin(self, exchange: Exchange) -> None:
        """Have a new datagram sent, now or when there is room."""
        self.path.begin(exchange)
        self._pump()

    def answered(self, exchange: Exchange) -> None:
        """A datagram was acknowledged."""
        self.path.answered(exchange, asyncio.get_running_loop().time())
        self._pump()

    def leave(self, exchange: Exchange) -> None:
        """Nobody waits for that datagram any more."""
        self.path.leave(exchange)
        self._pump()

    def _pump(self) -> None:
        if self._sending:  # a sending failed at once and left
            return
        loop = asyncio.get_running_loop()
        self._sending = True
        try:
            while ready := self.path.poll(loop.time()):
                for exchange in ready:
                    exchange.transmit()
        finally:
            self._sending = False
        due = self.path.next_due
        if self._timer is None or self._timer.cancelled() or self._timer.when() != due:
            self._arm(loop, due)

    def _arm(self, loop: asyncio.AbstractEventLoop, due: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if due is None else loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._pump()
