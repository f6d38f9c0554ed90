"""Loads somebody at times, as another user of the same machine would: asks about a slow model in spells.

Questions go to the cloud agents (`cloud`) or to a bridge (`bridge`) until the process is killed. In a spell they come
for as much work as the slow model can do, or half as much again, in turn; between spells nothing comes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
from typing import TYPE_CHECKING

import numpy as np

from bridge import topics
from bridge.messages import Observation
from bridge.mqtt.connection import Connection
from bridge.mqtt.endpoint import Endpoint
from bridge.mqtt.messages import Publish, Settings
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from bridge.wire.offload import Question, encode_question
from tests.support.models import SLOW_CHANNELS, SLOW_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.mqtt.messages import Delivery

MODEL, SITE, DEVICE = "slow", "lab", "neighbour"
QUIET, BUSY, STEP = 8.0, 10.0, 0.25  # s
PATIENCE = 1.5  # s
VALUES = np.ones((SLOW_ROWS, SLOW_CHANNELS), np.float32)


def spells(run: float) -> Iterator[tuple[float, int]]:
    """Pauses, s, and how many questions to ask after each: without end.

    Args:
        run: s that the slow model takes for one.
    """
    for load in itertools.cycle((1.0, 1.5)):
        yield QUIET, 0
        for _ in range(round(BUSY / STEP)):
            yield STEP, max(1, round(load * STEP / run))


def _to_cloud(number: int) -> Publish:
    question = Question(f"load-{number}", MODEL, VALUES, PATIENCE)
    reply_to = topics.reply("loader")
    return Publish(topics.escalate(MODEL), encode_question(question), response_topic=reply_to, expiry=2)


def _to_bridge(number: int) -> Publish:
    payload = encode_observation(Observation(VALUES, seq=number), Format.CBOR)
    return Publish(topics.data(SITE, DEVICE, MODEL), payload)


MAKE = {"cloud": _to_cloud, "bridge": _to_bridge}


async def load(whom: str, host: str, port: int, run: float) -> None:
    """Go on until cancelled."""

    def received(deliveries: list[Delivery]) -> None:
        connection.acknowledge(deliveries)

    settings = Settings("loader", subscriptions=(topics.reply("loader"),), session_expiry=0, clean_start=True)
    connection = Connection(Endpoint(host, port), settings, received)
    running = asyncio.create_task(connection.run())
    await connection.ready()
    numbers = itertools.count()
    for pause, count in spells(run):
        await asyncio.sleep(pause)
        connection.publish([MAKE[whom](next(numbers)) for _ in range(count)])
    await running


def main() -> None:
    """`python -m tests.place.loader cloud|bridge HOST PORT SECONDS_OF_A_RUN`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("whom", choices=MAKE)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("run", type=float)
    asked = parser.parse_args()
    asyncio.run(load(asked.whom, asked.host, asked.port, asked.run))


if __name__ == "__main__":
    main()
