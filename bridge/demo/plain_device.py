"""A device as people write it today: paho, MQTT 3.1.1, JSON, no agent.

`python -m bridge.demo.plain_device --url mqtt://… --device D --stream S --speed X FILE.npz …`

It asks for receipts, and publishes again what has none: a broker that acknowledged rows may still lose them, since the
embedded one keeps everything in memory. Rows have numbers, so the bridge recognises those that it has already.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from bridge import topics
from bridge.demo.scenario import SITE
from bridge.ranges import Range, minus

if TYPE_CHECKING:
    from collections.abc import Sequence

ROWS = 25  # rows a message: half a second
UNDER_WAY = 16  # messages without a receipt
AGAIN = 2.0  # seconds until a message without one is published again
RECONNECT = 1  # seconds


class Message:
    """One that the bridge has not receipted yet.

    Attributes:
        payload: the bytes.
        missing: its rows that are not receipted.
        again: monotonic seconds at which it is to be published again.
    """

    __slots__ = ("again", "missing", "payload")

    def __init__(self, payload: str, rows: Range) -> None:
        self.payload = payload
        self.missing = [rows]
        self.again = time.monotonic() + AGAIN


class Publisher:
    """Publishes one stream of a device, over a broker that may go away and come back.

    Args:
        url: `mqtt://host:port`.
        device: its name.
        stream: that of its stream.
    """

    def __init__(self, url: str, device: str, stream: str) -> None:
        self._topic = topics.data(SITE, device, stream)
        self._receipts = topics.receipt(SITE, device, stream)
        self._open: dict[tuple[str, int], Message] = {}
        self._changed = threading.Condition()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=device, protocol=paho.MQTTv311)
        self._client.reconnect_delay_set(RECONNECT, RECONNECT)
        self._client.on_connect = lambda client, *_: client.subscribe(self._receipts, 1)
        self._client.on_message = lambda _client, _data, message: self._receipt(bytes(message.payload))
        where = urlsplit(url)
        self._client.connect_async(where.hostname or "127.0.0.1", where.port or 1883)
        self._client.loop_start()  # connects again by itself, and publishes again what has no PUBACK

    def publish(self, epoch: str, first: int, values: Sequence[Sequence[float]], dt: float) -> None:
        """Publishes rows; waits while too many are not receipted.

        Args:
            epoch: name of their numbering.
            first: number of the first.
            values: rows × channels.
            dt: seconds between two rows.
        """
        self._wait(UNDER_WAY - 1)
        payload = json.dumps({"values": values, "seq": first, "epoch": epoch, "dt": dt, "receipt": True})
        with self._changed:
            self._open[epoch, first] = Message(payload, (first, first + len(values) - 1))
        self._client.publish(self._topic, payload, qos=1)

    def close(self) -> None:
        """Returns when everything is receipted."""
        self._wait(0)
        self._client.disconnect()
        self._client.loop_stop()

    def _wait(self, most: int) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: len(self._open) <= most, 0.0 if self._due() else AGAIN / 4)
                due = self._due()
                if not due and len(self._open) <= most:
                    return
            for message in due:
                message.again = time.monotonic() + AGAIN
                self._client.publish(self._topic, message.payload, qos=1)

    def _due(self) -> list[Message]:
        """What is to be published again; nothing without a connection, since paho would keep it all."""
        now = time.monotonic()
        return [one for one in self._open.values() if one.again <= now] if self._client.is_connected() else []

    def _receipt(self, payload: bytes) -> None:
        told = json.loads(payload)
        safe = [(first, last) for first, last in told["safe"]]
        with self._changed:
            for (epoch, first), message in list(self._open.items()):
                if epoch == told["epoch"]:
                    message.missing = minus(message.missing, safe)
                    if not message.missing:
                        del self._open[epoch, first]
            self._changed.notify()


def main() -> None:
    """Publish the recordings at their pace, times `--speed`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--stream", required=True)
    parser.add_argument("--speed", type=float, required=True)
    parser.add_argument("files", nargs="+", type=Path)
    chosen = parser.parse_args()
    publisher = Publisher(chosen.url, chosen.device, chosen.stream)
    due = time.monotonic()
    for file in chosen.files:
        with np.load(file) as data:
            values, rate = data["values"], float(data["rate"])
        for first in range(0, len(values), ROWS):
            part = values[first : first + ROWS]
            due += len(part) / rate / chosen.speed
            time.sleep(max(0.0, due - time.monotonic()))
            publisher.publish(file.stem, first, part.tolist(), 1 / rate)
    publisher.close()


if __name__ == "__main__":
    main()
