"""The simulated disk loses what it may and keeps what it must; the driver does as `sqlite3` does."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from bridge.store.database import open_database
from tests.faults.power.disk import ROOT, Disk
from tests.faults.power.driver import stand_in
from tests.faults.power.mount import mounted
from tests.faults.power.survivors import DAMAGES, Device, Platter
from tests.faults.power.vfs import PowerVfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.power.survivors import Damage

BOX = f"{ROOT}/box"
FILE = f"{BOX}/file"


@pytest.fixture
def dice() -> Random:
    return Random(1)


@pytest.fixture
def disk() -> Disk:
    """With a durable file of 1,024 zeros."""
    disk = Disk.empty(BOX)
    disk.write(disk.make(FILE), bytes(1024), 0)
    disk.log.clear()
    return disk


@pytest.fixture
def file(disk: Disk) -> int:
    return disk.number(FILE)


@pytest.fixture
def found(disk: Disk, dice: Random) -> Callable[..., Disk]:
    """What a power loss now leaves."""
    start = Platter(disk)

    def lose(damage: Damage, sector: int = 512, *, ruins: bool = False) -> Disk:
        platter = start.copy()
        platter.follow(disk.log)
        return platter.after(damage, Device(sector, ruins), dice)

    return lose


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_synced_stays(disk: Disk, file: int, found: Callable[..., Disk], damage: Damage) -> None:
    disk.write(file, b"1" * 1024, 0)
    disk.sync(file)
    disk.write(file, b"2" * 300, 100)
    for _ in range(50):
        content = found(damage).content(FILE)
        assert content is not None
        assert content[:100] + content[400:] == b"1" * 724


def test_what_was_not_synced_goes_or_stays_in_order_when_lost(
    disk: Disk, file: int, found: Callable[..., Disk]
) -> None:
    for place in range(3):
        disk.write(file, b"1", place)
    left = {bytes(found("lost").content(FILE) or b"")[:3] for _ in range(100)}
    assert left == {b"\0\0\0", b"1\0\0", b"11\0", b"111"}


def test_writes_survive_in_any_order_when_reordered(disk: Disk, file: int, found: Callable[..., Disk]) -> None:
    for place in range(3):
        disk.write(file, b"1", place)
    left = {bytes(found("reordered").content(FILE) or b"")[:3] for _ in range(200)}
    assert len(left) == 8


@pytest.mark.parametrize("sector", [512, 4096])
def test_a_torn_write_is_torn_at_sectors(disk: Disk, file: int, found: Callable[..., Disk], sector: int) -> None:
    disk.write(file, b"1" * 8192, 0)
    contents = [bytes(found("torn", sector).content(FILE) or b"").ljust(8192, b"\0") for _ in range(50)]
    sectors = [content[edge : edge + sector] for content in contents for edge in range(0, 8192, sector)]
    whole = [one for one in sectors if one in (b"1" * sector, bytes(sector))]
    begun = [one for one in sectors if one.startswith(b"1") and one not in whole and not one.strip(b"1\0")]
    assert set(whole) == {b"1" * sector, bytes(sector)}
    assert begun
    assert len(whole) > len(sectors) / 2
    assert len(whole) + len(begun) < len(sectors)  # the rest is rubbish


@pytest.mark.parametrize("ruins", [False, True])
def test_bytes_beside_a_torn_write_stay_unless_the_device_ruins_them(
    disk: Disk, file: int, found: Callable[..., Disk], ruins: bool
) -> None:
    disk.write(file, b"1" * 100, 700)
    beside = {bytes(content[512:700]) for _ in range(200) if (content := found("torn", ruins=ruins).content(FILE))}
    assert (beside != {bytes(188)}) == ruins


@pytest.mark.parametrize("damage", DAMAGES)
def test_entries_are_durable_once_their_folder_was_synced(
    disk: Disk, file: int, found: Callable[..., Disk], damage: Damage
) -> None:
    disk.rename(FILE, f"{BOX}/other")
    new = disk.make(f"{BOX}/new")
    disk.sync(new)
    disk.sync(file)
    names = {tuple(sorted(found(damage).children(BOX))) for _ in range(50)}
    assert ("file",) in names
    assert ("new", "other") in names
    assert not {("file", "other"), ("file", "new", "other"), ()} & names  # a rename is whole
    disk.sync_folder(BOX)
    disk.unlink(f"{BOX}/new")
    names = {tuple(sorted(found(damage).children(BOX))) for _ in range(50)}
    assert names == {("new", "other"), ("other",)}


def test_what_lies_in_a_folder_that_is_lost_is_lost(disk: Disk, found: Callable[..., Disk]) -> None:
    disk.make(f"{BOX}/sub", folder=True)
    inner = disk.make(f"{BOX}/sub/file")
    disk.write(inner, b"1", 0)
    disk.sync(inner)
    disk.sync_folder(f"{BOX}/sub")
    left = [found("reordered") for _ in range(50)]
    assert {one.exists(f"{BOX}/sub/file") for one in left} == {True, False}
    assert all(one.exists(f"{BOX}/sub") == one.exists(f"{BOX}/sub/file") for one in left)


def test_a_truncation_may_be_lost(disk: Disk, file: int, found: Callable[..., Disk]) -> None:
    disk.resize(file, 10)
    assert {len(found("reordered").content(FILE) or b"") for _ in range(50)} == {10, 1024}
    disk.sync(file)
    assert {len(found("reordered").content(FILE) or b"") for _ in range(50)} == {10}


STATEMENTS: list[tuple[str, tuple[Any, ...]]] = [
    ("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT UNIQUE, c BLOB)", ()),
    ("INSERT INTO t(b, c) VALUES(?, ?)", ("x", b"\0\xff")),
    ("INSERT OR IGNORE INTO t(b) VALUES(?)", ("x",)),
    ("INSERT INTO t(b) VALUES(?1) RETURNING a, ?1", ("y",)),
    ("SELECT a, b, c FROM t ORDER BY a", ()),
    ("UPDATE t SET c = NULL", ()),
    ("UPDATE t SET c = 1.5 WHERE b = 'none'", ()),
    ("DELETE FROM t WHERE a = ? RETURNING b", (1,)),
    ("BEGIN IMMEDIATE", ()),
    ("INSERT INTO t(b) VALUES(?)", ("y",)),
    ("SELECT nonsense", ()),
    ("SELECT ?", ()),
    ("ROLLBACK", ()),
    ("PRAGMA user_version", ()),
]


@pytest.fixture
def both() -> Iterator[list[Any]]:
    """The real thing, and ours."""
    vfs = PowerVfs(Disk.empty(BOX), Random(1))
    opened: list[Any] = []
    ours = stand_in(vfs.name, {}, opened).connect(f"{BOX}/db", timeout=1.0, isolation_level=None)
    yield [sqlite3.connect(":memory:", isolation_level=None), ours]
    ours.close()
    vfs.unregister()


def outcome(connection: Any, sql: str, parameters: tuple[Any, ...]) -> Any:
    try:
        cursor = connection.execute(sql, parameters)
        rows = cursor.fetchall()
    except sqlite3.Error as why:
        return type(why), getattr(why, "sqlite_errorcode", None), connection.in_transaction
    return rows, cursor.rowcount, cursor.fetchone(), connection.in_transaction, connection.total_changes


def test_the_driver_does_as_sqlite3_does(both: list[Any]) -> None:
    for sql, parameters in STATEMENTS:
        real, ours = (outcome(one, sql, parameters) for one in both)
        assert ours == real, sql
    for one in both:
        assert one.execute("INSERT INTO t(a) VALUES(7)").lastrowid == 7
        assert one.executemany("INSERT INTO t(b) VALUES(?)", [("p",), ("q",)]).rowcount == 2
        one.close()
        with pytest.raises(sqlite3.ProgrammingError):
            one.execute("SELECT 1")


def test_the_stores_work_on_the_simulated_disk_alone() -> None:
    disk, path = Disk.empty(), Path(ROOT) / "made" / "by" / "store.db"
    with mounted(disk, {}, Random(1)):
        open_database(path, ["CREATE TABLE t(a)"], version=1, tell=pytest.fail).close()
        assert path.stat().st_size == len(disk.content(str(path)) or b"") > 0
    assert not Path(ROOT).exists()
