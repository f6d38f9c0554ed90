"""Damage in a write-ahead log is told from its end, whatever a power loss or a kill leaves there."""

from __future__ import annotations

import os
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.errors import StoreError
from bridge.store import database
from bridge.store.wal import unseen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PAGE = 4096
FRAME = PAGE + 24
SCHEMA = ("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, body BLOB)",)


def killed(folder: Path, commits: Sequence[int], *, checkpoint_after: int | None = None) -> Path:
    """The files of a database as `kill -9` leaves them, after commits of so many rows of one page each."""
    live, left = folder / "live.db", folder / "left.db"
    with sqlite3.connect(live, isolation_level=None) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(SCHEMA[0])
        for n, count in enumerate(commits):
            if n == checkpoint_after:
                db.execute("PRAGMA wal_checkpoint(RESTART)")
            db.execute("BEGIN")
            db.executemany("INSERT INTO t (body) VALUES (?)", [(os.urandom(3_000),)] * count)
            db.execute("COMMIT")
        for suffix in ("", "-wal"):
            shutil.copy(f"{live}{suffix}", f"{left}{suffix}")
    db.close()
    return left


def log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def commits_of(log: Path) -> list[int]:
    """Places of the frames, from 0, that end a transaction."""
    data = log.read_bytes()
    return [n for n in range((len(data) - 32) // FRAME) if any(data[32 + n * FRAME + 4 : 32 + n * FRAME + 8])]


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def rows_in(path: Path) -> int:
    db = sqlite3.connect(path)
    try:
        return int(db.execute("SELECT count(*) FROM t").fetchone()[0])
    except sqlite3.OperationalError:  # the table is gone, too
        return 0
    finally:
        db.close()


@pytest.mark.parametrize("commits", [[], [1], [3, 1, 4, 1, 5]])
def test_a_log_that_nobody_damaged_hides_nothing(tmp_path: Path, commits: list[int]) -> None:
    assert unseen(log_of(killed(tmp_path, commits))) is None


def test_frames_of_an_earlier_log_behind_the_end_are_its_end(tmp_path: Path) -> None:
    log = log_of(killed(tmp_path, [4, 4, 4, 1, 1], checkpoint_after=3))
    assert log.stat().st_size > 12 * FRAME
    assert unseen(log) is None


def test_nothing_is_known_where_there_is_no_log(tmp_path: Path) -> None:
    assert unseen(tmp_path / "none.db-wal") is None
    (tmp_path / "short.db-wal").write_bytes(b"\x37\x7f\x06\x82")
    assert unseen(tmp_path / "short.db-wal") is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_before_a_later_commit_is_found_wherever_it_is(tmp_path: Path, data: st.DataObject) -> None:
    shutil.rmtree(tmp_path, ignore_errors=True)
    tmp_path.mkdir()
    path = killed(tmp_path, [2, 3, 1, 2, 2, 3])
    log = log_of(path)
    last_but_two = commits_of(log)[-3]
    at = data.draw(st.integers(0, 32 + last_but_two * FRAME - 1), label="at")
    before = log.read_bytes()
    overwrite(log, at, bytes(byte ^ 0x5A for byte in before[at : at + 64]))
    found = unseen(log)
    assert found == ((at - 32) // FRAME + 1 if at >= 32 else 0)
    assert rows_in(path) < 13, "SQLite does not see it all"


def test_the_last_transaction_may_be_torn_in_any_way(tmp_path: Path) -> None:
    path = killed(tmp_path, [2, 2, 6])
    log = log_of(path)
    whole, (*_, before, _last) = log.read_bytes(), commits_of(log)
    frames = (len(whole) - 32) // FRAME
    for torn in range(before + 1, frames):
        for begin, end in ((0, 24), (0, FRAME), (24, FRAME), (2048, 2560)):
            log.write_bytes(whole)
            overwrite(log, 32 + torn * FRAME + begin, bytes(end - begin))
            assert unseen(log) is None, (torn, begin)


def test_what_a_torn_transaction_left_behind_the_next_ones_is_no_damage(tmp_path: Path) -> None:
    path = killed(tmp_path, [2, 2, 8])
    log = log_of(path)
    overwrite(log, 32 + (commits_of(log)[-2] + 1) * FRAME + 100, b"torn")
    live = tmp_path / "live2.db"
    shutil.copy(path, live)
    shutil.copy(log, log_of(live))
    db = sqlite3.connect(live, isolation_level=None)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("INSERT INTO t (body) VALUES (zeroblob(3000))")
    shutil.copy(live, path)
    shutil.copy(log_of(live), log)
    db.close()
    assert len(commits_of(log)) == len({*commits_of(log)})
    assert commits_of(log)[-1] > commits_of(log)[-2] + 2, "the torn one's commit is behind the new one's"
    assert unseen(log) is None


def test_a_torn_header_of_a_log_begun_anew_is_no_damage(tmp_path: Path) -> None:
    live = tmp_path / "live.db"
    db = sqlite3.connect(live, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(SCHEMA[0])
    for _ in range(5):
        db.execute("INSERT INTO t (body) VALUES (randomblob(3000))")
    db.execute("PRAGMA wal_checkpoint(FULL)")
    path = tmp_path / "left.db"
    shutil.copy(live, path)
    shutil.copy(log_of(live), log_of(path))
    db.close()
    overwrite(log_of(path), 12, (9).to_bytes(4, "big"))  # before the salts: SQLite goes on with the old ones
    assert unseen(log_of(path)) is None
    left = database.open_database(path, SCHEMA, version=1, tell=pytest.fail)
    left.execute("INSERT INTO t (body) VALUES (randomblob(3000))")
    killed_again = tmp_path / "again.db"
    shutil.copy(path, killed_again)
    shutil.copy(log_of(path), log_of(killed_again))
    left.close()
    assert unseen(log_of(killed_again)) is None, "frames of the old log would look like the new one's"
    assert rows_in(killed_again) == 6


def test_a_database_with_a_damaged_log_is_set_aside_and_told(tmp_path: Path) -> None:
    path = killed(tmp_path, [1] * 10)
    overwrite(log_of(path), 32 + 4 * FRAME + 1_000, b"damage")
    told: list[str] = []

    def recover(old: sqlite3.Connection, _new: sqlite3.Connection) -> str:
        (count,) = old.execute("SELECT count(*) FROM t").fetchone()
        return f"{count} rows"

    db = database.open_database(path, SCHEMA, version=1, tell=told.append, recover=recover)
    db.close()
    (sentence,) = told
    assert "left.db-wal: damaged at frame 5: commits after it are lost; set aside as left.db.broken-" in sentence
    assert sentence.endswith("a new store begins: 1 rows")
    assert not path.with_name(path.name + database.DAMAGED).exists()
    database.open_database(path, SCHEMA, version=1, tell=pytest.fail).close()


def test_a_log_that_another_process_writes_to_is_not_looked_at(tmp_path: Path) -> None:
    path = killed(tmp_path, [1] * 10)
    owner = sqlite3.connect(path, isolation_level=None)
    owner.execute("PRAGMA locking_mode = EXCLUSIVE")
    owner.execute("INSERT INTO t (body) VALUES (1)")
    overwrite(log_of(path), 32 + 4 * FRAME + 1_000, b"damage")
    with pytest.raises(StoreError, match="in use by another process"):
        database.open_database(path, SCHEMA, version=1, tell=pytest.fail)
    owner.close()
