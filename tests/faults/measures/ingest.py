"""What durability costs at the agent's door: group commit against one commit a reading, and against no durability.

A reading is one row of 6 float32, handed over by itself; ten streams hand over by turns, each with its times on a grid
of 50 Hz (the clock is injected: they come as fast as they are taken). It counts once it is accepted: the future of
`Keeper.append` is done. A source goes on while its last readings wait for their commit, as the real ones do.

- *group*: the agent's keeper on its outbox, as it is (WAL, FULL, commits of what has gathered).
- *undurable*: the same with `PRAGMA synchronous = OFF`: nothing is ever synced.
- *single*: the same outbox, one reading a FULL commit, called directly: no event loop, no second thread. That favours
  this rival; *alone* is the same through the keeper, each reading handed over when the one before is accepted.

All write to one disk, in interleaved rounds; afterwards each outbox is asked whether it holds every reading.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import numpy as np

from bridge.store.outbox import Append, Limits, Outbox
from edge_agent.app import App
from edge_agent.config import Agent
from edge_agent.fake import FakeUplink
from tests.benchmarks.rows import Row, ratios, row, spread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bridge.messages import Rows
    from edge_agent.keeper import Keeper

log = logging.getLogger(__name__)

STREAMS, CHANNELS, HZ, PER_MESSAGE = 10, 6, 50, 25
FULL, OFF = 2, 0  # values of PRAGMA synchronous
GROUPED, SINGLY, LONELY = 204_800, 2_000, 1_000  # readings of a run
AHEAD = 512  # readings of a stream handed over before its earlier ones are awaited; the keeper bounds them all
COMMIT_WAIT = 0.02  # the agent's default
ROUNDS = 7
BEGAN = 1_700_000_000.0  # seconds since 1970
MORE, SHARE = 20.0, 0.7  # the bounds asked for


class NotDurableError(RuntimeError):
    """A reading was accepted and is not there, or the file was not opened as said: the figures mean nothing."""


def measure(folder: Path, *, rounds: int = ROUNDS) -> list[Row]:
    """Readings a second, all ways of one round after the other.

    Args:
        folder: on the disk to measure; files are made and removed.
        rounds: interleaved runs of each.

    Raises:
        NotDurableError: an outbox does not hold what it accepted.
    """
    rates: dict[str, list[float]] = {"group": [], "undurable": [], "single": [], "alone": []}
    gc.collect()
    gc.freeze()  # what the caller holds is not gone through at each collection of ours
    try:
        for number in range(rounds):
            rates["group"].append(asyncio.run(_keeper(folder / f"group-{number}.db", FULL)))
            rates["undurable"].append(asyncio.run(_keeper(folder / f"undurable-{number}.db", OFF)))
            rates["single"].append(_single(folder / f"single-{number}.db"))
            rates["alone"].append(asyncio.run(_alone(folder / f"alone-{number}.db")))
    finally:
        gc.unfreeze()
    return _rows(rates)


def _rows(rates: dict[str, list[float]]) -> list[Row]:
    said = {name: f"{spread(figures).median:,.0f}/s" for name, figures in rates.items()}
    alone = f"{spread(ratios(rates['group'], rates['alone'])).median:.0f} ×"
    return [
        row(
            "ingest-commits", "durable ingest with group commit, of one FULL commit a reading",
            ratios(rates["group"], rates["single"]), "at least", MORE,
            note=f"{said['group']}, {said['single']}; {alone} of one by one through the same path, {said['alone']}",
            raw=rates,
        ),
        row(
            "ingest-durable", "durable ingest, of the same path without durability",
            ratios(rates["group"], rates["undurable"]), "at least", SHARE,
            note=f"{said['group']}, synchronous = OFF {said['undurable']}",
        ),
    ]  # fmt: skip


def _readings() -> Rows:
    """Rows of one reading each, shape (readings, 1, channels): used again and again, so that making them costs none."""
    return np.random.default_rng(0).normal(size=(1_024, 1, CHANNELS)).astype(np.float32)


def _sync(box: Outbox, synchronous: int) -> None:
    if synchronous != FULL:
        box._db.execute(f"PRAGMA synchronous = {synchronous:d}")
    found = box._db.execute("PRAGMA synchronous").fetchone()[0]
    if found != synchronous:
        raise NotDurableError(f"PRAGMA synchronous is {found}, not {synchronous}")


def _close(box: Outbox, path: Path, accepted: int) -> None:
    held = box.rows()
    box.close()
    for part in path.parent.glob(f"{path.name}*"):
        part.unlink()
    if held != accepted:
        raise NotDurableError(f"{accepted} readings accepted, {held} held")


@asynccontextmanager
async def _kept(path: Path, synchronous: int, commit_wait: float) -> AsyncIterator[tuple[Keeper, list[int]]]:
    """An agent's keeper at work, and its series."""
    agent = Agent(site="plant", device="press-1", url="mqtt://127.0.0.1", commit_wait=commit_wait)
    keeper = App(agent, [], store=path, uplink=FakeUplink()).keeper
    await keeper.open()
    await keeper.call(lambda: _sync(keeper.box, synchronous))
    series = await keeper.call(lambda: [keeper.box.begin(f"s{n}", "e").id for n in range(STREAMS)])
    running = asyncio.create_task(keeper.run())
    try:
        yield keeper, series
    finally:
        running.cancel()
        await asyncio.wait([running])


