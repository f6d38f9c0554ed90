"""A recording as if it came from a sensor now: in its own time, faster, or as fast as it goes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import numpy as np

from bridge.errors import ConfigError
from bridge.wire.fields import MAX_TIME
from edge_agent.sampler import Chunk, split
from edge_agent.sources.recording import Block, read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

log = logging.getLogger("edge_agent")

RATE = 50.0  # rows a second, where neither file nor settings tell
TICK = 0.05  # seconds between two hand-overs
A_CLOCK = 1e8  # a column t that begins later than this (1973) is a clock's and kept; else it counts from now


class Replay:
    """Chunks of one recorded file.

    Args:
        path: the file.
        columns: csv columns to take.
        rate: rows a second; None: what the file tells, else 50.
        speed: 10 is ten times real time, 0 as fast as possible.
        start: rows to leave out at the beginning: those were accepted before.

    Raises:
        ConfigError: the file cannot be used; from `chunks` too, for what is found later.
    """

    def __init__(
        self, path: Path, *, columns: Sequence[str] = (), rate: float | None = None, speed: float = 1.0, start: int = 0
    ) -> None:
        self._path = path
        blocks, told = read(path, columns)
        self._blocks = blocks
        self._first: Block | None = next(blocks, None)
        self._rate = rate or told
        self._speed = speed
        self._start = start

    @property
    def empty(self) -> bool:
        """The file has no row."""
        return self._first is None

    async def chunks(self, clock: Callable[[], float], mono: Callable[[], float]) -> AsyncIterator[Chunk]:
        """Chunks, each when it is due.

        Args:
            clock: seconds since 1970.
            mono: monotonic seconds.
        """
        dt = self._dt()
        row, skip = 0, 0
        line: _Timeline | None = None
        block = self._first
        while block is not None:
            rows = len(block.values)
            times = np.arange(row, row + rows, dtype=np.float64) * np.float64(dt) if block.ts is None else block.ts
            origin = 0.0 if block.ts is None else float(times[0])
            line = line or _Timeline(origin, self._speed, keep=origin > A_CLOCK)
            behind = max(0, min(rows, self._start - row))  # accepted in an earlier life of the agent
            if behind < rows:
                line.begin(float(times[behind]), clock(), mono())
                stamps = line.stamps(times)
                self._check(stamps[behind:], row + behind)
                async for first, last in _paced(behind, rows, line.due(times), mono):
                    for chunk in split(block.values[first:last], stamps[first:last], dt):
                        skip += chunk.skip
                        if len(chunk.values):
                            yield Chunk(chunk.values, chunk.t, chunk.dt, skip)
                            skip = 0
            row += rows
            block = await asyncio.to_thread(next, self._blocks, None)
        if skip:
            log.warning("%s: its last %d rows are not finite and are left out", self._path, skip)
        if skip == row:
            raise ConfigError(f"{self._path}: none of its {row} rows is finite (float32)")

    def _check(self, stamps: NDArray[np.float64], row: int) -> None:
        """The first of these rows has this number."""
        good = (stamps >= 0.0) & (stamps < MAX_TIME)
        if not good.all():
            bad = int(np.argmin(good))
            says = f"row {row + bad}: t must be seconds, since 1970 or since any moment, not {stamps[bad]:.6g}"
            raise ConfigError(f"{self._path}: {says}; milliseconds are to be divided by 1000")

    def _dt(self) -> float:
        if self._rate:
            return 1.0 / self._rate
        if self._first is not None and self._first.ts is not None and len(self._first.ts) > 1:
            step = float(np.median(np.diff(self._first.ts)))
            if step > 0:
                return step
        return 1.0 / RATE


class _Timeline:
    """When a recorded moment is due, and what time to give it."""

    def __init__(self, origin: float, speed: float, *, keep: bool) -> None:
        self._origin = origin
        self._speed = speed
        self._keep = keep
        self._began: float | None = None
        self._zero = 0.0

    def begin(self, recorded: float, now: float, mono: float) -> None:
        """The first row to hand over was recorded then, and is due now; only the first call counts."""
        if self._began is None:
            elapsed = recorded - self._origin
            self._began = mono - (elapsed / self._speed if self._speed else 0.0)
            self._zero = now - elapsed

    def due(self, times: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Monotonic seconds for each row, never falling; None: at once."""
        if not self._speed or self._began is None:
            return None
        return np.maximum.accumulate(self._began + (times - self._origin) / self._speed)

    def stamps(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Seconds since 1970 for each row."""
        return times if self._keep else self._zero + (times - self._origin)


async def _paced(
    start: int, stop: int, due: NDArray[np.float64] | None, mono: Callable[[], float]
) -> AsyncIterator[tuple[int, int]]:
    """Ranges of rows of a block, each as soon as it is due."""
    while start < stop:
        if due is None:
            yield start, stop
            return
        ready = start + int(np.searchsorted(due[start:stop], mono(), side="right"))
        if ready == start:
            await asyncio.sleep(max(TICK, float(due[start]) - mono()))
        else:
            yield start, ready
            start = ready
            await asyncio.sleep(TICK if start < stop else 0)


def named(paths: Sequence[Path], store: str) -> Iterator[tuple[Path, str]]:
    """Each file with the epoch of its numbering: the same after a restart, another in a new store."""
    for i, path in enumerate(paths):
        stem = "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "_" for c in path.stem)
        yield path, f"{store}.{i}.{stem}"[:64]
