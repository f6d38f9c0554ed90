"""A device as people write it today: paho, MQTT 3.1.1, JSON, no agent.

`python -m bridge.demo.plain_device --url mqtt://… --device D --stream S --speed X FILE.npz …`
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from bridge import topics
from bridge.demo.scenario import SITE

ROWS = 25  # rows a message: half a second
UNDER_WAY = 16


def main() -> None:
    """Publish the recordings at their pace, times `--speed`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--stream", required=True)
    parser.add_argument("--speed", type=float, required=True)
    parser.add_argument("files", nargs="+", type=Path)
    chosen = parser.parse_args()
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=chosen.device, protocol=paho.MQTTv311)
    url = urlsplit(chosen.url)
    client.connect(url.hostname or "127.0.0.1", url.port or 1883)
    client.loop_start()
    topic = topics.data(SITE, chosen.device, chosen.stream)
    under_way: deque[paho.MQTTMessageInfo] = deque()
    due = time.monotonic()
    for file in chosen.files:
        with np.load(file) as data:
            values, rate = data["values"], float(data["rate"])
        for first in range(0, len(values), ROWS):
            part = values[first : first + ROWS]
            due += len(part) / rate / chosen.speed
            time.sleep(max(0.0, due - time.monotonic()))
            message = {"values": part.tolist(), "seq": first, "epoch": file.stem, "dt": 1 / rate}
            under_way.append(client.publish(topic, json.dumps(message), qos=1))
            while len(under_way) >= UNDER_WAY:
                under_way.popleft().wait_for_publish(30)
    for info in under_way:
        info.wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    main()
