"""The journal as a log: bounded whatever comes, whole after `kill -9` while it moves records, read from version 1."""

from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING
from unittest.mock import patch

import msgspec
import numpy as np
import pytest

from bridge.errors import StoreError
from bridge.messages import Answer, Result, SeriesKey
from bridge.store.journal import Journal
from bridge.store.records import (
    Changes,
    GivenUp,
    SavedResult,
    SavedRows,
    SavedSeries,
    SavedTail,
    SavedWindow,
    decode,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = SeriesKey("s", "d", "x", "e")
IDLE = SeriesKey("s", "idle", "x", "e")
SAID = Result("r", "d", "x", 0, "e", 1.5, "m", "1", "sit", 0.5, "cloud", False, 0, 2.5, "why", "live", local={"a": 1})
ASKED = SavedWindow(
    "w", KEY, 64, b"\0\0\x80?" * 4, 2, 1.5, "bridge", 7.5, "m", "live", 2.0, Answer("sit", 0.4, "1", "small"), "unsure"
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def rows(key: SeriesKey, first: int, count: int = 64) -> SavedRows:
    return SavedRows(key, first, np.full((count, 6), first, np.float32), 0.0, 0.02, "device", "live")


def turn(n: int) -> Changes:
    """Each message makes the rows of the one before needless, and its Result is taken by the next."""
    said = SavedResult(msgspec.structs.replace(SAID, id=f"r{n}"), 7.5, "topic")
    series = SavedSeries(KEY, "m", True, 64 * n + 64, 64 * n)
    return Changes(rows=[rows(KEY, 64 * n)], series=[series], results=[said], taken=[f"r{n - 1}"])


def tail(key: SeriesKey, first: int, next_window: int, count: int = 64) -> SavedTail:
    data = np.full((count, 6), first, "<f4").tobytes()
    skipped = (GivenUp(1, 3, "age"),)
    return SavedTail(
        key, "m", True, first + count, next_window, skipped, 5, 2, "via", first, data, 6, 0.0, 0.02, "device", "live"
    )  # fmt: skip


def turn_of_tail(n: int) -> Changes:
    said = SavedResult(msgspec.structs.replace(SAID, id=f"r{n}"), 7.5, "topic")
    return Changes(tails=[tail(KEY, 64 * n, 64 * n)], results=[said], taken=[f"r{n - 1}"])


@pytest.mark.parametrize("turn", [turn, turn_of_tail])
@pytest.mark.parametrize("idle", [False, True])
def test_what_is_void_is_bounded_also_where_one_device_is_silent(
    path: Path, idle: bool, turn: Callable[[int], Changes]
) -> None:
    journal = Journal(path, pytest.fail)
    with patch("bridge.store.index.SLACK", 32_768):
        if idle:
            journal.commit(Changes(rows=[rows(IDLE, 7)], series=[SavedSeries(IDLE, "m", True, 71, 0)]))
        for n in range(300):
            journal.commit(turn(n))
        saved = journal.load()
        journal.close()
    assert [(kept.key, kept.first) for kept in saved.rows] == [(IDLE, 7)] * idle + [(KEY, 64 * 299)]
    assert [kept.result.id for kept in saved.results] == ["r299"]
    assert path.stat().st_size < 131_072  # of 700,000 bytes that were written


def test_what_is_void_is_bounded_also_where_many_rows_were_given_up(path: Path) -> None:
    journal = Journal(path, pytest.fail)
    skipped = tuple(GivenUp(3 * n, 3 * n + 1, "age") for n in range(1_000))
    with patch("bridge.store.index.SLACK", 32_768):
        journal.commit(Changes(series=[SavedSeries(IDLE, "m", True, 71, 0)]))
        for n in range(200):
            journal.commit(Changes(series=[SavedSeries(KEY, "m", True, 64 * n, 64 * n, skipped)]))
        (kept,) = [one for one in journal.load().series if one.key == KEY]
        journal.close()
    assert (kept.next_row, len(kept.skipped)) == (64 * 199, 1_000)
    assert path.stat().st_size < 400_000  # of 2,000,000 bytes that were written


def test_a_tail_takes_the_place_of_what_was_kept_of_its_series(path: Path) -> None:
    journal = Journal(path, pytest.fail)
    before = [rows(KEY, 0), rows(KEY, 64), rows(IDLE, 7)]
    journal.commit(Changes(rows=before, series=[SavedSeries(KEY, "m", True, 128, 0)]))
    journal.commit(Changes(tails=[tail(KEY, 128, 128)]))
    for _ in range(2):
        saved = journal.load()
        (kept,) = saved.rows
        assert (kept.key, kept.first, kept.values.tolist()) == (KEY, 128, [[128.0] * 6] * 64)
        assert (kept.t, kept.dt, kept.t_source, kept.lane) == (0.0, 0.02, "device", "live")
        assert saved.series == [SavedSeries(KEY, "m", True, 192, 128, (GivenUp(1, 3, "age"),), 5, 2, (), "via")]
        journal.close()
        journal = Journal(path, pytest.fail)
    journal.close()


@pytest.mark.parametrize("loaded", [False, True])
def test_rows_of_a_tail_are_kept_until_they_are_cut(path: Path, loaded: bool) -> None:
    journal = Journal(path, pytest.fail)
    with patch.multiple("bridge.store.index", SLACK=0, SHARE=0):  # each commit moves what is needed
        journal.commit(Changes(tails=[tail(KEY, 0, 0), tail(IDLE, 7, 0)]))
        if loaded:
            journal.load()
        journal.commit(Changes(rows=[rows(KEY, 64)], series=[SavedSeries(KEY, "m", True, 128, 63)]))
        journal.commit(Changes(taken=["never"]))
        assert [(kept.key, kept.first) for kept in journal.load().rows] == [(KEY, 0), (IDLE, 7), (KEY, 64)]
        journal.commit(Changes(series=[SavedSeries(KEY, "m", True, 128, 64)]))
        journal.commit(Changes(series=[SavedSeries(IDLE, "m", True, 71, 8)]))
        assert [(kept.key, kept.first) for kept in journal.load().rows] == [(IDLE, 7), (KEY, 64)]
        journal.commit(Changes(forgotten=[IDLE]))
        saved = journal.load()
    journal.close()
    assert [(kept.key, kept.first) for kept in saved.rows] == [(KEY, 64)]
    assert saved.series == [SavedSeries(KEY, "m", True, 128, 64)]


def test_a_tail_that_is_no_rows_is_damage() -> None:
    with pytest.raises(ValueError, match="buffer size"):
        decode(encode(Changes(tails=[msgspec.structs.replace(tail(KEY, 0, 0), data=bytes(23))])))


def test_a_commit_that_changes_nothing_kept_writes_nothing(path: Path) -> None:
    journal = Journal(path, pytest.fail)
    journal.commit(turn(0))
    before = path.with_name("journal.db-wal").read_bytes()
    journal.commit(Changes(taken=["never"], answered=["never"], forgotten=[IDLE], rows=[rows(IDLE, 0)]))
    assert path.with_name("journal.db-wal").read_bytes() == before
    journal.close()


def test_a_window_may_wait_for_the_own_engine(path: Path) -> None:
    waits = msgspec.structs.replace(ASKED, local=None, why="")
    journal = Journal(path, pytest.fail)
    journal.commit(Changes(asked=[waits, msgspec.structs.replace(ASKED, id="v")]))
    journal.close()
    journal = Journal(path, pytest.fail)
    assert journal.load().asked == [waits, msgspec.structs.replace(ASKED, id="v")]
    journal.close()


COMMITTER = """
    import sys
    from pathlib import Path
    from unittest.mock import patch
    from bridge.store.journal import Journal
    from bridge.store.records import Changes, GivenUp, SavedSeries
    from tests.unit.test_journal_log import IDLE, rows, turn

    journal = Journal(Path(sys.argv[1]), print)
    with patch.multiple("bridge.store.index", SLACK=0, SHARE=0):  # each commit moves what the idle one has
        journal.commit(Changes(rows=[rows(IDLE, 7)], series=[SavedSeries(IDLE, "m", True, 71, 0, (GivenUp(1, 7),))]))
        for n in range(1_000_000):
            journal.commit(turn(n))
            print(n, flush=True)
"""


@pytest.mark.parametrize("turns", [3, 50, 101])
def test_kill_9_while_records_move_loses_and_doubles_nothing(path: Path, turns: int) -> None:
    command = [sys.executable, "-c", textwrap.dedent(COMMITTER), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) >= turns:
                child.send_signal(signal.SIGKILL)
                break
        said = [int(line), *(int(more) for more in child.stdout.read().split("\n")[:-1])]
    journal = Journal(path, pytest.fail)
    saved = journal.load()
    journal.close()
    last = saved.rows[-1].first // 64
    assert said[-1] <= last <= said[-1] + 1  # one more may be committed and not yet printed
    assert [(kept.key, kept.first, len(kept.values)) for kept in saved.rows] == [(IDLE, 7, 64), (KEY, 64 * last, 64)]
    assert {one.key: (one.next_window, one.skipped) for one in saved.series} == {
        IDLE: (0, (GivenUp(1, 7),)),
        KEY: (64 * last, ()),
    }
    assert [kept.result.id for kept in saved.results] == [f"r{last}"]


def test_a_record_from_before_there_were_later_parts_is_read() -> None:
    before = [{"site": "s", "device": "d", "stream": "x", "epoch": "e"}, "m", True, 700, 64, [(5, 7), (10, 20)]]
    (one,) = decode(msgspec.msgpack.encode({"series": [before]})).series
    assert one == SavedSeries(KEY, "m", True, 700, 64, (GivenUp(5, 7), GivenUp(10, 20)))


VERSION_1 = """
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;
    CREATE TABLE series (
        id INTEGER PRIMARY KEY, site TEXT NOT NULL, device TEXT NOT NULL, stream TEXT NOT NULL, epoch TEXT NOT NULL,
        model TEXT NOT NULL, numbered INTEGER NOT NULL, next_row INTEGER NOT NULL, next_window INTEGER NOT NULL,
        UNIQUE (site, device, stream, epoch));
    CREATE TABLE rows (
        series INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, channels INTEGER NOT NULL,
        data BLOB NOT NULL, t REAL NOT NULL, dt REAL NOT NULL, t_source TEXT NOT NULL, lane TEXT NOT NULL,
        PRIMARY KEY (series, first)) WITHOUT ROWID;
    CREATE TABLE skipped (
        series INTEGER NOT NULL, first INTEGER NOT NULL, after INTEGER NOT NULL,
        PRIMARY KEY (series, first)) WITHOUT ROWID;
    CREATE TABLE decided (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
    CREATE TABLE pending (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE results (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
    INSERT INTO series VALUES (4, 's', 'd', 'x', 'e', 'm', 1, 700, 64), (9, 's', 'idle', 'x', 'e', 'n', 0, 3, 0);
    INSERT INTO skipped VALUES (4, 10, 20), (4, 5, 7);
    INSERT INTO decided VALUES (3, 'one'), (8, 'another');
    PRAGMA user_version = 1;
"""
# as msgpack wrote them before `SavedWindow.local` could be missing
PENDING_1 = msgspec.msgpack.encode({field: getattr(ASKED, field) for field in ASKED.__struct_fields__})
RESULT_1 = msgspec.msgpack.encode({"result": SAID, "arrived": 7.5, "topic": "topic", "correlation": b"c"})


def write_version_1(path: Path, pending: bytes = PENDING_1) -> None:
    with sqlite3.connect(path) as old:
        old.executescript(VERSION_1)
        kept = [
            (4, n, n + 1, 2, np.full((1, 2), n, "<f4").tobytes(), n, 0.5, "device", "backlog") for n in range(64, 700)
        ]
        old.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", kept)
        old.execute("INSERT INTO rows VALUES (9, 0, 3, 1, zeroblob(12), 1.0, 1.0, 'bridge', 'live')")
        old.execute("INSERT INTO pending VALUES ('w', ?)", (pending,))
        old.execute("INSERT INTO results VALUES ('r', ?)", (RESULT_1,))
    old.close()


def check_version_1(path: Path) -> None:
    journal = Journal(path, pytest.fail)
    saved = journal.load()
    journal.close()
    assert saved.series == [
        SavedSeries(KEY, "m", True, 700, 64, (GivenUp(5, 7), GivenUp(10, 20))),
        SavedSeries(IDLE, "n", False, 3, 0),
    ]
    assert [kept.first for kept in saved.rows if kept.key == KEY] == list(range(64, 700))
    assert all(kept.values.tolist() == [[kept.first] * 2] for kept in saved.rows if kept.key == KEY)
    (idle,) = [kept for kept in saved.rows if kept.key == IDLE]
    assert (idle.values.tolist(), idle.t, idle.dt, idle.t_source, idle.lane) == ([[0]] * 3, 1.0, 1.0, "bridge", "live")
    assert (saved.asked, saved.results) == ([ASKED], [SavedResult(SAID, 7.5, "topic", b"c")])
    assert saved.decided == ["one", "another"]


def test_a_journal_of_version_1_is_taken_over_whole(path: Path) -> None:
    write_version_1(path)
    check_version_1(path)
    check_version_1(path)
    with sqlite3.connect(path) as now:
        assert now.execute("PRAGMA user_version").fetchone() == (5,)
        assert {name for (name,) in now.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} == {
            "turns",
            "decided",
        }
    now.close()


def test_taking_over_is_all_or_nothing(path: Path) -> None:
    write_version_1(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, hard))  # no file may grow beyond that
    try:
        with pytest.raises(StoreError, match=r"journal\.db"):
            Journal(path, pytest.fail)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    check_version_1(path)


def test_a_damaged_journal_of_version_1_is_set_aside(path: Path) -> None:
    write_version_1(path, pending=b"\xc1")
    told: list[str] = []
    journal = Journal(path, told.append)
    assert journal.load().series == []
    journal.close()
    (aside,) = path.parent.glob("*.broken-*")
    assert "an entry of the journal is damaged" in told[0]
    assert aside.name in told[0]
