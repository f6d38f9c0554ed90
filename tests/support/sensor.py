"""A device's own program with the edge agent in it, for tests: `python -m tests.support.sensor CONFIG COUNT [between]`.

Row n of its stream is n in each of six channels, handed over two at a time without waiting, n from the number that the
agent gives the first of them, which are -1. Says on stdout which rows were accepted, a range a line, then `left`. With
`between` it ends as by a kill, in the moment when some have left and are not on disk yet.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.store.outbox import Append, Outbox
from edge_agent import EdgeAgent, keeper, one_thread

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


def end_between() -> None:
    """What is sent before it is kept is the last that this process does."""
    keeper.LONE, one_thread.QUICK = 0.0, 1e3  # whatever this disk is
    promise, promised = Outbox.promise, []
    apply = Outbox.apply

    def noted(box: Outbox, append: Append) -> int | None:
        first = promise(box, append)
        if first is not None:
            promised.append(first)
        return first

    def ending(box: Outbox, *args: Any) -> list[int | None]:
        if promised:
            os.kill(os.getpid(), signal.SIGKILL)
        return apply(box, *args)

    Outbox.promise, Outbox.apply = noted, ending  # type: ignore[method-assign,assignment]


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
    if sys.argv[3:] == ["between"]:
        end_between()
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
