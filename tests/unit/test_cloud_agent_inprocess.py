"""Engines in worker threads of the cloud agent."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bridge.errors import Refused
from bridge.messages import Answer
from bridge.runtime.fake import FakeEngine
from cloud_agent.engines.inprocess import InProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LANES = 2
ONE = np.zeros((4, 2), np.float32)


class Bench:
    """An agent's engine whose windows all have to be computed at the same time as another."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(LANES, timeout=20)
        busy = FakeEngine(rows=4, channels=2, model="busy", lanes=LANES, max_batch=8, rule=self.rule)
        self.engine = InProcess([FakeEngine(rows=4, channels=2, model="other", max_batch=8), busy])

    def rule(self, _window: object) -> tuple[float, float]:
        self.barrier.wait()
        return 0.0, 1.0


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    bench.barrier.abort()
    bench.engine.close()


async def test_as_many_batches_as_lanes_are_computed_at_once(bench: Bench) -> None:
    found = await asyncio.gather(*(bench.engine.answers("busy", [ONE]) for _ in range(LANES)))
    assert [[outcome.label for outcome in one if isinstance(outcome, Answer)] for one in found] == [["walk"]] * LANES


async def test_windows_go_to_the_engine_as_they_are(bench: Bench) -> None:
    read_only = ONE[::-1]
    read_only.setflags(write=False)
    outcomes = await bench.engine.answers("other", [ONE, read_only])
    assert outcomes[0] == outcomes[1]
    with pytest.raises(Refused, match="4 × 2"):
        await bench.engine.answers("other", [ONE, ONE[:3]])
