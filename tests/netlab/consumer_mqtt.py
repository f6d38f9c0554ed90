"""The consumer behind the broker, on loopback: paho-mqtt, QoS 1. The argument is a `Task`."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.netlab import traffic
from tests.netlab.record import Log

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.netlab.traffic import Task

POLL = 0.05  # s between attempts at the broker


def main(task: Task, topic: str, number_of: Callable[[bytes], int]) -> None:
    """Note each arrival until the end of stdin."""
    subscribed = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2, "consumer")

    def opened(_client: object, _data: object, sock: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def on_connect(*_: object) -> None:
        client.subscribe(topic, 1)

    with Log(task.path("arrived")) as arrived:
        client.on_socket_open = opened
        client.on_connect = on_connect
        client.on_subscribe = lambda *_: subscribed.set()
        client.on_message = lambda _client, _data, message: arrived.note(number_of(bytes(message.payload)))
        while True:
            with contextlib.suppress(ConnectionRefusedError):  # the broker was started beside us
                client.connect("127.0.0.1", task.port)
                break
            time.sleep(POLL)
        client.loop_start()
        subscribed.wait()
        traffic.say_ready()
        traffic.wait_end()
        client.disconnect()
        client.loop_stop()


if __name__ == "__main__":
    main(traffic.task(), traffic.TOPIC, traffic.number_of)
