"""A device of the cloud's laboratory: hands whole windows to the bridge beside it, hears their Results and the status.

The argument is a `Task`. It says `ready`; at a line `go T` (s on CLOCK_MONOTONIC) it begins; it ends with a `Heard`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec

from bridge import topics
from bridge.messages import Observation
from bridge.mqtt.connection import Connection
from bridge.mqtt.endpoint import Endpoint
from bridge.mqtt.messages import Publish, Settings
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from tests.support.cloud_agents import MODEL, recorded

if TYPE_CHECKING:
    from bridge.mqtt.messages import Delivery

SITE, DEVICE, STREAM, BRIDGE = "lab", "d1", "window", "gw-1"
HOST = "127.0.0.1"
FORM = "application/cbor"
ASKED = " in time, expected "  # in the reason of a Result for which the cloud was asked; `but … in time` if it was not


class Task(msgspec.Struct, frozen=True):
    """What to hand over.

    Attributes:
        port: of the devices' broker.
        windows: how many.
        rate: a second.
        drain: s after the last within which every Result is to come.
    """

    port: int
    windows: int
    rate: float
    drain: float


class Heard(msgspec.Struct, kw_only=True):
    """What came of it.

    Attributes:
        cloud: Results that the cloud gave; it is asked for windows only as long as their deadline allows.
        bridge: Results that the bridge had to give.
        in_vain: of these, the windows that the cloud was asked about.
        status: `cloud` of the bridge's last status.
        counts: of the same.
    """

    cloud: int = 0
    bridge: int = 0
    in_vain: int = 0
    status: dict[str, Any] = {}
    counts: dict[str, int] = {}


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def run(task: Task) -> Heard:
    heard = Heard()

    def received(deliveries: list[Delivery]) -> None:
        connection.acknowledge(deliveries)
        for delivery in deliveries:
            told = json.loads(delivery.payload)
            if delivery.topic == topics.bridge_status(BRIDGE):
                heard.status, heard.counts = told.get("cloud", {}), told.get("counts", {})
            elif told["tier"] == "cloud":
                heard.cloud += 1
            else:
                heard.bridge += 1
                heard.in_vain += ASKED in told["reason"]

    filters = (topics.bridge_status(BRIDGE), topics.result(SITE, DEVICE, MODEL))
    connection = Connection(
        Endpoint(HOST, task.port), Settings("device", subscriptions=filters, session_expiry=0), received
    )
    running = asyncio.create_task(connection.run())
    await connection.ready()
    payloads = [encode_observation(Observation(one), Format.CBOR) for one in recorded(50).values()]
    say("ready")
    start = float((await asyncio.to_thread(sys.stdin.readline)).removeprefix("go "))
    topic = topics.data(SITE, DEVICE, STREAM)
    for n in range(task.windows):
        await asyncio.sleep(start + n / task.rate - time.monotonic())
        connection.publish([Publish(topic, payloads[n % len(payloads)], content_type=FORM)])
    end = time.monotonic() + task.drain
    while heard.cloud + heard.bridge < task.windows and time.monotonic() < end:  # noqa: ASYNC110 # another process's
        await asyncio.sleep(0.02)
    await connection.close()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    return heard


if __name__ == "__main__":
    say(msgspec.json.encode(asyncio.run(run(msgspec.json.decode(sys.argv[1], type=Task)))).decode())
