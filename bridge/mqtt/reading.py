"""Whether a connection's socket is read: not while its owner is behind, nor after a large read before he worked."""

from __future__ import annotations

import asyncio

from bridge.mqtt.inflow import READ

MUCH = READ // 2  # bytes: after such a read others are due first


class Reading:
    """Reads, or pauses, the transport of the present connection.

    Attributes:
        paused: the owner asked for it; so it begins on a later connection, too.
    """

    def __init__(self) -> None:
        self.paused = False
        self._transport: asyncio.Transport | None = None

    def begin(self, transport: asyncio.Transport) -> None:
        """A new connection."""
        self._transport = transport
        if self.paused:
            transport.pause_reading()

    def end(self) -> None:
        """The connection is gone."""
        self._transport = None

    def pause(self) -> None:
        """Stop, until `resume`."""
        self.paused = True
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Go on."""
        self.paused = False
        transport = self._transport
        if transport is not None and not transport.is_reading() and not transport.is_closing():
            transport.resume_reading()

    def took(self, count: int) -> None:
        """After so many bytes: uvloop would go on until nothing is left, up to 32 times; the owner is due before."""
        if count >= MUCH and self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if not self.paused:
            self.resume()
