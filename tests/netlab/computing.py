"""What encodings take to compute where each message finds cold caches: `python -m tests.netlab.computing`.

A message of the workload is written, and read as the bridge reads it, each time after other memory has been walked
through; so it is on a link that carries twenty a second, between other programs. `edge_agent.choice.COMPUTING` are
these figures, rounded.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from bridge.messages import Observation
from bridge.wire.data import decode_data
from bridge.wire.observation import encode_observation
from edge_agent.choice import CODINGS
from tests.netlab import recordings
from tests.netlab.traffic import ROWS

if TYPE_CHECKING:
    from edge_agent.choice import Coding

LOOKS = 200
OTHERS = np.zeros(48 << 20, np.uint8)  # bytes walked through: more than the last cache holds
LINE = 64  # bytes


def observation(seed: int) -> Observation:
    """A message of the workload, as the agent sends it."""
    said = json.loads(next(recordings.messages(seed, 1, 0.01)))
    values = np.array(said["values"], np.float32)
    return Observation(values, seq=ROWS * 1_000, epoch="3f0c9a7d2b81", t=1.7e9 + seed / 7, dt=0.01, receipt=True)


def cold(coding: Coding, message: Observation) -> float:
    """Seconds that writing and reading it take, each with cold caches."""
    took = 0.0
    OTHERS[::LINE] += 1
    begin = time.perf_counter()
    payload = encode_observation(message, coding.form, packing=coding.packing, zstd=coding.zstd)
    took += time.perf_counter() - begin
    OTHERS[::LINE] += 1
    begin = time.perf_counter()
    decode_data(payload, coding.form)
    return took + time.perf_counter() - begin


def measure(looks: int = LOOKS) -> dict[str, float]:
    """Median seconds of each encoding, in turns."""
    took: dict[str, list[float]] = {name: [] for name in CODINGS}
    for n in range(looks):
        message = observation(n)
        for name, coding in CODINGS.items():
            took[name].append(cold(coding, message))
    return {name: statistics.median(every) for name, every in took.items()}


def main() -> None:
    """Prints them, the quickest first, and what each takes beyond it."""
    found = measure()
    least = min(found.values())
    for name, seconds in sorted(found.items(), key=lambda one: one[1]):
        sys.stdout.write(f"{name:14} {1e6 * seconds:6.0f} µs {1e6 * (seconds - least):+6.0f} µs\n")


if __name__ == "__main__":
    main()
