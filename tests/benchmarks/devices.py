"""10,000 devices against 100: throughput, and memory that a device costs.

Row streams write more with many devices: what a device's unfinished window needs goes to the disk, and with 100 devices
several messages of a device meet in one turn, of which all but the last are void before they are written.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from tests.benchmarks import proc, work
from tests.benchmarks.rows import Row, ratios, row
from tests.benchmarks.stand import OURS, Stand

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.rows import Plan
    from tests.benchmarks.task import Told

FEW, MANY = 100, 10_000
LEAST = 1.5  # seconds of a run, so that each of the many has sent


def measure(plan: Plan, folder: Path, *, series: bool) -> list[Row]:
    """Alternating runs on one bridge; memory is that after the first run with many less that before it.

    What goes first changes with each round, so that a machine that becomes faster or slower favours neither.
    """
    name = "devices-rows" if series else "devices-whole"
    kind = f'windows = "{"rows" if series else "whole"}"'
    own = work.WINDOW_BYTES if series else 0  # a bridge holds nothing of a whole window once it is answered
    few: list[Told] = []
    many: list[Told] = []
    seconds = max(plan.seconds, LEAST)
    disk: dict[int, list[float]] = {FEW: [], MANY: []}
    with Stand(OURS, folder / name) as stand:
        sent = stand.run(seconds=seconds, devices=FEW, series=series).sent
        while not series and sent < plan.fill:
            sent += stand.run(seconds=seconds, warm=0.1, devices=FEW).sent
        memory: list[int] = []
        for number in range(plan.device_rounds):
            both = [(FEW, few), (MANY, many)]
            for devices, runs in both if number % 2 == 0 else reversed(both):
                before = proc.written_bytes(stand.bridge.pid)
                runs.append(stand.run(seconds=seconds, devices=devices, series=series))
                disk[devices].append((proc.written_bytes(stand.bridge.pid) - before) / runs[-1].answered)
            memory = memory or [few[0].rss["bridge"][-1], many[0].rss["bridge"][-1]]
    a_device = (memory[1] - memory[0]) / (MANY - FEW) - own
    rate = ratios([told.rate for told in many], [told.rate for told in few])
    raw = {"few": [told.rate for told in few], "many": [told.rate for told in many], "disk": disk}
    written = "".join(f", {statistics.median(disk[n]):,.0f} B" for n in (FEW, MANY)).removeprefix(", ")
    note = f"{few[0].rate:,.0f}/s with {FEW}, {many[0].rate:,.0f}/s with {MANY:,} (first round)"
    beyond = " beyond its window's" if series else ""
    return [
        row(name, f"10,000 devices' throughput, of 100's; {kind}", rate, "at least", 0.9,
            note=f"{note}; written to disk a Result: {written}" if series else note, raw=raw),
        row(f"{name}-memory", f"bytes a device{beyond}; {kind}", [a_device], "at most", 4_096, unit="B",
            note=f"resident {memory[0] / 2**20:.1f} → {memory[1] / 2**20:.1f} MiB"),
    ]  # fmt: skip
