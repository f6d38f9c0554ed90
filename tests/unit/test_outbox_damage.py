"""Damaged outboxes: set aside, recovered as far as they can be read, and no number is given twice."""

from __future__ import annotations

import random
import shutil
import sqlite3
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bridge.errors import StoreError
from bridge.store import database, outbox_recovery
from bridge.store.age import Moment
from bridge.store.database import NEVER, Broken
from bridge.store.marks import Mark, Marks
from bridge.store.outbox import Append, Limits, Outbox, Release
from bridge.store.outbox_file import VERSION

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.messages import Rows

ROWS = 20_000


def rows(first: int, count: int) -> Rows:
    return np.arange(first * 2, (first + count) * 2, dtype=np.float32).reshape(count, 2)


def filled(path: Path) -> tuple[str, int]:
    """An outbox of rows 1,000 … 19,999, closed; its store and the first row kept."""
    box = Outbox(path, Limits(), tell=pytest.fail)
    one = box.begin("wrist", "e").id
    for first in range(0, ROWS, 500):
        box.apply([Append(one, rows(first, 500), t=float(first), dt=1.0, align=64)], 1.0)
    box.apply([Release(one, 0, 999)], 1.0)
    store = box.store
    box.close()
    return store, 1000


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def change(path: Path, statement: str, value: int | str) -> None:
    """Damage that SQLite does not notice."""
    db = sqlite3.connect(path)
    db.execute(statement, (value,))
    db.commit()
    db.close()


def check(box: Outbox, expected: range) -> set[int]:
    """The rows that are there, which are as they were; those given up are others, all of `expected`."""
    found: set[int] = set()
    for one in box.series():
        for piece in box.read(one.id, 0, 1 << 40):
            assert (one.stream, one.epoch) == ("wrist", "e")
            assert np.array_equal(piece.values, rows(piece.first, len(piece.values)))
            assert piece.t == float(piece.first)
            found |= set(range(piece.first, piece.last + 1))
    assert found <= set(expected)
    lost = {row for d in box.dropped() for row in range(d.first, d.last + 1)}
    assert not lost & found
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def test_a_file_that_is_none_is_set_aside_and_told(path: Path) -> None:
    store, _ = filled(path)
    path.write_bytes(b"not a database" * 500)
    told: list[str] = []
    box = Outbox(path, Limits(), tell=told.append)
    assert box.rows() == 0
    assert box.store != store, "a new numbering"
    (aside,) = path.parent.glob("outbox.db.broken-*")
    assert f"set aside as {aside.name}" in told[0]
    assert "0 rows" in told[0]
    assert box.untold(box.begin("wrist", "e").id) == [(1000, ROWS - 1, "damaged")], "which, is known by the marks"
    box.close()


def test_a_damaged_page_costs_its_own_rows_and_they_are_told(path: Path) -> None:
    store, first = filled(path)
    overwrite(path, 4096 * 20, b"\xff" * 4096)
    told: list[str] = []
    box = Outbox(path, Limits(), tell=told.append)
    found = check(box, range(first, ROWS))
    lost = set(range(first, ROWS)) - found
    assert 0 < len(lost) < 2000
    one = box.begin("wrist", "e")
    assert {row for a, b, _ in box.untold(one.id) for row in range(a, b + 1)} == lost
    assert {d.rule for d in box.dropped()} == {"damaged"}
    assert (box.store, one.next) == (store, ROWS), "the numbering is certain, and goes on"
    assert f"{len(found)} rows of 1 series recovered, {len(lost)} known to be lost; the numbering goes on" in told[0]
    box.close()


