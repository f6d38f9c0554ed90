"""What a bridge is as a process: its signals, its garbage collector, the line that says it serves."""

from __future__ import annotations

import gc
import json
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


def on_stop(loop: asyncio.AbstractEventLoop, ask: Callable[[], object]) -> None:
    """Ask at SIGTERM and SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask)


def on_hang_up(loop: asyncio.AbstractEventLoop, ask: Callable[[], None]) -> None:
    """Ask at each SIGHUP; the loop's own handler would bring back the deadly default when the loop closes."""
    if not hasattr(signal, "SIGHUP"):
        return

    def hung_up(*_: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(ask)

    signal.signal(signal.SIGHUP, hung_up)


def ready(urls: dict[str, str | None]) -> None:
    """Say where we serve."""
    _spare_the_collector()
    sys.stdout.write(f"ready {json.dumps({name: found for name, found in urls.items() if found})}\n")
    sys.stdout.flush()


def _spare_the_collector() -> None:
    """What was made until now lives as long as we do: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
