"""The engine alone, many runs with 50 shapes: `python -m tests.benchmarks.soak RUNS`, memory as JSON on stdout."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bridge.catalog import Catalog, default_directory
from bridge.runtime.load import load
from tests.benchmarks import proc, work
from tests.benchmarks.rows import Row, row
from tests.benchmarks.stand import ROOT

if TYPE_CHECKING:
    from tests.benchmarks.rows import Plan

SHAPES = 50
LOOKS = 100
DEADLINE = 600.0  # seconds


class Memory(msgspec.Struct):
    """Resident bytes: after loading and warm-up, the most, and at the end."""

    loaded: int
    most: int
    end: int


def measure(plan: Plan) -> list[Row]:
    """In a process of its own; BENCH_SOAK_RUNS overrides the mode's number of runs."""
    runs = int(os.environ.get("BENCH_SOAK_RUNS", plan.soak))
    said = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.soak", str(runs)], stdout=subprocess.PIPE, cwd=ROOT, check=True,
        timeout=DEADLINE,
    ).stdout  # fmt: skip
    memory = msgspec.json.decode(said, type=Memory)
    note = f"{memory.loaded / 2**20:.1f} MiB loaded and warm, most {memory.most / 2**20:.1f}"
    ratio = memory.most / memory.loaded
    measured = f"memory over {runs:,} runs with {SHAPES} shapes"
    return [row("soak", measured, [ratio], "at most", 1.05, note=note, raw=msgspec.to_builtins(memory))]


def main() -> None:
    """Run and look."""
    runs, dice = int(sys.argv[1]), random.Random(1)
    manifest = Catalog(default_directory())[work.MODEL]
    engine = load(manifest, manifest.for_tier("bridge"))
    windows = np.random.default_rng(1).standard_normal((SHAPES, work.ROWS, work.CHANNELS), np.float32)
    loaded = most = proc.rss_bytes(os.getpid())
    for i in range(runs):
        engine.run(windows[: dice.randint(1, SHAPES)])
        if i % max(1, runs // LOOKS) == 0:
            most = max(most, proc.rss_bytes(os.getpid()))
    end = proc.rss_bytes(os.getpid())
    sys.stdout.buffer.write(msgspec.json.encode(Memory(loaded, max(most, end), end)))


if __name__ == "__main__":
    main()
