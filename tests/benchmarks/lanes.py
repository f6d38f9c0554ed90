"""All cores on one model: threads or processes? `python -m tests.benchmarks.lanes [SECONDS]` prints a table.

Each way keeps as many calls of `answers` under way as it has workers, of windows that lie apart as in the pipeline.
All ways take turns, burst by burst; the best burst counts: what other programs take is not the way's.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import onnx
from onnx import helper, numpy_helper

from bridge.catalog import Catalog, default_directory
from bridge.runtime.load import load
from bridge.runtime.machine import cores
from tests.benchmarks import work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    from bridge.catalog import Manifest, Variant
    from bridge.messages import Rows
    from bridge.runtime.port import Engine

ROUNDS = 25
BURST = 0.06  # seconds
BATCH = 64
WIDTH = 1024


class Way(NamedTuple):
    """How the cores are used: threads of an operator, whether they spin, calls at once, processes."""

    name: str
    threads: int = 1
    spinning: bool = False
    lanes: int = 1
    processes: int = 1


class Job(NamedTuple):
    """A model, and how many windows a call has."""

    manifest: Manifest
    variant: Variant
    batch: int


def ways(here: int) -> list[Way]:
    return [
        Way("1 lane"),
        Way(f"{here} lanes", lanes=here),
        Way(f"1 lane, {here} threads an operator", threads=here),
        Way(f"1 lane, {here} threads an operator, spinning", threads=here, spinning=True),
        Way(f"{here} processes", processes=here),
    ]


def jobs(folder: Path) -> list[Job]:
    shipped = Catalog(default_directory())[work.MODEL]
    wide = _wide(shipped, folder)
    models = [(shipped, shipped.variant(name)) for name in ("small-int8", "big-int8", "big-fp32")]
    return [Job(manifest, variant, size) for manifest, variant in [*models, wide] for size in (1, BATCH)]


def _wide(shipped: Manifest, folder: Path) -> tuple[Manifest, Variant]:
    """A multilayer perceptron with two hidden layers of 1,024, random weights."""
    dice, nodes, weights, last = np.random.default_rng(1), [helper.make_node("Flatten", ["window"], ["h0"])], [], "h0"
    widths = [work.ROWS * work.CHANNELS, WIDTH, WIDTH, len(shipped.output.labels)]
    for i, (before, after) in enumerate(itertools.pairwise(widths), 1):
        made = dice.standard_normal((before, after)).astype(np.float32) / np.float32(before**0.5)
        weights.append(numpy_helper.from_array(made, f"w{i}"))
        final = i == len(widths) - 1
        nodes.append(helper.make_node("MatMul", [last, f"w{i}"], ["logits" if final else f"m{i}"]))
        if not final:
            nodes.append(helper.make_node("Relu", [f"m{i}"], [last := f"h{i}"]))
    number = onnx.TensorProto.FLOAT
    source = helper.make_tensor_value_info("window", number, ["n", work.ROWS, work.CHANNELS])
    target = helper.make_tensor_value_info("logits", number, ["n", widths[-1]])
    made = helper.make_graph(nodes, "wide", [source], [target], weights)
    data = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    (folder / "wide.onnx").write_bytes(data)
    like = shipped.variant("small-fp32")
    variant = msgspec.structs.replace(
        like, name="wide", file="wide.onnx", sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)
    )
    return msgspec.structs.replace(shipped, folder=folder), variant


def _open(job: Job, way: Way) -> Engine:
    return load(job.manifest, job.variant, threads=way.threads, spinning=way.spinning, lanes=way.lanes)


def _windows(batch: int) -> list[Rows]:
    rows = np.random.default_rng(1).standard_normal((work.HOP * batch + work.ROWS, work.CHANNELS)).astype(np.float32)
    return [rows[work.HOP * i :][: work.ROWS] for i in range(batch)]


def _calls(engine: Engine, windows: Sequence[Rows], end: float) -> int:
    """Calls until a time of `time.monotonic`, which all processes share."""
    count = 0
    while time.monotonic() < end:
        engine.answers(windows)
        count += 1
    return count


def _threads(job: Job, way: Way) -> Callable[[float], list[int]]:
    engine, windows = _open(job, way), _windows(job.batch)

    def burst(end: float) -> list[int]:
        counts: list[int] = []
        others = [
            threading.Thread(target=lambda: counts.append(_calls(engine, windows, end))) for _ in range(way.lanes - 1)
        ]
        for other in others:
            other.start()
        counts.append(_calls(engine, windows, end))
        for other in others:
            other.join()
        return counts

    return burst


def _child(pipe: Connection, job: Job, way: Way) -> None:
    engine, windows = _open(job, way), _windows(job.batch)
    pipe.send(None)
    while (end := pipe.recv()) is not None:
        pipe.send(_calls(engine, windows, end))


def _processes(job: Job, way: Way) -> Callable[[float], list[int]]:
    context = multiprocessing.get_context("spawn")
    pipes = []
    for _ in range(way.processes):
        ours, theirs = context.Pipe()
        context.Process(target=_child, args=(theirs, job, way), daemon=True).start()
        pipes.append(ours)
    for pipe in pipes:
        pipe.recv()

    def burst(end: float) -> list[int]:
        for pipe in pipes:
            pipe.send(end if end > 0.0 else None)
        return [pipe.recv() for pipe in pipes] if end > 0.0 else []

    return burst


def rates(job: Job, seconds: float) -> list[tuple[Way, float, float]]:
    """Each way's windows a second and milliseconds a call."""
    all_ways = ways(cores())
    bursts = [(_processes if way.processes > 1 else _threads)(job, way) for way in all_ways]
    found: list[list[float]] = [[] for _ in all_ways]
    for _ in range(ROUNDS):
        for burst, calls in zip(bursts, found, strict=True):
            burst(time.monotonic() + seconds / 10)  # caches fill, and the last one's threads stop spinning
            start = time.monotonic()
            calls.append(sum(burst(start + seconds)) / (time.monotonic() - start))
    for way, burst in zip(all_ways, bursts, strict=True):
        if way.processes > 1:
            burst(0.0)
    return [
        (way, job.batch * max(calls), 1e3 * way.lanes * way.processes / max(calls))
        for way, calls in zip(all_ways, found, strict=True)
    ]


async def handover(job: Job) -> tuple[float, float]:
    """Median seconds of a call of one window on the event loop itself, and in a thread of asyncio's."""
    engine, windows = _open(job, Way("")), _windows(1)
    here, there = [], []
    for _ in range(2_000):
        start = time.perf_counter()
        engine.answers(windows)
        middle = time.perf_counter()
        await asyncio.to_thread(engine.answers, windows)
        here.append(middle - start)
        there.append(time.perf_counter() - middle)
    return statistics.median(here), statistics.median(there)


def main() -> None:
    """Measure and print."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else BURST
    say = sys.stdout.write
    with tempfile.TemporaryDirectory() as folder:
        found = jobs(Path(folder))
        say(f"{cores()} cores; windows/s (ms a call), best of {ROUNDS} bursts of {seconds:g} s\n")
        for job in found:
            say(f"\n{job.variant.name}, {job.batch} a call\n")
            for way, rate, call in rates(job, seconds):
                say(f"  {way.name:<42} {rate:>10,.0f} ({call:.3f})\n")
                sys.stdout.flush()
        inline, thread = asyncio.run(handover(found[0]))
    say(f"\n{found[0].variant.name}, one window: {inline * 1e6:.0f} µs inline, {thread * 1e6:.0f} µs in a thread\n")


if __name__ == "__main__":
    main()
