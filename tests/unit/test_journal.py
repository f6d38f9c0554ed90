"""What is committed is there after anything; what is not is not there at all."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from bridge.errors import StoreError
from bridge.messages import Answer, Result, SeriesKey
from bridge.store.conversion import checksum
from bridge.store.journal import Journal
from bridge.store.records import Changes, GivenUp, SavedResult, SavedRows, SavedSegment, SavedSeries, SavedWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = SeriesKey("s", "d", "x", "e")
OTHER = SeriesKey("s", "d", "x", "f")


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


@pytest.fixture
def journal(path: Path, told: list[str]) -> Iterator[Journal]:
    journal = Journal(path, told.append)
    yield journal
    journal.close()


@pytest.fixture
def reopened(path: Path, journal: Journal, told: list[str]) -> Iterator[Callable[[], Journal]]:
    """The journal after a restart."""
    opened: list[Journal] = [journal]

    def again() -> Journal:
        opened[-1].close()
        opened.append(Journal(path, told.append))
        return opened[-1]

    yield again
    opened[-1].close()


def rows(first: int, end: int, key: SeriesKey = KEY, channels: int = 2) -> SavedRows:
    values = np.arange(first * channels, end * channels, dtype=np.float32).reshape(-1, channels)
    return SavedRows(key, first, values, 100.0 + first, 0.5, "device", "backlog")


def series(next_row: int, next_window: int, key: SeriesKey = KEY, **fields: Any) -> SavedSeries:
    return SavedSeries(key, "activity", True, next_row, next_window, **fields)


def result(name: str, **fields: Any) -> SavedResult:
    said = Result(
        name, "d", "x", 0, "e", 1.5, "activity", "1", "sit", 0.5, "cloud", False, 0, 2.5, "why", "live", local={"a": 1}
    )
    return SavedResult(said, 7.5, "edge/v1/s/d/result/activity", **fields)


def window(name: str) -> SavedWindow:
    return SavedWindow(
        name, KEY, 64, b"\0\0\x80?" * 4, 2, 1.5, "bridge", 7.5, "activity", "live", 2.0,
        Answer("sit", 0.4, "1", "small"), "unsure", "reply/to", b"\x00\xff",
    )  # fmt: skip


def firsts(journal: Journal, key: SeriesKey = KEY) -> list[int]:
    return [kept.first for kept in journal.load().rows if kept.key == key]


def test_an_empty_journal_holds_nothing(journal: Journal) -> None:
    saved = journal.load()
    assert (saved.series, saved.rows, saved.asked, saved.results) == ([], [], [], [])
    journal.commit(Changes())


def test_everything_comes_back_as_it_was(reopened: Callable[[], Journal], journal: Journal) -> None:
    kept = rows(0, 3)
    journal.commit(
        Changes(
            rows=[kept],
            series=[series(3, 0, skipped=(GivenUp(5, 7, "age"),), windows=3, given_up=9)],
            asked=[window("w")],
            results=[result("r", correlation=b"c")],
        )
    )
    saved = reopened().load()
    assert saved.series == [series(3, 0, skipped=(GivenUp(5, 7, "age"),), windows=3, given_up=9)]
    assert (saved.asked, saved.results) == ([window("w")], [result("r", correlation=b"c")])
    (back,) = saved.rows
    assert (back.key, back.first, back.t, back.dt, back.t_source, back.lane) == (
        KEY,
        0,
        100.0,
        0.5,
        "device",
        "backlog",
    )
    assert np.array_equal(back.values, kept.values)


def test_a_question_remembers_that_it_was_answered_provisionally(
    journal: Journal, reopened: Callable[[], Journal]
) -> None:
    told = msgspec.structs.replace(window("w"), provisional=True)
    journal.commit(Changes(asked=[told]))
    assert reopened().load().asked == [told]


def test_a_question_of_a_version_without_provisional_results_is_read(path: Path, told: list[str]) -> None:
    """That version's records are as today's, but for the key."""
    fields = msgspec.structs.asdict(window("w"))
    del fields["provisional"]
    body = msgspec.msgpack.encode({"asked": [fields]})
    Journal(path, told.append).close()
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO turns VALUES (1, ?, ?)", (body, checksum(1, body)))
    database.close()
    journal = Journal(path, told.append)
    assert (journal.load().asked, told) == ([window("w")], [])
    assert not window("w").provisional
    journal.close()


def test_rows_go_once_their_last_window_is_cut(journal: Journal) -> None:
    journal.commit(Changes(rows=[rows(0, 4), rows(4, 9), rows(9, 12)], series=[series(12, 0)]))
    journal.commit(Changes(series=[series(12, 8)]))
    assert firsts(journal) == [4, 9]
    journal.commit(Changes(series=[series(12, 12)]))
    assert firsts(journal) == []


def test_rows_and_the_windows_they_complete_may_come_in_one_commit(journal: Journal) -> None:
    journal.commit(Changes(rows=[rows(0, 4), rows(4, 6)], series=[series(6, 4)]))
    assert firsts(journal) == [4]


def test_other_series_keep_their_rows(journal: Journal) -> None:
    journal.commit(Changes(rows=[rows(0, 4), rows(0, 4, OTHER)], series=[series(4, 0), series(4, 0, OTHER)]))
    journal.commit(Changes(series=[series(4, 4)]))
    assert (firsts(journal), firsts(journal, OTHER)) == ([], [0])


def test_a_longer_chunk_replaces_a_shorter_one(journal: Journal) -> None:
    journal.commit(Changes(rows=[rows(10, 12)], series=[series(0, 0)]))
    journal.commit(Changes(rows=[rows(10, 15)], series=[series(0, 0)]))
    assert [len(kept.values) for kept in journal.load().rows] == [5]


def test_rows_come_back_in_order(journal: Journal) -> None:
    for first in (20, 5, 100, 0):
        journal.commit(Changes(rows=[rows(first, first + 3)], series=[series(0, 0)]))
    assert firsts(journal) == [0, 5, 20, 100]


def test_a_forgotten_series_leaves_nothing(journal: Journal, reopened: Callable[[], Journal]) -> None:
    journal.commit(
        Changes(
            rows=[rows(0, 4), rows(0, 4, OTHER)], series=[series(4, 0, skipped=(GivenUp(1, 2),)), series(4, 0, OTHER)]
        )
    )
    journal.commit(Changes(forgotten=[KEY, SeriesKey("never", "seen", "x", "")]))
    saved = reopened().load()
    assert [kept.key for kept in saved.series] == [OTHER]
    assert {kept.key for kept in saved.rows} == {OTHER}


def test_a_series_that_comes_back_begins_anew(journal: Journal) -> None:
    journal.commit(Changes(rows=[rows(0, 4)], series=[series(4, 0, skipped=(GivenUp(1, 2),))]))
    journal.commit(Changes(forgotten=[KEY], rows=[rows(7, 8)], series=[series(0, 0)]))
    saved = journal.load()
    assert (saved.series, [kept.first for kept in saved.rows]) == ([series(0, 0)], [7])


def test_rows_of_a_series_that_was_forgotten_in_the_same_turn_are_not_kept(journal: Journal) -> None:
    journal.commit(Changes(rows=[rows(0, 4)], series=[series(4, 0)]))
    journal.commit(Changes(rows=[rows(4, 6)], forgotten=[KEY]))
    saved = journal.load()
    assert (saved.series, saved.rows) == ([], [])


def test_a_question_is_kept_until_answered_and_a_result_until_taken(journal: Journal) -> None:
    journal.commit(Changes(asked=[window("a"), window("b")]))
    journal.commit(Changes(answered=["a"], results=[result("a")]))
    saved = journal.load()
    assert ([kept.id for kept in saved.asked], [kept.result.id for kept in saved.results]) == (["b"], ["a"])
    journal.commit(Changes(taken=["a"]))
    assert journal.load().results == []


def test_what_was_given_up_is_what_was_said_last(journal: Journal) -> None:
    journal.commit(Changes(series=[series(9, 0, skipped=(GivenUp(1, 2), GivenUp(5, 7)))]))
    journal.commit(Changes(series=[series(20, 0, skipped=(GivenUp(5, 7), GivenUp(10, 12, "age")))]))
    (kept,) = journal.load().series
    assert kept.skipped == (GivenUp(5, 7), GivenUp(10, 12, "age"))


def test_rows_of_a_later_part_go_once_neither_its_windows_nor_those_across_its_begin_need_them(
    journal: Journal,
) -> None:
    part = SavedSegment(begin=100, keep=103, next_row=116, next_window=112)
    kept = [rows(0, 4), rows(100, 104), rows(104, 110), rows(110, 116), rows(120, 124)]
    journal.commit(Changes(rows=kept, series=[series(4, 0, later=(part,))]))
    assert firsts(journal) == [0, 100, 110, 120]
    part = msgspec.structs.replace(part, next_row=130, next_window=128)
    journal.commit(Changes(rows=[rows(124, 130)], series=[series(4, 0, later=(part,))]))
    assert firsts(journal) == [0, 100, 124]
    journal.commit(Changes(series=[series(130, 128)]))
    assert firsts(journal) == [124]


def test_rows_held_before_the_next_window_are_kept_so_that_they_are_known_to_have_come(journal: Journal) -> None:
    journal.commit(Changes(rows=[rows(2, 3), rows(6, 7)], series=[series(1, 8)]))
    assert firsts(journal) == [2, 6]
    journal.commit(Changes(series=[series(3, 8, later=(SavedSegment(20, 20, 21, 24),))]))
    journal.commit(Changes(rows=[rows(22, 23)], series=[series(3, 8, later=(SavedSegment(20, 20, 21, 24),))]))
    assert firsts(journal) == [6, 22]
    journal.commit(Changes(series=[series(24, 24)]))
    assert firsts(journal) == []


def test_the_rows_known_are_those_below_the_next_ones_without_those_given_up() -> None:
    later = (SavedSegment(100, 103, 116, 112),)
    skipped = (GivenUp(1, 3), GivenUp(20, 30), GivenUp(105, 106), GivenUp(114, 120))
    saved = series(10, 0, skipped=skipped, given_up=5 + 19, later=later)  # 5 of them long ago
    assert saved.rows == 10 + 16 - 5 - 2 - 1 - 2


def test_a_commit_is_all_or_nothing(journal: Journal, reopened: Callable[[], Journal]) -> None:
    journal.commit(Changes(rows=[rows(0, 4)], series=[series(4, 0)], asked=[window("a")]))
    changes = Changes(
        rows=[rows(4, 6), rows(8, 9, OTHER)],
        series=[series(6, 4), series(9, 0, OTHER)],
        forgotten=[KEY],
        answered=["a"],
        results=[result("r")],
        decided=["d", object()],  # type: ignore[list-item] # the last statement of the transaction refuses it
    )
    with pytest.raises(StoreError, match=r"journal\.db"):
        journal.commit(changes)
    journal.commit(Changes(rows=[rows(4, 5)], series=[series(5, 0)]))  # the series is not forgotten in memory either
    saved = reopened().load()
    assert saved.series == [series(5, 0)]
    assert [kept.first for kept in saved.rows] == [0, 4]
    assert ([kept.id for kept in saved.asked], saved.results, saved.decided) == (["a"], [], [])


@pytest.mark.parametrize("form", [np.float32, np.dtype(">f4"), np.float64])
def test_numbers_survive_whatever_their_layout(journal: Journal, form: Any) -> None:
    values: Any = np.asfortranarray(np.array([[1.5, -2.0, 3e38], [4.0, 1e-45, 0.0]], dtype=form))
    journal.commit(Changes(rows=[SavedRows(KEY, 0, values[:, ::2], 0.0, 1.0, "bridge", "live")], series=[series(2, 0)]))
    (kept,) = journal.load().rows
    assert np.array_equal(kept.values, values[:, ::2].astype(np.float32))


def test_the_file_belongs_to_one_process(path: Path, journal: Journal, told: list[str]) -> None:
    journal.commit(Changes(asked=[window("a")]))
    code = f"from pathlib import Path; from bridge.store.journal import Journal; Journal(Path({str(path)!r}), print)"
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=25)
    assert "StoreError" in second.stderr
    assert "in use by another process; give each its own state folder" in second.stderr
    assert told == []
    assert [kept.id for kept in journal.load().asked] == ["a"]


@pytest.mark.parametrize("damage", [b"no database at all " * 300, None], ids=["another file", "a page overwritten"])
def test_a_damaged_file_is_set_aside_and_told(path: Path, told: list[str], damage: bytes | None) -> None:
    first = Journal(path, told.append)
    first.commit(Changes(rows=[rows(0, 4_000)], series=[series(4_000, 0)], asked=[window("a")]))
    first.close()
    content = bytearray(path.read_bytes())
    content[4096:8192] = os.urandom(4096)
    path.write_bytes(content if damage is None else damage)
    second = Journal(path, told.append)
    try:
        assert [kept.first for kept in second.load().rows] == [0] * (damage is None)  # it was no record's page
        second.commit(Changes(asked=[window("b")]))
    finally:
        second.close()
    (sentence,) = told
    (aside,) = path.parent.glob("*.broken-*")
    assert aside.name in sentence
    assert (
        aside.read_bytes()[4096:] == (bytes(content) if damage is None else damage)[4096:]
    )  # opening counts in page 1


def test_a_newer_file_is_left_alone(path: Path, journal: Journal, told: list[str]) -> None:
    journal.close()
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreError, match="newer version"):
        Journal(path, told.append)
    assert told == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, told: list[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be made"):
        Journal(tmp_path / "file" / "state" / "journal.db", told.append)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_told(tmp_path: Path, told: list[str]) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o500)
    with pytest.raises(StoreError, match=r"journal\.db"):
        Journal(folder / "journal.db", told.append)


def test_a_closed_journal_takes_nothing(journal: Journal) -> None:
    journal.close()
    with pytest.raises(StoreError):
        journal.commit(Changes(asked=[window("a")]))
    journal.close()


COMMITTER = """
    import sys
    from pathlib import Path
    import numpy as np
    from bridge.messages import SeriesKey
    from bridge.store.journal import Journal
    from bridge.store.records import Changes, SavedRows, SavedSeries

    key = SeriesKey("s", "d", "x", "e")
    journal = Journal(Path(sys.argv[1]), print)
    for turn in range(1_000_000):
        rows = SavedRows(key, turn * 3, np.full((3, 2), turn, np.float32), 0.0, 1.0, "device", "live")
        journal.commit(Changes(rows=[rows], series=[SavedSeries(key, "m", True, turn * 3 + 3, 0)]))
        print(turn, flush=True)
"""


def test_whatever_was_committed_is_there_after_kill_9(path: Path, told: list[str]) -> None:
    command = [sys.executable, "-c", textwrap.dedent(COMMITTER), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) >= 100:
                child.send_signal(signal.SIGKILL)
                break
        said = [int(line), *(int(more) for more in child.stdout.read().split("\n")[:-1])]
    journal = Journal(path, told.append)
    try:
        saved = journal.load()
    finally:
        journal.close()
    turns = len(saved.rows)
    assert told == []
    assert said[-1] + 1 <= turns <= said[-1] + 2  # one more may be committed and not yet printed
    assert [kept.first for kept in saved.rows] == [3 * turn for turn in range(turns)]
    assert [kept.values.tolist() for kept in saved.rows] == [[[turn, turn]] * 3 for turn in range(turns)]
    assert [(kept.next_row, kept.next_window) for kept in saved.series] == [(3 * turns, 0)]
