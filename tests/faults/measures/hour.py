"""One device with ten streams, its recording, and the outbox as an agent leaves it that was cut off for an hour."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from bridge.store.outbox import Append, Limits, Outbox, Release
from edge_agent.sources.replay import named
from tests.support.fleet import recordings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge.messages import Rows

SITE, DEVICE = "plant", "press-1"
STREAMS = tuple(f"s{n}" for n in range(10))
HZ, PER_MESSAGE = 50, 25
HOUR = 3_600 * HZ  # rows of a stream: the backlog, and where the live rows begin
LIVE = 900 * HZ  # rows of a stream that the recording still holds then: more than a run needs
HAND_OVER = (2, 3)  # rows that the source hands over every 50 ms, so rows of a blob
AT_ONCE = 4_000  # appends a commit while filling: an hour in seconds
AGENT = """
[agent]
site = "{site}"
device = "{device}"
url = "mqtt://127.0.0.1:{port}"
"""
STREAM = """
[[streams]]
name = "{name}"
source = "replay"
files = ["{file}"]
rate = {rate}
rows_per_message = {pack}
confirm = true
"""


class DamagedError(RuntimeError):
    """The outbox just filled is said to be broken."""


def record(path: Path) -> None:
    """A recording that goes on for longer than a run: held-out people, over and over; float32 (rows, 6)."""
    once = np.concatenate(recordings())
    np.savez(path, values=np.resize(once, (HOUR + LIVE, once.shape[1])))


def agent_toml(recording: Path, port: int) -> str:
    """An agent that replays the recording in its own time on all streams, and confirms what is on disk."""
    streams = (STREAM.format(name=name, file=recording, rate=HZ, pack=PER_MESSAGE) for name in STREAMS)
    return AGENT.format(site=SITE, device=DEVICE, port=port) + "".join(streams)


def store(folder: Path) -> Path:
    """The agent's outbox below its folder."""
    return folder / "state" / f"agent-{SITE}-{DEVICE}.db"


def fill(folder: Path, recording: Path, *, kept: bool) -> None:
    """An outbox whose agent has accepted an hour of the recording until now.

    Args:
        folder: of the agent.
        recording: from `record`.
        kept: nothing of it was receipted; else all was.
    """
    box = Outbox(store(folder), Limits(), tell=_damaged)
    with np.load(recording) as file:
        values = np.asarray(file["values"][:HOUR], dtype=np.float32)
    _, epoch = next(named([recording], box.store))
    series = [box.begin(name, epoch).id for name in STREAMS]
    began = time.time() - HOUR / HZ
    if kept:
        appends = _handed_over(series, values, began)
        while some := list(islice(appends, AT_ONCE)):
            box.apply(some, some[-1].t or began)
    else:
        box.apply([Append(one, values[-1:], began, 1 / HZ, HOUR - 1) for one in series], began)
        box.apply([Release(one, 0, HOUR - 1) for one in series], began)
    box.close()


def left(folder: Path) -> int:
    """Rows of the backlog that the agent still keeps."""
    box = Outbox(store(folder), Limits(), tell=_damaged)
    found = sum(
        min(last, HOUR - 1) - first + 1 for one in box.series() for first, last in box.kept(one.id) if first < HOUR
    )
    box.close()
    return found


def _handed_over(series: list[int], values: Rows, began: float) -> Iterator[Append]:
    first, turn = 0, 0
    while first < HOUR:
        end = min(HOUR, first + HAND_OVER[turn % 2])
        for one in series:
            yield Append(one, values[first:end], began + first / HZ, 1 / HZ, align=PER_MESSAGE)
        first, turn = end, turn + 1


def _damaged(what: str) -> None:
    raise DamagedError(what)
