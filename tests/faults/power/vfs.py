"""SQLite's door to the simulated disk: does as `os_unix.c` does, above all which folders it syncs and when.

From there: a WAL or rollback journal opened so that it may be made has its folder synced with its own first sync, new
or not (`UNIXFILE_DIRSYNC`); a database file has not; a deletion syncs the folder where SQLite asks for it. The device
says that it overwrites safely when power fails, as the unix VFS says of every device by default. On ext4, under strace,
SQLite 3.40.1 made the same calls with the same offsets and sizes.
"""

from __future__ import annotations

import itertools
import posixpath
from typing import TYPE_CHECKING

import apsw

if TYPE_CHECKING:
    from random import Random

    from tests.faults.power.disk import Disk

_NUMBERS = itertools.count()


class File:
    """An open file. Nobody else has the disk, so a lock is always had."""

    def __init__(self, disk: Disk, path: str, number: int, *, sync_folder: bool, transient: bool) -> None:
        self._disk = disk
        self._path = path
        self._number = number
        self._sync_folder = sync_folder
        self._transient = transient

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 # SQLite's name, as are those below
        content = self._disk.contents[self._number]
        assert content is not None
        return bytes(content[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.write(self._number, bytes(data), offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._disk.resize(self._number, size)

    def xSync(self, _flags: int) -> None:  # noqa: N802
        self._disk.sync(self._number)
        if self._sync_folder:
            self._disk.sync_folder(posixpath.dirname(self._path))
            self._sync_folder = False

    def xFileSize(self) -> int:  # noqa: N802
        content = self._disk.contents[self._number]
        assert content is not None
        return len(content)

    def xClose(self) -> None:  # noqa: N802
        if self._transient:
            self._disk.unlink(self._path)
            self._transient = False

    def xLock(self, _level: int) -> None:  # noqa: N802
        return

    def xUnlock(self, _level: int) -> None:  # noqa: N802
        return

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, _operation: int, _pointer: int) -> bool:  # noqa: N802
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        return 4096

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE


class PowerVfs(apsw.VFS):
    """A VFS for one disk. `unregister` it when done.

    It is the default until then, because that is whom SQLite asks for a seed: what chance has comes from the dice.
    """

    def __init__(self, disk: Disk, dice: Random) -> None:
        self.name = f"power-{next(_NUMBERS)}"
        self._disk = disk
        self._dice = dice
        super().__init__(self.name, "", makedefault=True)
        apsw.randomness(0)  # forget the seed had before

    def xRandomness(self, count: int) -> bytes:  # noqa: N802
        return self._dice.randbytes(count)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> File:  # type: ignore[override] # noqa: N802 # any object with these methods will do
        assert name is not None, "a temporary file: those belong into memory here"
        path = name if isinstance(name, str) else name.filename()
        made = not self._disk.exists(path)
        if made and not flags[0] & apsw.SQLITE_OPEN_CREATE:
            raise apsw.CantOpenError(path)
        number = self._disk.make(path) if made else self._disk.number(path)
        if self._disk.contents[number] is None:
            raise apsw.CantOpenError(path)
        logs = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL
        return File(
            self._disk,
            path,
            number,
            sync_folder=bool(flags[0] & logs and flags[0] & apsw.SQLITE_OPEN_CREATE),
            transient=bool(flags[0] & apsw.SQLITE_OPEN_DELETEONCLOSE),
        )

    def xAccess(self, pathname: str, _flags: int) -> bool:  # noqa: N802
        """Whether it is there; an empty journal counts as none, as in `unixAccess`."""
        return self._disk.exists(pathname) and self._disk.content(pathname) != bytearray()

    def xDelete(self, filename: str, sync_folder: bool) -> None:  # noqa: N802
        if not self._disk.exists(filename):
            raise apsw.exception_for(apsw.SQLITE_IOERR | (23 << 8))  # SQLITE_IOERR_DELETE_NOENT
        self._disk.unlink(filename)
        if sync_folder:
            self._disk.sync_folder(posixpath.dirname(filename))

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name
