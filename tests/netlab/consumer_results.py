"""The consumer of Results behind the broker, on loopback: paho-mqtt, QoS 1. The argument is a `Task`."""

from __future__ import annotations

import json

from tests.netlab import consumer_mqtt, traffic
from tests.netlab.traffic import ROWS

TOPIC = "edge/v1/lab/d1/result/lab"


def number_of(payload: bytes) -> int:
    """Which message's rows this is the Result of."""
    return int(json.loads(payload)["seq"]) // ROWS


if __name__ == "__main__":
    consumer_mqtt.main(traffic.task(), TOPIC, number_of)
