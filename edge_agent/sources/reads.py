"""What a file descriptor gives, as it comes: by the event loop where it can watch it, else by a thread."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = logging.getLogger(__name__)

READ = 65_536


def reads(descriptor: int) -> AsyncIterator[bytes]:
    """Bytes as they come; empty at the end, once. Nothing is read ahead of whoever takes them but by the thread."""
    loop = asyncio.get_running_loop()
    return (_watched if _can_watch(loop, descriptor) else _by_thread)(loop, descriptor)


def _can_watch(loop: asyncio.AbstractEventLoop, descriptor: int) -> bool:
    """Pipes, sockets and terminals, but no files (epoll_ctl(2): EPERM)."""
    try:
        loop.add_reader(descriptor, lambda: None)
    except (OSError, NotImplementedError):
        return False
    loop.remove_reader(descriptor)
    return True


async def _watched(loop: asyncio.AbstractEventLoop, descriptor: int) -> AsyncIterator[bytes]:
    watch = _Watch(loop, descriptor)
    try:
        data = b"?"
        while data:
            data = await watch.next()
            yield data
    finally:
        watch.stop()


class _Watch:
    """Reads in the very call in which the event loop tells that something came, if somebody waits for it.

    The loop is asked to tell once and not for each reading; it is told to be silent only while nobody waits.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
        self._loop, self._descriptor = loop, descriptor
        self._wanted: asyncio.Future[bytes] | None = None
        self._watches = False

    async def next(self) -> bytes:
        """What comes next."""
        self._wanted = self._loop.create_future()
        if not self._watches:
            self._loop.add_reader(self._descriptor, self._come)
            self._watches = True
        return await self._wanted

    def stop(self) -> None:
        """Watches no more."""
        if self._watches:
            self._loop.remove_reader(self._descriptor)
            self._watches = False

    def _come(self) -> None:
        if self._wanted is None or self._wanted.done():
            self.stop()
            return
        try:
            self._wanted.set_result(_read(self._descriptor))
        except BlockingIOError:  # somebody else was faster, or nothing came after all
            return


async def _by_thread(loop: asyncio.AbstractEventLoop, descriptor: int) -> AsyncIterator[bytes]:
    queue: asyncio.Queue[bytes] = asyncio.Queue(4)

    def pump() -> None:  # the end of the agent does not wait for it
        data = b"?"
        while data:
            data = _read(descriptor)
            with suppress(RuntimeError, asyncio.CancelledError):  # the loop is gone, nobody reads
                asyncio.run_coroutine_threadsafe(queue.put(data), loop).result()

    threading.Thread(target=pump, name="lines", daemon=True).start()
    data = b"?"
    while data:
        data = await queue.get()
        yield data


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, READ)
    except BlockingIOError:
        raise
    except OSError as why:
        log.warning("cannot read: %s", why)
        return b""
