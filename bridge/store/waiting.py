"""Opening a store while its disk is full: it waits, since whoever makes room does not also start us again."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeVar

from bridge.store.database import Failing, Full

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("bridge.store")

RETRY = 1.0  # seconds after which a disk that refused is tried again
REPEAT = 60  # attempts after which it is told again

_T = TypeVar("_T")


async def until_room(work: Callable[[], _T], stop: asyncio.Event) -> _T | None:
    """What the work returns, which is done in a worker thread; again each second, while the disk has no room for it.

    Without an end: what is on the disk stays, and senders keep what they have until it is acknowledged.

    Args:
        work: opens or reads a store; may be tried again when it failed.
        stop: when set, it is not tried again.

    Returns:
        None if it was stopped before.

    Raises:
        StoreError: what waiting does not help against.
    """
    attempts = 0
    while not stop.is_set():
        try:
            found = await asyncio.to_thread(work)
        except (Full, Failing) as why:
            if attempts % REPEAT == 0:
                log.error("%s; waiting until it can be written, tried again every second", why)  # noqa: TRY400 # the message says it all
            attempts += 1
            await _either(stop, RETRY)
        else:
            if attempts:
                log.warning("the disk takes writes again")
            return found
    return None


async def _either(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
