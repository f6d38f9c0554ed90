"""Resident memory of a run's programs, as Linux tells it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class Memory(msgspec.Struct, frozen=True):
    """Resident memory of a program, KiB: in the middle of the workload, near its end, the peak (VmHWM) until then."""

    middle: int
    end: int
    peak: int


async def watch(pids: Mapping[str, int], middle: float, end: float) -> dict[str, Memory]:
    """Looks at programs twice: at `middle` and at `end`, s on CLOCK_MONOTONIC."""
    await asyncio.sleep(middle - time.monotonic())
    before = {name: resident(pid)[0] for name, pid in pids.items()}
    await asyncio.sleep(end - time.monotonic())
    after = {name: resident(pid) for name, pid in pids.items()}
    return {name: Memory(before[name], *after[name]) for name in pids}


def resident(pid: int) -> tuple[int, int]:
    """VmRSS and VmHWM of a process, KiB (proc_pid_status(5)); zeros if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    told = dict(line.split(":", 1) for line in lines)
    if "VmRSS" not in told:  # a zombie
        return 0, 0
    return int(told["VmRSS"].split()[0]), int(told["VmHWM"].split()[0])
