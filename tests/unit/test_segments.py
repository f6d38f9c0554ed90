"""Large records beside the database: there when the database speaks of them, gone with them, void before and after."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bridge.errors import StoreError
from bridge.messages import SeriesKey
from bridge.store.conversion import VERSION
from bridge.store.database import Broken, Full, condemn
from bridge.store.journal import MARK, Journal
from bridge.store.records import Changes, SavedRows, SavedSeries
from bridge.store.segments import LARGE, Segments

if TYPE_CHECKING:
    from pathlib import Path

DEVICES = 50
ROWS = 64  # of a message; a turn of all devices is a large record
KEYS = [SeriesKey("s", f"d{number}", "x", "e") for number in range(DEVICES)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def told() -> list[str]:
    return []


def turn(n: int, *, devices: int = DEVICES, hop: int = 1) -> Changes:
    """One message of each device; of a series those of the last `hop` turns are needed."""
    keys, cut = KEYS[:devices], max(0, n + 1 - hop) * ROWS
    values = np.full((ROWS, 6), n, np.float32)
    return Changes(
        rows=[SavedRows(key, n * ROWS, values, float(n), 0.02, "device", "live") for key in keys],
        series=[SavedSeries(key, "m", True, (n + 1) * ROWS, cut) for key in keys],
    )


def held(journal: Journal) -> dict[int, int]:
    """How many devices' rows there are of each turn, and that they are that turn's."""
    found: dict[int, int] = {}
    for rows in journal.load().rows:
        n = rows.first // ROWS
        assert np.array_equal(rows.values, np.full((ROWS, 6), n, np.float32))
        found[n] = found.get(n, 0) + 1
    return found


def files(path: Path) -> list[str]:
    begin = path.name + ".segment-"
    return sorted(one.name.removeprefix(begin) for one in path.parent.iterdir() if one.name.startswith(begin))


def places(path: Path) -> list[str]:
    db = sqlite3.connect(path)
    found = [place for (place,) in db.execute("SELECT body FROM turns WHERE typeof(body) = 'text' ORDER BY n")]
    db.close()
    return found


def test_a_large_record_lies_beside_and_a_small_one_within(path: Path) -> None:
    journal = Journal(path, pytest.fail)
    journal.commit(turn(0))
    journal.commit(turn(1, devices=3, hop=2))
    journal.close()
    (place,) = places(path)
    first, at, size = map(int, place.split(":"))
    assert (first, at) == (1, 0)
    assert size > LARGE
    assert (path.parent / "journal.db.segment-1").stat().st_size == size
    again = Journal(path, pytest.fail)
    assert held(again) == {0: DEVICES, 1: 3}
    again.close()


def test_files_go_with_their_records_and_one_is_used_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.store.index.SLACK", 0)
    monkeypatch.setattr("bridge.store.segments.FULL", 1 << 16)  # a file a record
    monkeypatch.setattr("bridge.store.journal.SETTLES", 1)
    journal = Journal(path, pytest.fail)
    seen: set[int] = set()
    for n in range(40):
        journal.commit(turn(n))
        seen |= {one.stat().st_ino for one in path.parent.glob("journal.db.segment-*")}
        assert len(files(path)) < 8
    assert len(seen) < 10, "each record got a file of its own"
    assert held(journal) == {39: DEVICES}
    journal.close()


def test_what_was_put_and_not_committed_is_void(path: Path) -> None:
    live = path.with_name("live") / path.name
    journal = Journal(live, pytest.fail)
    journal.commit(turn(0))
    record = journal.prepare(turn(1))
    assert record is not None
    journal._segments.put([(2, record.body)])  # killed here
    for one in live.parent.iterdir():
        shutil.copy(one, path.with_name(one.name))
    journal.close()
    path.with_name("journal.db.segment-77").write_bytes(b"of another life")
    path.with_name("journal.db.segment-78").mkdir()  # cannot be removed as a file is
    path.with_name("journal.db.segment-1.bak").write_bytes(b"somebody's")
    again = Journal(path, pytest.fail)
    assert held(again) == {0: DEVICES}
    assert files(path) == ["1", "1.bak", "77", "78"], "reading changed something"
    again.commit(turn(1, hop=2))
    assert files(path) == ["1", "1.bak", "2", "78"]
    assert held(again) == {0: DEVICES, 1: DEVICES}
    again.close()


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
@pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, Full), (errno.EIO, StoreError)])
def test_a_disk_that_refuses_changes_nothing_and_may_be_asked_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, kind: type[StoreError]
) -> None:
    journal = Journal(path, pytest.fail)
    journal.commit(turn(0))
    record = journal.prepare(turn(1, hop=2))
    assert record is not None

    def refuse(*_args: object) -> int:
        raise OSError(code, os.strerror(code))

    for _ in range(3):
        with monkeypatch.context() as refusing:
            refusing.setattr(os, call, refuse)
            with pytest.raises(StoreError, match="cannot be written") as raised:
                journal.write(record)
        assert type(raised.value) is kind
    assert len(files(path)) == 2, "each attempt left a file"
    journal.write(record)
    journal.done(record)
    assert held(journal) == {0: DEVICES, 1: DEVICES}
    journal.close()
    assert held(Journal(path, pytest.fail)) == {0: DEVICES, 1: DEVICES}


def test_a_commit_that_the_database_refuses_leaves_no_more_each_time(path: Path) -> None:
    journal = Journal(path, pytest.fail)
    journal.commit(turn(0))
    record = journal.prepare(turn(1, hop=2))
    assert record is not None
    file, sizes = path.with_name("journal.db.segment-1"), set[int]()
    journal._db.execute("PRAGMA query_only = ON")
    for _ in range(3):
        with pytest.raises(StoreError):
            journal.write(record)
        sizes.add(file.stat().st_size)
    assert len(sizes) == 1
    journal._db.execute("PRAGMA query_only = OFF")
    journal.write(record)
    journal.done(record)
    assert {file.stat().st_size} == sizes
    assert held(journal) == {0: DEVICES, 1: DEVICES}
    journal.close()


def test_a_failed_close_leaves_the_number_to_others(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segments, real = Segments(path), os.close
    segments.put([(1, bytes(LARGE))])

    def refuse(file: int) -> None:
        real(file)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as refusing:
        refusing.setattr(os, "close", refuse)
        segments.close()
    with path.with_name("another").open("wb") as another:
        (place,) = segments.put([(2, bytes([7]) * LARGE)])
        assert not path.with_name("another").stat().st_size, another
    assert isinstance(place, str)
    assert segments.read(place) == bytes([7]) * LARGE
    segments.close()


def test_a_commit_that_was_given_up_takes_no_file_of_the_next(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segments = Segments(path)

    def refuse(_file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as refusing:
        refusing.setattr(os, "fdatasync", refuse)
        with pytest.raises(StoreError):
            segments.put([(2, b"small"), (3, bytes(LARGE))])
    places = []
    for n in (2, 3, 4):
        places += segments.put([(n, bytes([n]) * LARGE)])
        segments.keep()
        segments.drop(1)
    assert [segments.read(str(place))[0] for place in places] == [2, 3, 4]
    segments.close()


def test_a_spare_file_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.store.segments.FULL", LARGE)
    segments = Segments(path)
    for n, size in enumerate((LARGE, 2 * LARGE + 1, LARGE), 1):
        segments.put([(n, bytes(size))])
        segments.keep()
    segments.drop(1)
    assert files(path) == ["2", "3", "spare"]
    path.with_name("journal.db.segment-spare").unlink()
    segments.drop(2)
    assert files(path) == ["3"]
    segments.close()


def test_a_write_ahead_log_that_is_cut_costs_the_newest_records_only(
    path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.store.index.SLACK", 0)
    monkeypatch.setattr("bridge.store.segments.FULL", 1 << 17)
    monkeypatch.setattr("bridge.store.journal.SETTLES", 1 << 18)
    live = path.with_name("live") / path.name
    journal = Journal(live, pytest.fail)
    for n in range(62):
        journal.commit(turn(n, hop=9))
    for one in live.parent.iterdir():
        shutil.copy(one, path.with_name(one.name))
    journal.close()
    path.with_name("journal.db-wal").write_bytes(b"")
    again = Journal(path, told.append)
    saved = again.load()
    assert len(saved.series) == DEVICES
    assert min(one.next_row for one in saved.series) >= 58 * ROWS
    assert "its newest commits are lost" in told[0]
    again.close()


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda file: file.unlink(), "record 2 is damaged: journal.db.segment-2 is gone"),
        (lambda file: os.truncate(file, 70_000), "record 2 is damaged: journal.db.segment-2 ends before it"),
        (flip, "record 2 is damaged: its checksum is wrong"),
        (lambda file: shutil.copy(file.with_name("journal.db.segment-1"), file), "record 2 is damaged"),
    ],
)
def test_a_damaged_file_is_told_and_the_others_are_recovered(
    path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch, harm: object, says: str
) -> None:
    monkeypatch.setattr("bridge.store.segments.FULL", 1)
    journal = Journal(path, pytest.fail)
    for n in range(4):
        journal.commit(turn(n, hop=9))
    journal.close()
    assert callable(harm)
    harm(path.with_name("journal.db.segment-2"))
    again = Journal(path, told.append)
    assert held(again) == {2: DEVICES, 3: DEVICES}, "windows that begin before the hole end with it"
    (sentence,) = told
    assert says in sentence
    assert "3 records recovered, 1 or more lost" in sentence
    assert "s/d0/x 64–127 of epoch e" in sentence
    again.commit(turn(4, hop=9))
    again.close()
    assert held(Journal(path, pytest.fail)) == {2: DEVICES, 3: DEVICES, 4: DEVICES}
    assert len(files(path)) == 1, "files of the damaged journal are still here"
    (aside,) = path.parent.glob("journal.db.broken-*Z")
    assert {"1", "3", "4"} <= set(files(aside)), "they are not beside what was set aside"


@pytest.mark.parametrize(
    "place", ["", "1", "1:2", "1:2:3:4", "-1:0:5", "1:-1:5", "1:0:-5", "a:b:c", "1:0:9999999999999999999", "1:0:²"]
)
def test_what_is_no_place_is_damage(path: Path, place: str) -> None:
    path.with_name("journal.db.segment-1").write_bytes(bytes(100))
    with pytest.raises(Broken, match="no place"):
        Segments(path).read(place)


@pytest.mark.parametrize("place", ["1:0:101", "1:101:1", "1:99:2", "1:0:999999999999999999"])
def test_a_place_beyond_its_file_is_damage(path: Path, place: str) -> None:
    path.with_name("journal.db.segment-1").write_bytes(bytes(100))
    with pytest.raises(Broken, match="ends before it"):
        Segments(path).read(place)


def test_a_file_that_the_disk_does_not_read_is_damage(
    path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.store.segments.FULL", 1)
    journal = Journal(path, pytest.fail)
    for n in range(3):
        journal.commit(turn(n, hop=9))
    journal.close()
    real = os.open

    def refuse(name: str | os.PathLike[str], flags: int, mode: int = 0o777) -> int:
        if str(name).endswith("segment-1"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(name, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    again = Journal(path, told.append)
    assert held(again) == {1: DEVICES, 2: DEVICES}
    assert "journal.db.segment-1 cannot be read: Input/output error" in told[0]
    again.close()


def test_a_journal_gone_from_beside_its_files_is_told(path: Path, told: list[str]) -> None:
    journal = Journal(path, pytest.fail)
    journal.commit(turn(0))
    journal.close()
    path.unlink()
    path.with_name(path.name + MARK).unlink()
    again = Journal(path, told.append)
    assert again.recovered
    assert "gone, though journal.db.segment-1 is there" in told[0]
    again.close()


def test_what_a_newer_version_left_damaged_is_not_recovered(path: Path) -> None:
    journal = Journal(path, pytest.fail)
    journal.commit(turn(0))
    journal._db.execute(f"PRAGMA user_version = {VERSION + 1}")
    journal.close()
    condemn(path, "found damaged")
    before = sorted(path.parent.iterdir())
    with pytest.raises(StoreError, match=rf"newer version \(schema {VERSION + 1}, this one knows {VERSION}\)"):
        Journal(path, pytest.fail)
    assert [one for one in sorted(path.parent.iterdir()) if ".recovering" not in one.name] == before


@pytest.mark.parametrize("version", [3, 4])
def test_a_journal_of_an_earlier_version_goes_on(path: Path, version: int) -> None:
    journal = Journal(path, pytest.fail)
    journal.commit(turn(0, devices=2))
    journal._db.execute(f"PRAGMA user_version = {version}")
    journal.close()
    again = Journal(path, pytest.fail)
    again.commit(turn(1, hop=2))
    assert held(again) == {0: 2, 1: DEVICES}
    again.close()
