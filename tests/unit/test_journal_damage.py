"""A damaged journal: set aside, recovered as far as it goes, told; no damaged row is taken for a good one."""

from __future__ import annotations

import random
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bridge.errors import StoreError
from bridge.messages import Result, SeriesKey
from bridge.store import journal_reading
from bridge.store.conversion import UNREADABLE, checksum
from bridge.store.database import Broken, open_database, translated
from bridge.store.journal import MARK, Journal
from bridge.store.mark import Mark
from bridge.store.records import Changes, SavedResult, SavedRows, SavedSeries, decode, encode

if TYPE_CHECKING:
    from pathlib import Path

KEY = SeriesKey("s", "d", "x", "e")
TURNS = 40
ROWS = 64  # a turn
SAID = Result("r", "d", "x", 0, "e", 1.5, "m", "1", "sit", 0.5, "cloud", False, 0, 2.5, "why", "live")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def told() -> list[str]:
    return []


def rows(n: int) -> SavedRows:
    return SavedRows(KEY, n * ROWS, np.full((ROWS, 6), n, np.float32), float(n), 0.02, "device", "live")


def turn(n: int) -> Changes:
    """No window is complete yet: all rows are needed."""
    said = SavedResult(SAID, 7.5, f"topic/{n}")
    return Changes(rows=[rows(n)], series=[SavedSeries(KEY, "m", True, (n + 1) * ROWS, 0)], results=[said])


def filled(path: Path, *, kill: bool = False) -> None:
    """A journal of some turns, closed or as `kill -9` leaves it."""
    there = path.with_name("live") / path.name if kill else path
    journal = Journal(there, pytest.fail)
    for n in range(TURNS):
        journal.commit(turn(n))
    if kill:
        for one in there.parent.iterdir():
            shutil.copy(one, path.with_name(one.name))
    journal.close()


def change(path: Path, statement: str, *values: object) -> None:
    db = sqlite3.connect(path)
    db.execute(statement, values)
    db.commit()
    db.close()


def check(path: Path, told: list[str]) -> list[int]:
    """Numbers of the turns whose rows are there, as they were; the series can be taken up, and the journal used."""
    journal = Journal(path, told.append)
    saved = journal.load()
    for one in saved.rows:
        assert np.array_equal(one.values, rows(one.first // ROWS).values)
    for series in saved.series:
        have = {row for one in saved.rows for row in range(one.first, one.first + len(one.values))}
        assert have >= set(range(series.next_window, series.next_row))
    journal.commit(turn(TURNS + 1))
    journal.close()
    again = Journal(path, pytest.fail)
    assert again.load().rows[-1].first == (TURNS + 1) * ROWS
    again.close()
    return [one.first // ROWS for one in saved.rows]


def test_one_changed_bit_in_a_row_is_found(path: Path, told: list[str]) -> None:
    filled(path)
    db = sqlite3.connect(path)
    (body,) = db.execute("SELECT body FROM turns WHERE n = 8").fetchone()
    db.close()
    at = body.index(np.float32(7).tobytes() * 2) + 1
    change(path, "UPDATE turns SET body = ? WHERE n = 8", body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])
    found = check(path, told)
    assert found == list(range(8, TURNS)), "the window begun before ends with the hole"
    (sentence,) = told
    assert "journal.db: record 8 is damaged: its checksum is wrong; set aside as journal.db.broken-" in sentence
    assert "39 records recovered, 1 or more lost" in sentence
    assert "known to be lost are rows s/d/x 448–511 of epoch e" in sentence


def test_a_record_in_the_place_of_another_is_found(path: Path, told: list[str]) -> None:
    filled(path)
    change(path, "UPDATE turns SET body = (SELECT body FROM turns WHERE n = 3), crc = "
                 "(SELECT crc FROM turns WHERE n = 3) WHERE n = 9")  # fmt: skip
    assert 8 not in check(path, told)
    assert "record 9 is damaged" in told[0]


@pytest.mark.parametrize("body", ["text", b"\xc1", encode(turn(0))[:-1], b"\x81\xa4rows\x91\x97\x81\xa4site\xa1\xff"])
def test_whatever_is_not_a_record_is_told_as_damaged(body: Any) -> None:
    crc = checksum(1, body) if isinstance(body, bytes) else None
    with pytest.raises(Broken, match="record 1 is damaged"):
        journal_reading.decoded(1, body, crc)


@given(st.data())
def test_decoding_damaged_bytes_raises_nothing_that_is_not_caught(data: st.DataObject) -> None:
    body = bytearray(encode(turn(3)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + 64] = data.draw(st.binary(min_size=1, max_size=64))
    try:
        decode(bytes(body))
    except UNREADABLE:
        return


def test_the_newest_commits_of_a_cut_log_are_missed(path: Path, told: list[str]) -> None:
    filled(path, kill=True)
    log = path.with_name("journal.db-wal")
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    found = check(path, told)
    assert 0 < len(found) < TURNS
    assert f"its newest commits are lost: it ends at record {len(found)} of {TURNS}" in told[0]
    assert f"{len(found)} records recovered, {TURNS - len(found)} or more lost" in told[0]


def test_a_journal_that_is_as_it_was_left_is_not_set_aside(path: Path, told: list[str]) -> None:
    filled(path, kill=True)
    assert check(path, told) == list(range(TURNS))
    assert told == []


def test_a_mark_older_than_the_journal_is_no_damage(path: Path, told: list[str]) -> None:
    filled(path)
    mark = Mark(path.with_name(path.name + MARK))
    assert mark.get() == TURNS
    mark.set(3)
    mark.close()
    assert check(path, told) == list(range(TURNS))
    path.with_name(path.name + MARK).write_bytes(b"damaged mark")
    Journal(path, pytest.fail).close()


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ((), "journal.db.mark says that it went up to record 40"),
        ((MARK,), "journal.db-wal is there"),
        ((MARK, "-wal"), "results.db is there"),
    ],
)
def test_a_journal_that_is_gone_is_told_by_what_it_left_behind(
    path: Path, told: list[str], gone: tuple[str, ...], says: str
) -> None:
    filled(path, kill=True)
    for suffix in ("", *gone):
        path.with_name(path.name + suffix).unlink()
    results = path.with_name("results.db")
    results.write_bytes(b"some")
    journal = Journal(path, told.append, later=results)
    assert journal.recovered
    assert journal.load().series == []
    journal.commit(turn(0))
    journal.close()
    (said,) = told
    assert f"gone, though {says}; a new one begins: rows that were acknowledged" in said
    again = Journal(path, pytest.fail, later=results)
    assert (again.recovered, len(again.load().rows)) == (False, 1)
    again.close()


def test_a_folder_without_traces_of_a_journal_gets_one_in_silence(path: Path) -> None:
    path.with_name("results.db").touch()
    journal = Journal(path, pytest.fail, later=path.with_name("results.db"))
    assert not journal.recovered
    journal.close()


def test_a_database_emptied_under_its_log_is_missed(path: Path, told: list[str]) -> None:
    filled(path, kill=True)
    path.write_bytes(b"")
    check(path, told)
    assert "its newest commits are lost: it ends at record 0 of 40" in told[0]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 32), kill=st.booleans(), cut=st.booleans())
