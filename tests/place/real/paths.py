"""Ways to the cloud, and an agent, that are worse than they seem."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from typing import TYPE_CHECKING

from tests.support.relay import TcpRelay
from tests.support.standin import StandInCloud

if TYPE_CHECKING:
    import socket

    import paho.mqtt.client as paho

    from tests.support.relay import _Pair

READ = 65_536


class SlowRelay(TcpRelay):
    """A path to a broker on which what clients send takes `delay` seconds; what comes back takes none."""

    def __init__(self, upstream: int) -> None:
        self.delay = 0.0
        super().__init__(upstream)

    def _carry(self, pair: _Pair, read: socket.socket, write: socket.socket) -> None:
        if read is not pair.near:
            super()._carry(pair, read, write)
            return
        line: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        threading.Thread(target=self._later, args=(line, write), name="slow relay", daemon=True).start()
        with contextlib.suppress(OSError):
            while data := read.recv(READ):
                line.put((time.monotonic() + self.delay, data))
        line.put((0.0, b""))
        pair.end()
        read.close()

    def _later(self, line: queue.SimpleQueue[tuple[float, bytes]], write: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (item := line.get())[1]:
                time.sleep(max(0.0, item[0] - time.monotonic()))
                write.sendall(item[1])


class MuteCloud(StandInCloud):
    """A cloud agent that is subscribed, acknowledges questions and never answers one."""

    def _question(self, _client: object, _data: object, _message: paho.MQTTMessage) -> None:
        """Keep silent."""
