"""The file of published Results: what it keeps, in which order, what goes; a full disk, a restart."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import StoreError
from bridge.store.database import Broken
from bridge.store.kept_file import BLOCK, Entry, KeptFile, Query, Written

if TYPE_CHECKING:
    from pathlib import Path

EVER = 1 << 62
WALL = 1e9  # what the wall clock shows when the monotonic one shows 0


def opened(path: Path, *, age: float = 1e6, size: int = 1 << 30, now: float = 0.0, wall: float = WALL) -> KeptFile:
    return KeptFile(path, pytest.fail, age=age, size=size, now=now, wall=wall)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


def record(n: int, at: float = 0.0, *, results: int = 1, size: int = 8, whole: tuple[str, ...] = ()) -> Written:
    items = [(f"d{i}", f"{n}.{i}".encode().ljust(size)) for i in range(results)]
    return Written(n, WALL + at, at, whole, items)


def read_all(file: KeptFile, query: Query | None = None) -> list[Entry]:
    query = Query(0, EVER) if query is None else query
    found: list[Entry] = []
    while (chunk := file.read(query)) is not None:
        found += chunk[0]
        query = query._replace(after=chunk[1])
    return found


def numbers(file: KeptFile, query: Query | None = None) -> list[int]:
    return [entry.n for entry in read_all(file, query)]


def test_what_was_written_is_read_in_its_order_and_as_it_was(path: Path) -> None:
    file = opened(path)
    file.write([record(1, results=2), record(2)], 0.0)
    file.write([record(3, 1.5)], 1.5)
    assert read_all(file) == [
        (1, WALL, "d0", b"1.0     "),
        (1, WALL, "d1", b"1.1     "),
        (2, WALL, "d0", b"2.0     "),
        (3, WALL + 1.5, "d0", b"3.0     "),
    ]
    file.close()


def test_a_restart_changes_nothing_and_numbers_go_on(path: Path) -> None:
    file = opened(path)
    file.write([record(n, float(n)) for n in (1, 2, 7)], 7.0)
    before = read_all(file)
    file.close()
    file = opened(path, now=100.0, wall=WALL + 17.0)
    assert read_all(file) == before
    assert (file.last, file.latest) == (7, 90.0)
    file.close()


def test_the_oldest_go_when_there_are_too_many_bytes(path: Path) -> None:
    file = opened(path, size=4 * BLOCK)
    for n in range(1, 101):
        file.write([record(n, size=BLOCK // 4)], 0.0)
        assert file.size <= 4 * BLOCK
    kept = numbers(file)
    assert kept == list(range(kept[0], 101))
    assert 3 * BLOCK <= sum(len(entry.payload) for entry in read_all(file)) <= 4 * BLOCK
    file.close()
    assert numbers(opened(path, size=4 * BLOCK)) == kept


def test_one_record_above_the_size_is_kept_alone(path: Path) -> None:
    file = opened(path, size=1_000)
    file.write([record(1, size=100)], 0.0)
    file.write([record(2, size=5_000)], 0.0)
    assert numbers(file) == [2]
    file.write([record(3, size=100)], 0.0)
    assert numbers(file) == [3]


def test_what_is_over_age_goes(path: Path) -> None:
    file = opened(path, age=60.0)
    for n in range(1, 21):
        file.write([record(n, n * 10.0)], n * 10.0)
    assert numbers(file) == list(range(14, 21))
    file.trim(230.0)
    assert numbers(file) == list(range(17, 21))
    file.trim(1e6)
    assert (numbers(file), file.size) == ([], 0)


def test_that_something_went_is_known_over_restarts(path: Path) -> None:
    file = opened(path, age=60.0)
    file.write([record(1)], 0.0)
    file.trim(10.0)
    known = [file.incomplete]
    file.close()
    file = opened(path, age=60.0)
    known.append(file.incomplete)
    file.trim(1e6)
    known.append(file.incomplete)
    file.write([record(2, 1e6)], 1e6)
    file.trim(2e6)
    file.close()
    assert [*known, opened(path).incomplete] == [False, False, True, True]


def test_a_file_that_was_set_aside_is_not_complete(path: Path) -> None:
    path.write_bytes(b"no database" * 1_000)
    said: list[str] = []
    file = KeptFile(path, said.append, age=60.0, size=1_000, now=0.0, wall=WALL)
    assert said
    assert file.incomplete
    file.close()
    assert opened(path).incomplete


@pytest.mark.parametrize("jump", [-1e8, 1e8])
def test_a_clock_that_is_set_takes_nothing_away(path: Path, jump: float) -> None:
    file = opened(path, age=60.0)
    file.write([Written(1, WALL, 0.0, (), [("d", b"1")])], 0.0)
    file.write([Written(2, WALL + jump, 10.0, (), [("d", b"2")])], 10.0)
    assert numbers(file) == [1, 2]
    assert numbers(file, Query(0, EVER, at=-1.0)) == [1, 2]


def test_a_restart_with_a_clock_in_the_past_takes_nothing_away(path: Path) -> None:
    file = opened(path, age=60.0)
    file.write([record(1)], 0.0)
    file.close()
    file = opened(path, age=60.0, now=5.0, wall=0.0)
    file.trim(10.0)
    assert numbers(file) == [1]


def test_reading_since_a_time_of_a_device_and_between_records(path: Path) -> None:
    file = opened(path)
    for n in range(1, 101):
        file.write([record(n, float(n), results=2)], float(n))
    assert set(numbers(file, Query(0, EVER, since=WALL + 90.5))) == set(range(91, 101))
    assert set(numbers(file, Query(10, 20))) == set(range(11, 21))
    assert {entry.topic for entry in read_all(file, Query(0, EVER, wanted=lambda topic, _: topic == "d1"))} == {"d1"}
    assert set(numbers(file, Query(0, EVER, wanted=lambda _, n: n > 98))) == {99, 100}
    assert set(numbers(file, Query(0, EVER, at=90.0))) >= set(range(90, 101))
    assert min(numbers(file, Query(0, EVER, at=90.0))) >= 80  # by blocks
    assert file.read(Query(100, EVER)) is None
    assert file.read(Query(0, 0)) is None


def test_a_chunk_is_about_a_block(path: Path) -> None:
    file = opened(path)
    for n in range(1, 200):
        file.write([record(n, size=10_000)], 0.0)
    chunk = file.read(Query(0, EVER))
    assert chunk is not None
    assert BLOCK <= sum(len(entry.payload) for entry in chunk[0]) <= BLOCK + 10_000


def test_ids_of_whole_windows_the_newest(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened(path)
    file.write([record(1, whole=("a", "b")), record(2), record(3, whole=("c", "a"))], 0.0)
    assert list(file.whole().items()) == [("b", 1), ("c", 3), ("a", 3)]
    monkeypatch.setattr("bridge.store.kept_file._WHOLE", 2)
    assert list(file.whole()) == ["c", "a"]


def test_where_nobody_heard_is_remembered(path: Path) -> None:
    file = opened(path)
    assert file.unheard is None
    file.write([record(1), record(2)], 0.0)
    for since in (2, 1):
        file.note_unheard(since)
        file.close()
        file = opened(path)
        assert file.unheard == since
    file.note_unheard(None)
    file.close()
    assert opened(path).unheard is None


def test_a_full_disk_changes_nothing_and_room_lets_it_go_on(path: Path) -> None:
    file = opened(path)
    file.write([record(1)], 0.0)
    pages = file._db.execute("PRAGMA page_count").fetchone()[0]
    file._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match="full"):
        file.write([record(2), record(3, size=100_000)], 0.0)
    with pytest.raises(StoreError, match="full"):
        file.write([record(2, size=100_000)], 0.0)
    assert numbers(file) == [1]
    file._db.execute("PRAGMA max_page_count = 1000000")
    file.write([record(2), record(3, size=100_000)], 0.0)
    assert numbers(file) == [1, 2, 3]


def test_a_damaged_record_is_told_and_left_out(path: Path) -> None:
    file = opened(path)
    file.write([record(1), record(2), record(3)], 0.0)
    file.close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE results SET body = x'c1' WHERE n = 2")
    database.close()
    told: list[str] = []
    file = KeptFile(path, told.append, age=1e6, size=1 << 30, now=0.0, wall=WALL)
    assert numbers(file) == [1, 3]
    assert "record 2 is damaged" in told[0]


def change(path: Path, statement: str) -> None:
    database = sqlite3.connect(path)
    database.execute(statement)
    database.commit()
    database.close()


@pytest.mark.parametrize(
    "damage",
    [
        "body = CAST(replace(body, CAST('2.0' AS BLOB), CAST('9.9' AS BLOB)) AS BLOB)",
        "body = 'text'",
        "t = t + 1",
        "whole = 'other'",
        "crc = NULL, body = x'91'",
        "crc = NULL, body = x'9192a1ffc400'",
        "whole = 5",
    ],
)
def test_whatever_is_damaged_of_a_record_it_is_not_published_again(path: Path, damage: str) -> None:
    file = opened(path)
    file.write([record(1), record(2, whole=("w",)), record(3)], 0.0)
    file.close()
    change(path, f"UPDATE results SET {damage} WHERE n = 2")  # noqa: S608 # from the list above
    told: list[str] = []
    file = KeptFile(path, told.append, age=1e6, size=1 << 30, now=0.0, wall=WALL)
    file.whole()
    assert numbers(file) == [1, 3]
    assert "record 2 is damaged" in told[-1]
    file.close()


@pytest.mark.parametrize("damage", ["UPDATE results SET t = 'x' WHERE n = 2", None])
def test_a_damaged_file_is_recovered_as_far_as_it_goes(path: Path, damage: str | None) -> None:
    file = opened(path)
    file.write([record(n, size=3_000) for n in range(1, 41)], 0.0)
    file.note_unheard(7)
    file.close()
    if damage is None:
        data = path.read_bytes()
        path.write_bytes(data[: 4096 * 20] + b"\xff" * 4096 + data[4096 * 21 :])
    else:
        change(path, damage)
    told: list[str] = []
    file = KeptFile(path, told.append, age=1e6, size=1 << 30, now=0.0, wall=WALL)
    left = numbers(file)
    assert 30 < len(left) < 40
    assert (left[-1], file.last, file.unheard) == (40, 40, 7)
    assert "set aside as results.db.broken-" in told[0]
    assert f"{len(left)} records of published Results recovered" in told[0]
    file.write([record(41)], 0.0)
    assert numbers(file) == [*left, 41]
    file.close()


def test_a_file_found_damaged_when_read_is_recovered_by_the_next_start(path: Path) -> None:
    file = opened(path)
    file.write([record(1), record(2)], 0.0)
    file._db.execute("UPDATE results SET whole = CAST(x'ff' AS TEXT) WHERE n = 2")
    with pytest.raises(Broken, match="decode to UTF-8"):
        numbers(file)
    file.close()
    told: list[str] = []
    file = KeptFile(path, told.append, age=1e6, size=1 << 30, now=0.0, wall=WALL)
    assert numbers(file) == [1]
    assert "decode to UTF-8" in told[0]
    file.close()


def test_a_file_of_version_1_is_read_on(path: Path) -> None:
    file = opened(path)
    file.write([record(1)], 0.0)
    file.close()
    change(path, "ALTER TABLE results DROP COLUMN crc")
    change(path, "PRAGMA user_version = 1")
    file = opened(path)
    file.write([record(2)], 0.0)
    assert numbers(file) == [1, 2]
    file.close()


def test_a_damaged_file_is_set_aside(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1_000)
    told: list[str] = []
    file = KeptFile(path, told.append, age=1e6, size=1 << 30, now=0.0, wall=WALL)
    file.write([record(1)], 0.0)
    assert numbers(file) == [1]
    assert "set aside" in told[0]


@settings(deadline=None, max_examples=60)  # the disk is slow now and then
@given(
    written=st.lists(
        st.tuples(st.integers(1, 3), st.sampled_from([10, 40_000, 200_000]), st.integers(0, 30)), max_size=12
    ),
    restart=st.integers(0, 12),
)
def test_kept_are_always_the_newest_and_within_the_bounds(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[int, int, int]], restart: int
) -> None:
    path, now, n = tmp_path_factory.mktemp("kept") / "results.db", 0.0, 0
    file = opened(path, age=60.0, size=500_000)
    for i, (count, size, wait) in enumerate(written):
        if i == restart:
            file.close()
            file = opened(path, age=60.0, size=500_000, now=now, wall=WALL + now)
        now += wait
        file.write([record(n + k, now, size=size) for k in range(1, count + 1)], now)
        n += count
        kept = read_all(file)
        assert [entry.n for entry in kept] == list(range(n - len(kept) + 1, n + 1))
        assert file.size <= 500_000 or len(kept) == count
        assert all(entry.t >= WALL + now - 66.0 for entry in kept)
    file.close()
