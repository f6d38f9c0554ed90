"""A bridge as people write it on paho-mqtt: one message at a time, acknowledged on receipt."""

from __future__ import annotations

import socket
import sys
import time
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.benchmarks import work


def main() -> None:
    """Serve on the port given until killed."""
    model = work.Model()
    client = paho.Client(CallbackAPIVersion.VERSION2, "rival-paho")

    def connected(client: paho.Client, *_: object) -> None:
        client.subscribe(work.DATA_FILTER, 1)

    def subscribed(*_: object) -> None:
        sys.stdout.write("ready {}\n")
        sys.stdout.flush()

    def opened(_client: object, _data: object, sock: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # paho leaves Nagle on; a fair rival does not

    def on_message(client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        arrived = time.time()
        seen, rows = work.decode(message.payload)
        ((label, score),) = model.answers(rows[None])
        client.publish(*work.encode(message.topic, seen, label, score, model.version, arrived), qos=1)

    client.on_connect = connected
    client.on_subscribe = subscribed
    client.on_socket_open = opened
    client.on_message = on_message
    client.max_inflight_messages_set(1_024)
    client.connect("127.0.0.1", int(sys.argv[1]))
    client.loop_forever()


if __name__ == "__main__":
    main()
