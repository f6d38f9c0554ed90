"""A real client of either protocol version for tests of brokers, on a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


async def until(true: Callable[[], object], timeout: float = 10) -> None:  # noqa: ASYNC109 - how long a test waits
    """Returns once the condition holds; TimeoutError if it does not in time."""
    async with asyncio.timeout(timeout):
        while not true():  # noqa: ASYNC110 - what is awaited happens in threads and other processes
            await asyncio.sleep(0.01)


class Client:
    """A paho client, subscribed to one topic, that keeps what it receives and counts its connections' ends."""

    def __init__(self, topic: str, url: str, version: MQTTProtocolVersion, name: str) -> None:
        self.topic = topic
        self.received: list[bytes] = []
        self.subscribed = 0
        self.lost = 0
        self.paho = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=version)
        self.paho.on_message = lambda _c, _u, message: self.received.append(bytes(message.payload))
        self.paho.on_connect = lambda client, *_: client.subscribe(topic, 1)
        self.paho.on_subscribe = self._count_subscribed
        self.paho.on_disconnect = self._count_lost
        self.paho.reconnect_delay_set(1, 1)
        host, port = url.removeprefix("mqtt://").rsplit(":", 1)
        self.paho.connect(host, int(port))

    def _count_subscribed(self, *_: object) -> None:
        self.subscribed += 1

    def _count_lost(self, *_: object) -> None:
        self.lost += 1

    def publish(self, payload: bytes) -> None:
        self.paho.publish(self.topic, payload, qos=1)


@contextlib.contextmanager
def client(topic: str, url: str, version: MQTTProtocolVersion, name: str) -> Iterator[Client]:
    it = Client(topic, url, version, name)
    it.paho.loop_start()
    try:
        yield it
    finally:
        it.paho.disconnect()
        it.paho.loop_stop()
