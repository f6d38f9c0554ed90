"""The consumer behind the broker, on loopback: paho-mqtt, QoS 1. The argument is a `Task`."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.netlab import traffic
from tests.netlab.record import Log

POLL = 0.05  # s between attempts at the broker


def main() -> None:
    """Note each arrival until the end of stdin."""
    task = traffic.task()
    subscribed = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2, "consumer")

    def opened(_client: object, _data: object, sock: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def on_connect(*_: object) -> None:
        client.subscribe(traffic.TOPIC, 1)

    with Log(task.path("arrived")) as arrived:
        client.on_socket_open = opened
        client.on_connect = on_connect
        client.on_subscribe = lambda *_: subscribed.set()
        client.on_message = lambda _client, _data, message: arrived.note(traffic.number_of(bytes(message.payload)))
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
    main()
