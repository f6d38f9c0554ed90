"""A device's own program with the edge agent in it, for tests: `python -m tests.support.sensor CONFIG COUNT`.

Row n of its stream is n in each of six channels, handed over two at a time without waiting, n from the number that the
agent gives the first of them, which are -1. Says on stdout which rows were accepted, a range a line, then `left`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import numpy as np

from edge_agent import EdgeAgent

if TYPE_CHECKING:
    from bridge.messages import Rows

AT_ONCE, CHANNELS = 2, 6
DRAIN = 20.0
STREAM = "wrist"


def numbered(first: int) -> Rows:
    """Rows that say their numbers."""
    return np.repeat(np.arange(first, first + AT_ONCE, dtype=np.float32)[:, None], CHANNELS, axis=1)


def say(first: int) -> None:
    sys.stdout.write(f"{first} {first + AT_ONCE - 1}\n")
    sys.stdout.flush()


async def main(config: str, count: int) -> None:
    """Hand over so many pairs of rows."""
    async with EdgeAgent.load(config, drain=DRAIN) as agent:
        wrist = agent.stream(STREAM)
        start = await wrist.put(np.full((AT_ONCE, CHANNELS), -1.0, np.float32))  # says where the numbering stands
        say(start)
        waiting = []
        for n in range(start + AT_ONCE, start + AT_ONCE * count, AT_ONCE):
            accepted = wrist.put(numbered(n))
            accepted.add_done_callback(lambda one: say(one.result()))
            waiting.append(accepted)
            await asyncio.sleep(0.002)
        await asyncio.gather(*waiting)
    sys.stdout.write("left\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
