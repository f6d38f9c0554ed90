"""The consumer of Results behind the broker, on loopback: paho-mqtt, QoS 1. The argument is a `Task`."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.netlab import traffic
from tests.netlab.log import Log
from tests.netlab.priority import urgent
from tests.netlab.traffic import ROWS

TOPIC = "edge/v1/lab/d1/result/lab"
POLL = 0.05  # s between attempts at the broker


class Told(msgspec.Struct, frozen=True):
    """What of a Result makes two of them differ."""

    id: str
    seq: int
    provisional: bool
    label: str
    score: float
    version: str
    tier: str


class Results:
    """Notes when each arrives, and whether a window gets two effective ones that differ."""

    def __init__(self, arrived: Log) -> None:
        self._arrived = arrived
        self._decoder = msgspec.json.Decoder(Told)
        self._effective: dict[int, Told] = {}
        self._twice: set[int] = set()

    @property
    def twice(self) -> int:
        """Windows with two differing effective Results."""
        return len(self._twice)

    def take(self, payload: bytes) -> None:
        """One Result; a provisional one is no arrival."""
        told = self._decoder.decode(payload)
        if told.provisional:
            return
        self._arrived.note(told.seq // ROWS)
        if self._effective.setdefault(told.seq, told) != told:
            self._twice.add(told.seq)


def connect(client: paho.Client, port: int) -> None:
    """The broker was started beside us: until it is there."""
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            client.connect("127.0.0.1", port)
            return
        time.sleep(POLL)


def main() -> None:
    """Note each arrival until the end of stdin."""
    task = traffic.task()
    urgent()
    subscribed = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2, "consumer")

    def opened(_client: object, _data: object, sock: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def on_connect(*_: object) -> None:
        client.subscribe(TOPIC, 1)

    with Log(task.path("arrived")) as arrived:
        results = Results(arrived)
        client.on_socket_open = opened
        client.on_connect = on_connect
        client.on_subscribe = lambda *_: subscribed.set()
        client.on_message = lambda _client, _data, message: results.take(bytes(message.payload))
        connect(client, task.port)
        client.loop_start()
        subscribed.wait()
        traffic.say_ready()
        traffic.wait_end()
        client.disconnect()
        client.loop_stop()
    task.path("twice").write_text(str(results.twice))


if __name__ == "__main__":
    main()
