"""The rival: paho-mqtt publishing at QoS 1 with TCP_NODELAY. The argument is a `Task`."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.netlab import traffic
from tests.netlab.log import Log

WINDOW = 2_000  # messages under way; paho's own 20 would be an unfair bound where the round trip is long


def main() -> None:
    """Connect, publish on time, wait for the acknowledgements."""
    task = traffic.task()
    connected, done = threading.Event(), threading.Event()
    acknowledged = 0

    def opened(_client: object, _data: object, sock: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def on_publish(*_: object) -> None:
        nonlocal acknowledged
        acknowledged += 1
        if acknowledged == task.count:
            done.set()

    client = paho.Client(CallbackAPIVersion.VERSION2, "device", clean_session=False)
    client.max_inflight_messages_set(WINDOW)
    client.on_socket_open = opened
    client.on_connect = lambda *_: connected.set()
    client.on_publish = on_publish
    with contextlib.suppress(OSError):  # the loop tries again
        client.connect(task.gateway, task.port)
    client.loop_start()
    connected.wait()
    traffic.say_ready()
    start = traffic.wait_go()
    with Log(task.path("sent")) as sent:
        for number, payload in enumerate(traffic.payloads(task)):
            time.sleep(traffic.until(start + number / task.rate))
            sent.note(number)
            client.publish(traffic.TOPIC, payload, qos=1)
    done.wait(task.drain)
    client.disconnect()


if __name__ == "__main__":
    main()