def test_a_truncated_file_is_recovered_as_far_as_it_goes(path: Path) -> None:
    _, first = filled(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3 // 4096 * 4096])
    told: list[str] = []
    box = Outbox(path, Limits(), tell=told.append)
    assert len(check(box, range(first, ROWS))) > ROWS // 3
    assert told
    box.close()


def test_without_marks_new_rows_begin_a_new_epoch(path: Path) -> None:
    store, first = filled(path)
    path.with_name("outbox.db.marks").unlink()
    overwrite(path, 4096 * 20, b"\xff" * 4096)
    told: list[str] = []
    box = Outbox(path, Limits(), tell=told.append)
    assert box.store != store
    assert "new rows begin a new epoch" in told[0]
    assert len(check(box, range(first, ROWS))) > ROWS // 2
    box.close()


def test_commits_lost_in_silence_are_found_out_by_the_marks(path: Path) -> None:
    box = Outbox(path, Limits(), tell=pytest.fail)
    one = box.begin("wrist", "e").id
    box.apply([Append(one, rows(0, 100))], 1.0)
    box._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    box.apply([Append(one, rows(100, 50))], 1.0)
    copy = path.with_name("copy.db")
    for suffix in ("", ".marks"):  # the newest commit is in the write-ahead log, which is lost
        shutil.copy(path.with_name(path.name + suffix), copy.with_name(copy.name + suffix))
    box.close()
    told: list[str] = []
    box = Outbox(copy, Limits(), tell=told.append)
    assert box.kept(one) == [(0, 99)]
    assert box.untold(one) == [(100, 149, "damaged")]
    assert box.apply([Append(one, rows(150, 5))], 1.0) == [150]
    assert "rows 100 to 149 of stream wrist" in told[0]
    box.close()
    box = Outbox(copy, Limits(), tell=pytest.fail)
    box.close()


def rolled_back(path: Path, *, until: str) -> tuple[Path, str, int]:
    """A copy of an outbox with rows 0…149, of which 0…39 are receipted, that lost its newest commits; store, series.

    Args:
        path: where to make the outbox.
        until: the last commit that the copy has: "nothing", "meta" (the store's name) or "series".
    """
    copy = path.with_name("copy.db")

    def keep(step: str) -> None:
        if step == until:
            box._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            shutil.copy(path, copy)

    box = Outbox(path, Limits(), tell=pytest.fail)
    keep("meta")
    one = box.begin("wrist", "e").id
    keep("series")
    box.apply([Append(one, rows(0, 100))], 1.0)
    box.apply([Append(one, rows(100, 50)), Release(one, 0, 39)], 1.0)
    store = box.store
    box.close()
    shutil.copy(path.with_name("outbox.db.marks"), path.with_name("copy.db.marks"))
    return copy, store, one


@pytest.mark.parametrize("until", ["nothing", "meta", "series"])
def test_a_series_that_the_file_lost_keeps_its_numbers_and_its_rows_are_given_up(path: Path, until: str) -> None:
    copy, store, one = rolled_back(path, until=until)
    for _ in range(2):  # a second start finds nothing more
        told: list[str] = []
        box = Outbox(copy, Limits(), tell=told.append)
        assert (box.store == store) == (until != "nothing")
        assert [(found.id, found.next) for found in box.series()] == [(one, 150)]
        assert box.untold(one) == [(40, 149, "damaged")], "those before are receipted"
        assert [(lost.first, lost.last, lost.rule) for lost in box.dropped()] == [(40, 149, "damaged")]
        box.close()
        if not _:
            assert "rows 40 to 149 of stream wrist, epoch e" in told[0]
    assert not told
    box = Outbox(copy, Limits(), tell=pytest.fail)
    assert box.apply([Append(box.begin("wrist", "e").id, rows(150, 5))], 1.0) == [150]
    assert box.begin("wrist", "other").id == one + 1
    box.close()


def test_a_lost_series_is_made_under_another_number_where_its_own_is_taken(path: Path) -> None:
    copy, _, one = rolled_back(path, until="meta")
    marks, copy_of_marks = copy.with_name("copy.db.marks"), copy.with_name("kept.marks")
    marks.rename(copy_of_marks)
    box = Outbox(copy, Limits(), tell=pytest.fail)
    assert box.begin("ankle", "e").id == one
    box.close()
    copy_of_marks.rename(marks)
    box = Outbox(copy, Limits(), tell=lambda _: None)
    assert box.untold(box.begin("wrist", "e").id) == [(40, 149, "damaged")]
    assert box.begin("ankle", "e").next == 0
    box.close()


@pytest.mark.parametrize("release", [0, 5000])
def test_rows_that_a_recovery_cannot_even_look_for_are_given_up(path: Path, release: int) -> None:
    _, first = filled(path)
    box = Outbox(path, Limits(), tell=pytest.fail)
    one = box.begin("wrist", "e").id
    if release:
        box.apply([Release(one, 0, release - 1)], 1.0)
    box.close()
    data = path.read_bytes()
    overwrite(path, data.index(b"CREATE TABLE blobs"), b"CREATE FABLE")  # "malformed database schema (blobs)"
    told: list[str] = []
    box = Outbox(path, Limits(), tell=told.append)
    assert "set aside" in told[0]
    assert box.rows() == 0
    assert box.untold(one) == [(release or first, ROWS - 1, "damaged")]
    assert box.begin("wrist", "e").next == ROWS
    box.close()


def test_a_source_that_can_hand_over_its_rows_again_does(path: Path) -> None:
    copy, _, one = rolled_back(path, until="series")
    box = Outbox(copy, Limits(), tell=lambda _: None)
    assert box.rewind(one) == 40
    assert box.untold(one) == []
    assert box.dropped() == []
    assert box.begin("wrist", "e").next == 40
    assert not box.holds(one)
    box.close()
    box = Outbox(copy, Limits(), tell=pytest.fail)
    assert box.rewind(one) is None
    assert box.apply([Append(one, rows(40, 60))], 1.0) == [40]
    box.close()


def test_a_source_begins_again_at_the_first_damaged_row_and_later_ones_go(path: Path) -> None:
    filled(path)
    overwrite(path, path.read_bytes().index(rows(1024, 64).tobytes()), b"\0\0\0\0")
    box = Outbox(path, Limits(), tell=pytest.fail)
    one = box.begin("wrist", "e").id
    assert box.rewind(one) == 1024
    assert box.kept(one) == [(1000, 1023)]
    assert box.begin("wrist", "e").next == 1024
    assert box.dropped() == []
    box.close()
    box = Outbox(path, Limits(), tell=pytest.fail)
    assert box.begin("wrist", "e").next == 1024, "the mark went back, too"
    box.close()


def test_wrong_numbers_in_a_sound_file_are_not_handed_out(path: Path) -> None:
    filled(path)
    overwrite(path, path.read_bytes().index(rows(1024, 64).tobytes()), b"\0\0\0\0")
    box = Outbox(path, Limits(), tell=pytest.fail)
    one = box.begin("wrist", "e").id
    assert 1024 not in check(box, range(1000, ROWS))
    assert box.expire(2.0) == 64
    assert box.untold(one) == [(1024, 1087, "damaged")]
    assert box.kept(one) == [(1000, 1023), (1088, ROWS - 1)]
    box.close()


@pytest.mark.parametrize("count", [0, -64, 1, 32, 63, 65, 128, 8193, 1 << 40, "64 rows"])
def test_a_wrong_number_of_rows_costs_its_own_blob_and_they_are_told(path: Path, count: int | str) -> None:
    _, first = filled(path)
    change(path, "UPDATE blobs SET count = ? WHERE first = 1088", count)
    box = Outbox(path, Limits(), tell=lambda _: None)
    assert check(box, range(first, ROWS)) == {*range(first, ROWS)} - {*range(1088, 1152)}
    box.expire(2.0)
    one = box.begin("wrist", "e").id
    assert box.untold(one) == [(1088, 1151, "damaged")]
    assert box.kept(one) == [(first, 1087), (1152, ROWS - 1)]
    box.apply([Release(one, 0, ROWS)], 2.0)
    assert (box.bytes, box.rows()) == (0, 0)
    box.close()


def test_a_damaged_blob_is_not_split_into_ones_that_look_whole(path: Path) -> None:
    _, first = filled(path)
    for row in (1024, 1152):
        overwrite(path, path.read_bytes().index(rows(row, 64).tobytes()), b"\0\0\0\0")
    box = Outbox(path, Limits(), tell=pytest.fail)
    one = box.begin("wrist", "e").id
    box.apply([Release(one, 0, 1029), Release(one, 1040, 1199, rule="refused: no")], 2.0)
    check(box, range(first, ROWS))
    box.expire(3.0)
    assert box.kept(one) == [(1216, ROWS - 1)]
    assert {*range(1030, 1216)} <= {row for d in box.dropped() for row in range(d.first, d.last + 1)}
    box.close()


def test_making_room_ends_where_all_that_is_left_to_thin_is_damaged(path: Path) -> None:
    box = Outbox(path, Limits(), tell=pytest.fail)
    one = box.begin("wrist", "e").id
    box.apply([Append(one, rows(0, 1000), t=0.0, dt=1.0)], 1.0)
    box.close()
    overwrite(path, path.read_bytes().index(rows(400, 64).tobytes()), b"\0\0\0\0")
    box = Outbox(path, Limits(max_bytes=9000, when_full="thin_out", thin_rows=100), tell=pytest.fail)
    assert box.apply([Append(one, rows(1000, 500), t=1000.0, dt=1.0)], 2.0) == [1000]
    assert check(box, range(1500)) == {*range(1000, 1500)}
    assert box.untold(one) == [(0, 999, "damaged")]
    box.close()


@pytest.mark.parametrize("column", ["t", "dt"])
@pytest.mark.parametrize("wrong", [5312.0, "soon", None])
def test_a_time_that_was_damaged_is_no_time_of_these_rows(path: Path, column: str, wrong: float | str | None) -> None:
    _, first = filled(path)
    db = sqlite3.connect(path)
    db.execute(f"UPDATE blobs SET {column} = ? WHERE first = 1024", (wrong,))  # noqa: S608 # constants only
    db.commit()
    db.close()
    box = Outbox(path, Limits(), tell=pytest.fail)
    assert check(box, range(first, ROWS)) == {*range(first, ROWS)} - {*range(1024, 1088)}
    box.expire(1.0)
    assert box.untold(1) == [(1024, 1087, "damaged")]
    box.close()


@pytest.mark.parametrize("times", [(None, None), (-0.0, 0.5), (1e300, None), (7, 1), (float("nan"), 0.0)])
def test_rows_are_whole_whatever_their_times(path: Path, times: tuple[float | None, float | None]) -> None:
    box = Outbox(path, Limits(), tell=pytest.fail)
    one = box.begin("wrist", "e").id
    for count in (64, 100):  # one blob, several
        box.apply([Append(one, rows(0, count), *times, align=64)], 1.0)
    box.close()
    box = Outbox(path, Limits(), tell=pytest.fail)
    assert sum(len(piece.values) for piece in box.read(one, 0, 1 << 40)) == 164
    box.close()


@pytest.mark.parametrize("version", [2, 3])
def test_a_file_of_an_earlier_version_is_taken_over_with_its_checksums(path: Path, version: int) -> None:
    _, first = filled(path)
    db = sqlite3.connect(path)
    for blob, row, count, data in db.execute("SELECT id, first, count, data FROM blobs").fetchall():
        crc = zlib.crc32(data, row) if version == 2 else zlib.crc32(data, zlib.crc32(struct.pack("<qq", row, count)))
        db.execute("UPDATE blobs SET crc = ? WHERE id = ?", (crc, blob))
    db.execute(f"PRAGMA user_version = {version}")
    db.commit()
    db.close()
    box = Outbox(path, Limits(), tell=pytest.fail)
    assert len(check(box, range(first, ROWS))) == ROWS - first
    box.close()
    overwrite(path, path.read_bytes().index(rows(1024, 64).tobytes()), b"\0\0\0\0")
    box = Outbox(path, Limits(), tell=pytest.fail)
    assert check(box, range(first, ROWS)) == {*range(first, ROWS)} - {*range(1024, 1088)}
    box.close()


@pytest.mark.parametrize("words", ["", "q.5 2.0", "1.5", "1 2 3 4", "nan 2.0", "inf 2.0", "1.0 nan", "1.0 2.0 -3.0"])
def test_a_note_of_the_time_that_cannot_be_read_is_none(path: Path, words: str) -> None:
    filled(path)
    change(path, "INSERT OR REPLACE INTO meta VALUES('clock', ?)", words)
    box = Outbox(path, Limits(), tell=pytest.fail)
    assert box.moment() == Moment.unknown(1.0), "as old as its rows"
    box.close()


@pytest.mark.parametrize("table", ["series", "sqlite_autoindex_series_1", "dropped"])
def test_a_file_too_large_to_be_checked_is_recovered_whatever_of_it_is_damaged(
    path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    store, first = filled(path)
    marks = Marks(path.with_name("outbox.db.marks"))
    marks.write(Mark(1, "wrist", "e", store, first, ROWS + 5, ROWS))  # a start that has something to give up
    marks.close()
    db = sqlite3.connect(path)
    ((page,),) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchall()
    db.close()
    overwrite(path, 4096 * (page - 1), b"\xff" * 4096)
    monkeypatch.setattr(database, "CHECKED_BYTES", 0)
    told: list[str] = []
    box = Outbox(path, Limits(), tell=told.append)
    assert check(box, range(first, ROWS)) == {*range(first, ROWS)}
    assert box.begin("wrist", "e").next == ROWS + 5
    assert "found damaged while it was in use" in told[0]
    box.close()
    Outbox(path, Limits(), tell=pytest.fail).close()


def test_a_file_found_damaged_in_use_is_recovered_by_the_next_start_however_large(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = filled(path)
    monkeypatch.setattr(database, "CHECKED_BYTES", 0)
    overwrite(path, 4096 * 20, b"\xff" * 4096)
    told: list[str] = []
    box = Outbox(path, Limits(), tell=told.append)  # counts the rows, and steps on the page
    assert len(check(box, range(first, ROWS))) > ROWS // 2
    assert "found damaged while it was in use" in told[0]
    box.condemn()
    box.close()
    box = Outbox(path, Limits(), tell=told.append)
    assert len(check(box, range(first, ROWS))) > ROWS // 2
    assert len(told) == 2
    box.close()
    Outbox(path, Limits(), tell=pytest.fail).close()


@pytest.mark.parametrize("step", ["recover", "set_aside", "rename"])
def test_a_crash_while_recovering_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    _, first = filled(path)
    overwrite(path, 4096 * 20, b"\xff" * 4096)

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if step == "recover":
            patch.setattr(outbox_recovery, "_note_lost", crash)
        elif step == "set_aside":
            patch.setattr(database, "_set_aside", crash)
        else:
            calls = iter([lambda _: None, crash])
            patch.setattr(database, "_take_place", lambda one: next(calls)(one))
        with pytest.raises(KeyboardInterrupt):
            Outbox(path, Limits(), tell=lambda _: None)
    box = Outbox(path, Limits(), tell=lambda _: None)
    assert len(check(box, range(first, ROWS))) > ROWS // 2
    assert box.begin("wrist", "e").next == ROWS
    box.close()
    assert not list(path.parent.glob("*.recover*"))


def test_a_store_that_may_not_be_written_says_so(path: Path) -> None:
    box = Outbox(path, Limits(), tell=pytest.fail)
    one = box.begin("wrist", "e").id
    box._db.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match="is its disk or folder read-only"):
        box.apply([Append(one, rows(0, 1))], 1.0)
    box._db.execute("PRAGMA query_only = OFF")
    assert box.apply([Append(one, rows(0, 1))], 1.0) == [0]
    box.close()


def test_marks_name_their_series_and_torn_ones_are_none(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "m")
    first, third = Mark(1, "wrist", "e", "one", 5, 10, 10), Mark(3, "w" * 64, "é" * 64, "two", 0, 30, 30)
    for mark in (first, third):
        marks.write(mark)
    assert marks.read() == {1: first, 3: third}
    marks.write(Mark(2, "w" * 500, "e", "one", 0, 1, 1))
    marks.close()
    overwrite(tmp_path / "m", 512 + 8, b"\xff")
    torn = Marks(tmp_path / "m")
    assert torn.read() == {3: third}
    torn.close()
    with pytest.raises(StoreError, match="cannot be written"):
        Marks(tmp_path)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "outbox.db"
    filled(path)
    return path


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1 << 32), places=st.lists(st.floats(0, 0.999), max_size=4), cut=st.none() | st.floats(0.01, 1)
)
@example(seed=1, places=[0.00028], cut=None)  # the lowest byte of the schema's number
@example(seed=0, places=[0.5, 0.45604312322246476], cut=None)  # the time of some rows
@example(seed=1, places=[0.5, 0.11565949361982923], cut=None)  # found by the deletion, not by the check at the start
def test_whatever_is_damaged_no_wrong_row_and_no_number_twice(
    sound: Path, seed: int, places: list[float], cut: float | None
) -> None:
    path = sound.with_name("damaged") / "outbox.db"
    shutil.rmtree(path.parent, ignore_errors=True)
    shutil.copytree(sound.parent, path.parent, ignore=shutil.ignore_patterns("damaged"))
    size = path.stat().st_size
    noise = random.Random(seed)
    for place in places:
        overwrite(path, int(place * size), noise.randbytes(noise.choice([1, 16, 4096, 9000])))
    if cut is not None:
        path.write_bytes(path.read_bytes()[: int(cut * size)])
    if VERSION < int.from_bytes(path.read_bytes()[60:64], "big") < NEVER:
        with pytest.raises(StoreError, match="written by a newer version"):  # as it looks; nothing is lost by that
            Outbox(path, Limits(), tell=lambda _: None)
        overwrite(path, 60, VERSION.to_bytes(4, "big"))
    box = Outbox(path, Limits(), tell=lambda _: None)
    found = check(box, range(1000, ROWS))
    try:
        box.expire(1.0)  # gives up what was found damaged when it was read
    except Broken:  # as the keeper does: the next start recovers it
        box.condemn()
        box.close()
        box = Outbox(path, Limits(), tell=lambda _: None)
        found = check(box, range(1000, ROWS))
        box.expire(1.0)
    one = box.begin("wrist", "e")
    assert one.next >= ROWS
    told = {row for first, last, _ in box.untold(one.id, 1 << 20) for row in range(first, last + 1)}
    assert found | told >= set(range(1000, ROWS)), "nothing is lost in silence"
    box.close()
