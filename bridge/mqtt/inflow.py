"""Bytes received and not parsed yet, in one buffer that the socket is read into: only a packet's tail is moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.mqtt.codec import read_packets

if TYPE_CHECKING:
    from bridge.mqtt.codec import Received

READ = 1 << 19  # bytes of the buffer, and so of one read


class Inflow:
    """The buffer of one session. It grows for a packet that does not fit, up to twice the Maximum Packet Size.

    Args:
        maximum: our Maximum Packet Size in bytes.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._buffer = bytearray(READ)
        self._end = 0

    def clear(self) -> None:
        """Forget what is half received."""
        self._end = 0

    def space(self, wanted: int = 1) -> memoryview:
        """Room for at least so many bytes; `filled` says how many came."""
        missing = self._end + wanted - len(self._buffer)
        if missing > 0:
            self._buffer = self._buffer + bytes(max(missing, len(self._buffer)))  # a new one: the old may be exported
        return memoryview(self._buffer)[self._end :]

    def filled(self, count: int) -> list[Received]:
        """Packets that are complete now that so many bytes were added.

        Raises:
            RemoteProtocolError: see `read_packets`.
        """
        end = self._end + count
        packets, used = read_packets(self._buffer, self._maximum, end)
        self._end = end - used
        if len(self._buffer) > READ >= self._end:
            self._buffer = self._buffer[used:end] + bytes(READ - self._end)
        elif used:
            self._buffer[: self._end] = self._buffer[used:end]
        return packets
