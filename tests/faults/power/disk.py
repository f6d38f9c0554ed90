"""A disk in memory that remembers everything asked of it, so that any moment can be the one at which power fails.

What counts as durable is what POSIX promises and no more: the contents and size of a file up to its last `fsync`, a
folder's entries (files made, renamed, deleted, folders made in it) up to the last `fsync` of that folder. Everything
else is *pending*: what of it survives is for `survivors` to decide.
"""

from __future__ import annotations

import errno
import posixpath
from typing import TypeAlias

import msgspec

ROOT = "/power-loss"  # exists on the simulated disk alone


class Write(msgspec.Struct, frozen=True):
    """Bytes written to a file."""

    file: int
    offset: int
    data: bytes


class Resize(msgspec.Struct, frozen=True):
    """A file cut, or filled with zeros, to this size."""

    file: int
    size: int


class Entries(msgspec.Struct, frozen=True):
    """Entries of one folder that change at once: path, and file or None; a rename changes two, `mkdir` makes one."""

    folder: str
    changed: dict[str, int | None]
    mkdir: bool = False


class Sync(msgspec.Struct, frozen=True):
    """`fsync` of a file."""

    file: int


class SyncFolder(msgspec.Struct, frozen=True):
    """`fsync` of a folder."""

    folder: str


Operation: TypeAlias = Write | Resize | Entries | Sync | SyncFolder
Contents: TypeAlias = dict[int, bytearray | None]  # of each file, by number; None for a folder


def put(content: bytearray, data: bytes, offset: int) -> None:
    """Writes into a content, which grows as need be."""
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def resize(content: bytearray, size: int) -> None:
    """Cuts a content, or fills it up with zeros."""
    del content[size:]
    content.extend(bytes(size - len(content)))


class Disk:
    """Files and folders as a program sees them while there is power.

    Args:
        contents: what there is, all of it durable.
        entries: which file a path leads to.

    Attributes:
        log: what was asked, in order.
        syncs: False: every `fsync` is ignored, though it says that it was done.
        folder_syncs: False: that of folders alone.
    """

    def __init__(self, contents: Contents, entries: dict[str, int]) -> None:
        self.contents = contents
        self.entries = entries
        self.log: list[Operation] = []
        self.syncs = self.folder_syncs = True

    @classmethod
    def empty(cls, *folders: str) -> Disk:
        """A disk with the root and these folders."""
        paths = [ROOT, *folders]
        return cls(dict.fromkeys(range(len(paths)), None), {path: number for number, path in enumerate(paths)})

    def exists(self, path: str) -> bool:
        return path in self.entries

    def content(self, path: str) -> bytearray | None:
        """Of a file; None for a folder.

        Raises:
            FileNotFoundError: there is neither.
        """
        return self.contents[self.number(path)]

    def number(self, path: str) -> int:
        try:
            return self.entries[path]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path) from None

    def make(self, path: str, *, folder: bool = False) -> int:
        """A new, empty file or folder.

        Raises:
            FileNotFoundError: its folder is not there.
            FileExistsError: the path is taken.
        """
        above = posixpath.dirname(path)
        self.number(above)
        if path in self.entries:
            raise FileExistsError(errno.EEXIST, "File exists", path)
        number = len(self.contents)
        self.contents[number] = None if folder else bytearray()
        self._enter(Entries(above, {path: number}, mkdir=folder))
        return number

    def rename(self, path: str, to: str) -> None:
        """Within one folder."""
        above = posixpath.dirname(path)
        assert above == posixpath.dirname(to), "no store renames across folders, so this disk cannot"
        self._enter(Entries(above, {path: None, to: self.number(path)}))

    def unlink(self, path: str) -> None:
        self.number(path)
        self._enter(Entries(posixpath.dirname(path), {path: None}))

    def children(self, folder: str) -> list[str]:
        """Names in a folder."""
        self.number(folder)
        return [posixpath.basename(path) for path in self.entries if posixpath.dirname(path) == folder]

    def write(self, file: int, data: bytes, offset: int) -> None:
        put(self._file(file), data, offset)
        self.log.append(Write(file, offset, data))

    def resize(self, file: int, size: int) -> None:
        resize(self._file(file), size)
        self.log.append(Resize(file, size))

    def sync(self, file: int) -> None:
        if self.syncs:
            self.log.append(Sync(file))

    def sync_folder(self, path: str) -> None:
        self.number(path)
        if self.syncs and self.folder_syncs:
            self.log.append(SyncFolder(path))

    def _file(self, number: int) -> bytearray:
        content = self.contents[number]
        assert content is not None, "a folder has no bytes"
        return content

    def _enter(self, change: Entries) -> None:
        for path, file in change.changed.items():
            if file is None:
                del self.entries[path]
            else:
                self.entries[path] = file
        self.log.append(change)
