"""A task that begins in the call that makes it, as those of Python 3.12 can (`eager_start`)."""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType


def begin(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Runs work until it first waits, as its own task; a turn of the loop sooner than `create_task`.

    What it raises is the task's, also if it has ended when this returns.
    """
    loop = asyncio.get_running_loop()
    begun = _Begun(work)
    task = asyncio.Task(begun, loop=loop)
    here = asyncio.current_task()
    if here is not None:
        _leave_task(loop, here)
    _enter_task(loop, task)
    try:
        begun.begin()
    finally:
        _leave_task(loop, task)
        if here is not None:
            _enter_task(loop, here)
    return task


class _Begun(Coroutine[Any, Any, None]):
    """A coroutine whose first step is over before the task makes it: what came of it is told then."""

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = work
        self._waits: Any = None
        self._ended: BaseException | None = None
        self._told = False

    def begin(self) -> None:
        try:
            self._waits = self._work.send(None)
        except (KeyboardInterrupt, SystemExit):
            self._told = True
            raise
        except BaseException as end:  # noqa: BLE001 # StopIteration too: the task raises it
            self._ended = end

    def send(self, value: Any) -> Any:
        if self._told:
            return self._work.send(value)
        self._told = True
        if self._ended is not None:
            raise self._ended
        return self._waits

    def throw(
        self,
        kind: Any,
        value: BaseException | object = None,
        trace: TracebackType | None = None,
    ) -> Any:
        """Cancelled; before it was told, so is what it waits for, as `Task.cancel` does."""
        if not self._told:
            self._told = True
            if self._ended is not None:
                raise self._ended
            if self._waits is not None:
                self._waits._asyncio_future_blocking = False  # noqa: SLF001 # as the task would have done
                self._waits.cancel()
        return self._work.throw(kind, value, trace)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Any:
        return self._work.__await__()
