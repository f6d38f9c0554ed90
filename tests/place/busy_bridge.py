"""Records the bridge: how long a real one takes for a window while it computes a slow model besides at times."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from bridge import topics
from bridge.messages import Observation
from bridge.mqtt.connection import Connection
from bridge.mqtt.endpoint import Endpoint
from bridge.mqtt.messages import Publish, Settings
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from tests.place import trace, windows
from tests.place.weather import RATE, SECONDS
from tests.support.brokers import HOST, start_mosquitto
from tests.support.models import copy_shipped, make_slow
from tests.support.programs import start_bridge

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.mqtt.messages import Delivery

SITE, DEVICE, STREAM = "lab", "watch", "window"
DRAIN = 3.0  # s for the last Results
BRIDGE = """\
[bridge]
id = "gw-1"
models = "models"
[mqtt]
url = "{url}"
[coap]
enabled = false
[[routes]]
stream = "{stream}"
model = "{model}"
windows = "whole"
place = "bridge"
[[routes]]
stream = "slow"
model = "slow"
windows = "whole"
place = "bridge"
late = "answer"
"""


def record(folder: Path, into: Path, run: float, seconds: float = SECONDS) -> None:
    """Write the trace.

    Args:
        folder: for broker, models and state.
        into: the csv.
        run: s that the slow model takes for a window, about.
        seconds: how long.
    """
    copy_shipped(folder / "models")
    make_slow(folder / "models")
    with start_mosquitto(folder / "broker", extra="set_tcp_nodelay true") as broker:
        config = BRIDGE.format(url=broker.url, stream=STREAM, model=windows.MODEL)
        argv = [sys.executable, "-m", "tests.place.loader", "bridge", HOST, str(broker.port), str(run)]
        with start_bridge(folder, config), subprocess.Popen(argv) as load:
            try:
                samples = asyncio.run(_ask(broker.port, seconds))
            finally:
                load.kill()
    trace.write(into, samples)


async def _ask(port: int, seconds: float) -> list[trace.Sample]:
    """A window every tenth of a second, and when its Result came."""
    held = windows.held_out(windows.manifest()).windows
    sent: list[tuple[float, int]] = []
    came: dict[int, float] = {}

    def received(deliveries: list[Delivery]) -> None:
        now = time.monotonic()
        connection.acknowledge(deliveries)
        for delivery in deliveries:
            came.setdefault(json.loads(delivery.payload)["seq"], now)

    results = topics.result(SITE, DEVICE, windows.MODEL)
    connection = Connection(Endpoint(HOST, port), Settings("watch", subscriptions=(results,)), received)
    running = asyncio.create_task(connection.run())
    await connection.ready()
    start = time.monotonic()
    for number in range(round(seconds * RATE)):
        await asyncio.sleep(max(0.0, start + number / RATE - time.monotonic()))
        payload = encode_observation(Observation(held[number % len(held)], seq=number), Format.CBOR)
        sent.append((time.monotonic(), len(payload)))
        connection.publish([Publish(topics.data(SITE, DEVICE, STREAM), payload)])
    await asyncio.sleep(DRAIN)
    await connection.close()
    await running
    return [
        trace.Sample(t=at - start, size=size, took=came.get(number, float("inf")) - at)
        for number, (at, size) in enumerate(sent)
    ]
