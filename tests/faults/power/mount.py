"""Makes the stores work on a simulated disk: their `sqlite3`, and what `pathlib` and `os` do to paths below its root.

A call that would get past the simulation finds nothing there: the root does not exist on any real disk.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, contextmanager
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from tests.faults.power.disk import ROOT
from tests.faults.power.driver import Connection, stand_in
from tests.faults.power.vfs import PowerVfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.faults.power.disk import Disk

_HANDLES = 1 << 30  # of simulated folders, above any that the system gives


@contextmanager
def mounted(disk: Disk, forced: Mapping[str, str | int], dice: Random) -> Iterator[None]:
    """Within the block, the stores are on this disk.

    Args:
        disk: where paths below `ROOT` lead.
        forced: pragmas that have this value whatever the stores ask for.
        dice: seeds what SQLite and the stores leave to chance.
    """
    vfs = PowerVfs(disk, Random(dice.random()))
    opened: list[Connection] = []
    try:
        with ExitStack() as patches:
            patches.enter_context(patch("bridge.store.database.sqlite3", stand_in(vfs.name, forced, opened)))
            patches.enter_context(patch("secrets.token_hex", lambda count: dice.randbytes(count).hex()))
            for name, simulated in _calls(disk).items():
                patches.enter_context(patch.object(os, name, _routed(getattr(os, name), simulated)))
            yield
    finally:
        for connection in opened:  # those that a failure left open
            connection.close()
        vfs.unregister()


def _routed(real: Callable[..., Any], simulated: Callable[..., Any]) -> Callable[..., Any]:
    def routed(target: Any, *args: Any, **options: Any) -> Any:
        if isinstance(target, int):
            return (simulated if target >= _HANDLES else real)(target, *args, **options)
        path = os.fspath(target)
        if isinstance(path, str) and (path == ROOT or path.startswith(f"{ROOT}/")):
            return simulated(path, *args, **options)
        return real(target, *args, **options)

    return routed


def _calls(disk: Disk) -> dict[str, Callable[..., Any]]:
    opened: dict[int, str] = {}

    def status(path: str, **_options: Any) -> os.stat_result:
        content = disk.content(path)
        mode = stat.S_IFDIR | 0o755 if content is None else stat.S_IFREG | 0o644
        return os.stat_result((mode, disk.number(path), 1, 1, 0, 0, len(content or b""), 0, 0, 0))

    def open_(path: str, flags: int, *_args: Any, **_options: Any) -> int:
        if flags & os.O_CREAT and not disk.exists(path):
            disk.make(path)
        disk.number(path)
        handle = _HANDLES + len(opened)
        opened[handle] = path
        return handle

    def fsync(handle: int) -> None:
        path = opened[handle]
        if disk.content(path) is None:
            disk.sync_folder(path)
        else:
            disk.sync(disk.number(path))

    def pwrite(handle: int, data: bytes, at: int) -> int:
        disk.write(disk.number(opened[handle]), bytes(data), at)
        return len(data)

    return {
        "stat": status,
        "lstat": status,
        "mkdir": lambda path, *_args, **_options: disk.make(path, folder=True),
        "rename": lambda path, to: disk.rename(path, os.fspath(to)),
        "replace": lambda path, to: disk.rename(path, os.fspath(to)),
        "unlink": lambda path, **_options: disk.unlink(path),
        "listdir": disk.children,
        "open": open_,
        "fsync": fsync,
        "fdatasync": fsync,
        "pread": lambda handle, count, at: bytes((disk.content(opened[handle]) or b"")[at : at + count]),
        "pwrite": pwrite,
        "utime": lambda path, *_args, **_options: disk.number(path),
        "close": lambda handle: None,  # noqa: ARG005 # nothing to give back
    }