async def _keeper(path: Path, synchronous: int) -> float:
    readings = _readings()
    async with _kept(path, synchronous, COMMIT_WAIT) as (keeper, series):
        begun = time.perf_counter()
        counts = await asyncio.gather(*(_hand_over(keeper, one, readings) for one in series))
        seconds = time.perf_counter() - begun
    await keeper.call(lambda: _close(keeper.box, path, sum(counts)))
    return sum(counts) / seconds


async def _hand_over(keeper: Keeper, series: int, readings: Rows) -> int:
    """One stream's readings, one by one, as fast as they are taken; how many were accepted."""
    accepted = 0
    waiting: list[asyncio.Future[int]] = []
    for first in range(0, GROUPED // STREAMS, AHEAD):
        before, waiting = waiting, []
        for number in range(first, first + AHEAD):
            values = readings[number % len(readings)]
            waiting.append(await keeper.append(Append(series, values, BEGAN + number / HZ, 1 / HZ, align=PER_MESSAGE)))
        accepted += await _accepted(before)
    return accepted + await _accepted(waiting)


async def _accepted(waiting: list[asyncio.Future[int]]) -> int:
    if not waiting:
        return 0
    last = await waiting[-1]
    if [future.result() for future in waiting] != list(range(last + 1 - len(waiting), last + 1)):
        raise NotDurableError("readings were not numbered in order")
    return len(waiting)


async def _alone(path: Path) -> float:
    readings = _readings()
    async with _kept(path, FULL, 0.0) as (keeper, series):
        begun = time.perf_counter()
        for number in range(LONELY):
            turn, stream = divmod(number, STREAMS)
            values = readings[number % len(readings)]
            append = Append(series[stream], values, BEGAN + turn / HZ, 1 / HZ, align=PER_MESSAGE)
            await (await keeper.append(append))
        seconds = time.perf_counter() - begun
    await keeper.call(lambda: _close(keeper.box, path, LONELY))
    return LONELY / seconds


def _single(path: Path) -> float:
    readings, box = _readings(), Outbox(path, Limits(), tell=log.error)
    _sync(box, FULL)
    series = [box.begin(f"s{n}", "e").id for n in range(STREAMS)]
    begun = time.perf_counter()
    for number in range(SINGLY):
        turn, stream = divmod(number, STREAMS)
        values = readings[number % len(readings)]
        box.apply([Append(series[stream], values, BEGAN + turn / HZ, 1 / HZ, align=PER_MESSAGE)], BEGAN)
    seconds = time.perf_counter() - begun
    _close(box, path, SINGLY)
    return SINGLY / seconds
