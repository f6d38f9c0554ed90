"""One thread for what blocks, its results awaited on the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

_T = TypeVar("_T")

QUICK = 0.001  # seconds
PROVEN = 16  # works in a row


class OneThread:
    """Does one thing after the other, in order.

    Args:
        name: of the thread.
        mono: monotonic seconds.
    """

    def __init__(self, name: str, mono: Callable[[], float]) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._mono = mono
        self._busy = 0  # things to be done, or whose result was not taken yet
        self._quick = 0  # things done soon that were, in a row

    @property
    def is_prompt(self) -> bool:
        """Whether `run_soon` does without the thread now, so never gives the event loop a turn."""
        return self._quick >= PROVEN and not self._busy

    def run(self, work: Callable[[], _T]) -> asyncio.Future[_T]:
        """As `loop.run_in_executor`, which links two futures to each other and so takes twice as long."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_T] = loop.create_future()

        def tell(ran: Future[_T]) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._settle, done, ran)

        self._busy += 1
        self._thread.submit(work).add_done_callback(tell)
        return done

    async def run_soon(self, work: Callable[[], _T]) -> _T:
        """As `run`; without the thread, whose start and end are each noticed late, as long as that is quicker.

        That is when the thread is idle and the last `PROVEN` works given here took less than `QUICK` each, as commits
        do where the disk is memory or has a protected cache. One that takes longer sends the next ones to the thread
        again, so the event loop waits for the first of a row of slow ones only.
        """
        began = ended = 0.0

        def timed() -> _T:
            nonlocal began, ended
            began = self._mono()
            done = work()
            ended = self._mono()
            return done

        if self.is_prompt:
            return self.run_here(work)
        self._quick += 1
        try:
            return await self.run(timed)
        finally:
            if not ended or ended - began > QUICK:
                self._quick = 0

    def run_here(self, work: Callable[[], _T]) -> _T:
        """As `run_soon` where `is_prompt`: in the very call."""
        began, ended = self._mono(), 0.0
        self._quick += 1
        try:
            done = work()
            ended = self._mono()
        finally:
            if not ended or ended - began > QUICK:
                self._quick = 0
        return done

    def close(self) -> None:
        """Returns when all is done."""
        self._thread.shutdown()

    def _settle(self, future: asyncio.Future[_T], ran: Future[_T]) -> None:
        """What ran in the thread, to whoever awaits it."""
        self._busy -= 1
        if future.done():  # cancelled
            return
        why = ran.exception()
        if why is None:
            future.set_result(ran.result())
        else:
            future.set_exception(why)