@example(seed=521, kill=False, cut=False)  # the header's schema format: "unsupported file format"
def test_whatever_is_damaged_no_row_is_wrong_and_what_is_lost_is_told(
    tmp_path: Path, seed: int, kill: bool, cut: bool
) -> None:
    shutil.rmtree(tmp_path, ignore_errors=True)
    tmp_path.mkdir()
    path = tmp_path / "journal.db"
    filled(path, kill=kill)
    told: list[str] = []
    dice = random.Random(seed)
    parts = [one for one in (path, path.with_name("journal.db-wal")) if one.exists() and one.stat().st_size]
    part = dice.choice(parts)
    size = part.stat().st_size
    with part.open("r+b") as file:
        if cut:
            file.truncate(dice.randrange(size))
        for _ in range(0 if cut else 4):
            file.seek(dice.randrange(size - 64))
            file.write(dice.randbytes(64))
    assert check(path, told) == list(range(TURNS)) or told


def test_text_that_is_no_utf8_is_damage() -> None:
    db = sqlite3.connect(":memory:")
    with pytest.raises(Broken, match="decode to UTF-8"), translated("file"):
        db.execute("SELECT CAST(x'ff' AS TEXT)").fetchone()
    db.close()
    with pytest.raises(Broken, match="the schema is damaged"), translated("file"):
        b"malformed database schema (\xff)".decode()


def test_damaged_text_of_the_schema_is_set_aside(path: Path, told: list[str]) -> None:
    filled(path)
    data = path.read_bytes()
    at = data.index(b"CREATE TABLE turns")
    path.write_bytes(data[:at] + b"\xff\xfe" * 9 + data[at + 18 :])
    check(path, told)
    assert "set aside" in told[0]


def test_damage_in_use_ends_the_commit_and_is_recovered_by_the_next_start(
    path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(path, pytest.fail)
    journal.commit(turn(0))
    journal.commit(turn(1))
    journal._db.execute("UPDATE turns SET body = zeroblob(100) WHERE n = 1")  # as a failing disk would
    monkeypatch.setattr("bridge.store.index.SLACK", 0)  # so that records are moved at once
    monkeypatch.setattr("bridge.store.index.SHARE", 0)
    with pytest.raises(Broken, match="record 1 is damaged"):
        journal.commit(turn(2))
    journal.close()
    assert check(path, told) == [1]
    assert "record 1 is damaged" in told[0]


def test_a_recovery_that_the_disk_refuses_may_be_tried_again(
    path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path)
    change(path, "UPDATE turns SET crc = 1 WHERE n = 8")
    journal = Journal(path, told.append)
    refused = [StoreError("no room")]

    def opened(*args: Any, **options: Any) -> sqlite3.Connection:
        if refused:
            raise refused.pop()
        return open_database(*args, **options)

    monkeypatch.setattr("bridge.store.journal.open_database", opened)
    with pytest.raises(StoreError, match="no room"):
        journal.load()
    assert [one.first // ROWS for one in journal.load().rows] == list(range(8, TURNS))
    journal.close()
    assert len(told) == 1


def test_a_journal_of_version_2_gets_checksums(path: Path) -> None:
    filled(path)
    change(path, "ALTER TABLE turns DROP COLUMN crc")
    change(path, "PRAGMA user_version = 2")
    journal = Journal(path, pytest.fail)
    assert len(journal.load().rows) == TURNS
    journal.close()


def test_a_damaged_journal_of_version_2_is_recovered_as_far_as_it_goes(path: Path, told: list[str]) -> None:
    filled(path)
    change(path, "ALTER TABLE turns DROP COLUMN crc")
    change(path, "PRAGMA user_version = 2")
    change(path, "UPDATE turns SET body = substr(body, 1, 40) WHERE n = 5")
    assert check(path, told) == list(range(5, TURNS))
    assert "39 records recovered, 1 or more lost" in told[0]
