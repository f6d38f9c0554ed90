"""Calls that run at once, and no more of them than there are lanes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bridge.catalog import Catalog
from bridge.errors import ModelError
from bridge.runtime import ort
from bridge.runtime.fake import FakeEngine
from bridge.runtime.lane import Lane, Lanes
from bridge.runtime.load import load
from bridge.runtime.providers import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.runtime.port import Engine

NEVER = 0.1  # seconds after which calls that should wait for each other count as waiting
SOON = 20.0  # seconds in which calls that should meet do


class Meeting:
    """Where all runs of an engine meet, once it is open."""

    def __init__(self) -> None:
        self.barrier: threading.Barrier | None = None

    def join(self) -> None:
        if self.barrier is not None:
            self.barrier.wait()


def fake(meeting: Meeting, lanes: int, _patch: pytest.MonkeyPatch) -> Engine:
    def rule(_window: object) -> Sequence[float]:
        meeting.join()
        return 0.0, 1.0

    return FakeEngine(lanes=lanes, rule=rule)


def real(meeting: Meeting, lanes: int, patch: pytest.MonkeyPatch) -> Engine:
    bound_run = ort.bound_run

    def meeting_run(*arguments: Any) -> Callable[[], object]:
        run = bound_run(*arguments)

        def met() -> object:
            meeting.join()
            return run()

        return met

    patch.setattr(ort, "bound_run", meeting_run)
    manifest = Catalog()["activity"]
    return load(manifest, manifest.for_tier("bridge"), max_batch=8, lanes=lanes)


@pytest.fixture(params=[fake, real])
def opened(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int, threading.Barrier], Engine]:
    def open_engine(lanes: int, barrier: threading.Barrier) -> Engine:
        meeting = Meeting()
        engine: Engine = request.param(meeting, lanes, monkeypatch)
        meeting.barrier = barrier
        return engine

    return open_engine


def together(engine: Engine, calls: int) -> list[bool]:
    """Whether each of so many calls, one a thread, met the others."""
    window = np.zeros((engine.rows, engine.channels), np.float32)

    def call(_number: int) -> bool:
        try:
            engine.answers([window])
        except threading.BrokenBarrierError:
            return False
        except ModelError as error:
            if not isinstance(error.__cause__, threading.BrokenBarrierError):
                raise
            return False
        return True

    with ThreadPoolExecutor(calls) as pool:
        return list(pool.map(call, range(calls)))


@pytest.mark.parametrize("lanes", [2, 3])
def test_as_many_calls_as_lanes_run_at_once(opened: Callable[[int, threading.Barrier], Engine], lanes: int) -> None:
    assert together(opened(lanes, threading.Barrier(lanes, timeout=SOON)), lanes) == [True] * lanes


@pytest.mark.parametrize("lanes", [1, 2])
def test_more_calls_wait(opened: Callable[[int, threading.Barrier], Engine], lanes: int) -> None:
    calls = lanes + 1
    assert together(opened(lanes, threading.Barrier(calls, timeout=NEVER)), calls) == [False] * calls


def test_lanes_are_made_when_they_are_needed_and_the_last_is_used_first() -> None:
    manifest, made = Catalog()["activity"], 0
    session = ort.open_session(manifest.folder / "small-int8.onnx", resolve("cpu"), threads=1, spinning=False)

    def make() -> Lane:
        nonlocal made
        made += 1
        return Lane(session, ("window", (2, 128, 6)), ("logits", (2, 7)), bound=True)

    lanes = Lanes(3, make)
    assert made == 0
    first = lanes.take()
    lanes.give(first)
    assert lanes.take() is first
    second = lanes.take()
    assert made == 2
    lanes.give(first)
    lanes.give(second)
    assert lanes.take() is second
    assert lanes.take() is first
    assert made == 2


def test_a_lane_that_cannot_be_made_is_not_lost() -> None:
    def make() -> Lane:
        raise MemoryError

    lanes = Lanes(1, make)
    for _ in range(2):
        with pytest.raises(MemoryError):
            lanes.take()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize(("name", "runs"), [("small-int8", 4000), ("big-int8", 600)])
def test_memory_stays_flat_while_all_lanes_run(name: str, runs: int) -> None:
    """A lane's memory comes with its first use; the lanes together need no more than that."""
    lanes, most = 2, 64
    manifest, rng = Catalog()["activity"], np.random.default_rng(0)
    engine = load(manifest, manifest.variant(name), max_batch=most, lanes=lanes)
    windows = rng.standard_normal((most, 128, 6)).astype(np.float32)
    sizes = rng.choice(rng.choice(np.arange(1, most + 1), 50, replace=False), runs).tolist()

    def run(sizes: Sequence[int]) -> None:
        for size in sizes:
            engine.run(windows[:size])

    with ThreadPoolExecutor(lanes) as pool:
        list(pool.map(run, [[most] * 20] * lanes))
        before = resident_bytes()
        list(pool.map(run, [sizes[i::lanes] for i in range(lanes)]))
    assert resident_bytes() <= 1.05 * before


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096
