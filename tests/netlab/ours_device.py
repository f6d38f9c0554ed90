"""The device of `ours`: the sensor's program, with the edge agent in it. The argument is a `Task`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from typing import TYPE_CHECKING

import numpy as np

from edge_agent import EdgeAgent
from tests.netlab import traffic
from tests.netlab.log import Log
from tests.netlab.told import Told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.link import Estimator
    from bridge.messages import Rows
    from edge_agent import Feed
    from tests.netlab.traffic import Task


class Ear(logging.Handler):
    """Hears the agent's log in the program that it is part of."""

    def __init__(self, told: Told) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        self._told.take(self.format(record) + "\n")


def rows_of(payload: bytes) -> Rows:
    """The rows of a message as a sensor's library gives them."""
    return np.array(json.loads(payload)["values"], dtype=np.float32)


async def feed(task: Task, messages: Sequence[Rows], wrist: Feed, start: float) -> None:
    """Hands over on time, whatever became of earlier messages."""
    accepted = []
    with Log(task.path("sent")) as sent:
        for number, rows in enumerate(messages):
            await asyncio.sleep(traffic.until(start + number / task.rate))
            sent.note(number)
            accepted.append(wrist.put(rows))
    await asyncio.gather(*accepted)


async def run(task: Task, estimator: Estimator | None = None) -> None:
    """Hand over all messages, and leave when they are receipted."""
    messages = [rows_of(payload) for payload in traffic.payloads(task)]
    connected = asyncio.Event()
    with Told(task, connected.set) as told:
        logging.basicConfig(level=logging.INFO, handlers=[Ear(told)])
        logging.getLogger("edge_agent").setLevel(logging.DEBUG)
        async with EdgeAgent.load(task.path("edge_agent.toml"), drain=task.drain, estimator=estimator) as agent:
            task.path("agent.pid").write_text(str(os.getpid()))
            await connected.wait()
            traffic.say_ready()
            start = await asyncio.to_thread(traffic.wait_go)
            task.path("start").write_text(str(start))
            await feed(task, messages, agent.stream("wrist"), start)


if __name__ == "__main__":
    asyncio.run(run(traffic.task()))
