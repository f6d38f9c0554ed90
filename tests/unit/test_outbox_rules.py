"""What the outbox gives up by rule, what it remembers of it, and how it counts age."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import StoreError
from bridge.store.age import AgeClock, Moment
from bridge.store.database import Full
from bridge.store.outbox import Append, Limits, Outbox, Release

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.messages import Rows

BLOCK = 64


def rows(first: int, count: int) -> Rows:
    return np.arange(first * 2, (first + count) * 2, dtype=np.float32).reshape(count, 2)


def opened(path: Path, **limits: object) -> Outbox:
    return Outbox(path, Limits(**limits), tell=pytest.fail)  # type: ignore[arg-type] # the test's own keywords


def filled(path: Path, count: int, **limits: object) -> tuple[Outbox, int]:
    box = opened(path, thin_rows=BLOCK, **limits)
    one = box.begin("wrist", "e").id
    for first in range(0, count, 25):
        box.apply([Append(one, rows(first, 25), align=25)], float(first))
    return box, one


def row_set(ranges: list[tuple[int, int]]) -> set[int]:
    return {row for first, last in ranges for row in range(first, last + 1)}


@pytest.mark.parametrize("count", [2_000, 10_000, 30_000])
def test_thinning_leaves_whole_blocks_the_newer_half_whole_and_stays_within_bytes(tmp_path: Path, count: int) -> None:
    box, one = filled(tmp_path / "a.db", count, when_full="thin_out", max_bytes=12_000)
    kept = row_set(box.kept(one, most=10_000))
    assert box.bytes <= 12_000
    assert {count - 1, count - 200} <= kept, "the newest are there"
    blocks = {row // BLOCK for row in kept if row < count - count % BLOCK}
    assert row_set([(block * BLOCK, block * BLOCK + BLOCK - 1) for block in blocks]) <= kept | set(range(BLOCK))
    assert 0 in kept, "the oldest block stays: the past gets coarse, not short"
    gone = row_set([(d.first, d.last) for d in box.dropped()])
    assert gone | kept == set(range(count))
    assert not gone & kept
    assert {d.rule for d in box.dropped()} == {"thin_out"}
    box.close()


def test_what_was_thinned_reads_as_it_was(tmp_path: Path) -> None:
    box, one = filled(tmp_path / "a.db", 3_000, when_full="thin_out", max_bytes=12_000)
    for piece in box.read(one, 0, 3_000):
        assert np.array_equal(piece.values, rows(piece.first, len(piece.values)))
    box.close()


def test_where_nothing_is_left_to_thin_the_oldest_go(tmp_path: Path) -> None:
    box, one = filled(tmp_path / "a.db", 500, when_full="thin_out", max_bytes=500)
    assert box.bytes <= 500
    assert box.rows() > 0
    assert box.kept(one)[-1][1] == 499
    box.close()


def test_the_bridge_is_to_be_told_of_everything_but_its_own_refusals_across_restarts(tmp_path: Path) -> None:
    box = opened(tmp_path / "a.db", max_age=10.0)
    one = box.begin("wrist", "e").id
    box.apply([Append(one, rows(0, 10)), Release(one, 8, 9, rule="refused: shape")], 0.0)
    box.expire(100.0, wall=5.0)
    assert box.untold(one) == [(0, 7, "age")]
    assert box.dropped()[-1].at == 5.0
    assert box.holds(one)
    box.close()
    box = opened(tmp_path / "a.db")
    assert box.given_up.series == {one}
    box.apply([Release(one, 2, 3)], 0.0)
    assert box.untold(one) == [(0, 1, "age"), (4, 7, "age")]
    box.apply([Release(one, 0, 9)], 0.0)
    assert box.untold(one) == []
    assert not box.holds(one)
    assert len(box.dropped()) == 2, "the ledger keeps what was told"
    box.close()


def test_what_was_to_be_told_is_as_before_after_a_failed_commit(tmp_path: Path) -> None:
    box = opened(tmp_path / "a.db")
    one = box.begin("wrist", "e").id
    box.apply([Append(one, rows(0, 10))], 0.0)
    with pytest.raises(StoreError, match="no series"):
        box.apply([Release(one, 0, 4, rule="age"), Append(99, rows(0, 1))], 0.0)
    assert box.given_up.series == frozenset()
    assert box.rows(one) == 10
    box.close()


def test_a_full_disk_makes_room_by_the_rule(tmp_path: Path) -> None:
    for rule, rows_given_up in (("refuse_new", False), ("drop_oldest", True), ("thin_out", True)):
        box, one = filled(tmp_path / f"{rule}.db", 20_000, when_full=rule)
        pages = box._db.execute("PRAGMA page_count").fetchone()[0]
        box._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(Full):
            box.apply([Append(one, rows(first, 1000)) for first in range(20_000, 40_000, 1000)], 1.0)
        tried = box.begin("wrist", "e").next
        assert bool(box.make_room(1.0)) == rows_given_up
        if rows_given_up:
            assert box.apply([Append(one, rows(tried, 1000))], 1.0) == [tried]
        box.close()


def test_a_file_of_version_1_is_taken_over(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.db") as db:
        db.executescript(
            """CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
            CREATE TABLE series(id INTEGER PRIMARY KEY, stream TEXT NOT NULL, epoch TEXT NOT NULL,
                next INTEGER NOT NULL DEFAULT 0, ended INTEGER NOT NULL DEFAULT 0, UNIQUE(stream, epoch));
            CREATE TABLE blobs(id INTEGER PRIMARY KEY, series INTEGER NOT NULL, first INTEGER NOT NULL,
                count INTEGER NOT NULL, t REAL, dt REAL, kept REAL NOT NULL, data BLOB NOT NULL);
            CREATE UNIQUE INDEX blobs_rows ON blobs(series, first);
            CREATE TABLE dropped(id INTEGER PRIMARY KEY, series INTEGER NOT NULL, first INTEGER NOT NULL,
                last INTEGER NOT NULL, rule TEXT NOT NULL, at REAL NOT NULL);
            INSERT INTO meta VALUES('store', 'abcd1234');
            INSERT INTO series VALUES(1, 'wrist', 'e', 5, 0);
            PRAGMA user_version = 1;"""
        )
        db.execute("INSERT INTO blobs VALUES(1, 1, 0, 5, NULL, NULL, 1.0, ?)", (rows(0, 5).tobytes(),))
    db.close()
    box = opened(tmp_path / "a.db")
    assert box.store == "abcd1234"
    assert box.kept(1) == [(0, 4)]
    assert box.apply([Append(1, rows(5, 5))], 1.0) == [5]
    assert np.array_equal(np.concatenate([piece.values for piece in box.read(1, 0, 9)]), rows(0, 10))
    box.close()


def test_ages_do_not_follow_the_wall_clock_while_the_agent_runs() -> None:
    clock = AgeClock(None, wall=1e9, mono=50.0, most=0.0)
    assert clock.at(50.0) == 1e9
    assert clock.at(60.0) == 1e9 + 10


@pytest.mark.parametrize(
    ("pause", "most", "counts"), [(100.0, 3600.0, 100.0), (-1e6, 3600.0, 0.0), (1e6, 3600.0, 3600.0), (1e6, 0.0, 0.0)]
)
def test_a_pause_counts_but_neither_backwards_nor_without_bound(pause: float, most: float, counts: float) -> None:
    saved = Moment(age=5e8, wall=1e9)
    clock = AgeClock(saved, wall=1e9 + pause, mono=0.0, most=most)
    assert clock.at(1.0) == 5e8 + counts + 1


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(-1e9, 1e9), st.booleans()), max_size=30))
def test_no_row_is_too_old_before_a_quarter_of_the_time_nor_younger_than_it_was_kept(
    lives: list[tuple[float, float, bool]],
) -> None:
    greatest, wall, ran = 100.0, 1e9, 0.0
    clock = AgeClock(None, wall=wall, mono=0.0, most=greatest / 2)
    came, noted = clock.at(0.0), clock.moment(0.0, wall)
    for lasted, jump, in_order in lives:
        age = clock.at(lasted) - came
        assert ran + lasted <= age + 1e-3
        assert age < greatest or ran + lasted >= greatest / 4 - 1e-3
        if in_order:
            ran, noted = ran + lasted, clock.moment(lasted, wall + lasted)
        wall += lasted + jump
        clock = AgeClock(noted, wall=wall, mono=0.0, most=greatest / 2)


@pytest.mark.parametrize("moment", [Moment(1.5, 2.25), Moment(1.5, 2.25, 50.0)])
def test_the_moment_outlives_the_agent(tmp_path: Path, moment: Moment) -> None:
    box = opened(tmp_path / "a.db")
    assert box.moment() is None
    box.note(moment)
    box.close()
    box = opened(tmp_path / "a.db")
    assert box.moment() == moment
    box.close()


def test_where_no_moment_was_noted_the_rows_tell_it_and_the_pause_is_nothing(tmp_path: Path) -> None:
    box, one = filled(tmp_path / "a.db", 1_000)
    found = box.moment()
    assert found is not None
    assert 1_000 - 25 * 15 <= found.age < 1_000, "they came at 0, 25, … 975"
    assert AgeClock(found, wall=1e9, mono=0.0, most=50.0).at(0.0) == found.age
    box._db.execute("UPDATE blobs SET kept = 1e300 WHERE id = (SELECT max(id) FROM blobs)")
    assert box.moment() == found, "one damaged value does not make all rows old"
    box.apply([Release(one, 0, 999)], 0.0)
    assert box.moment() is None
    box.close()


def test_the_next_row_kept(tmp_path: Path) -> None:
    box, one = filled(tmp_path / "a.db", 100)
    box.apply([Release(one, 10, 59)], 0.0)
    assert [box.next_kept(one, row) for row in (0, 9, 10, 59, 70, 100)] == [0, 9, 60, 60, 70, None]
    box.close()
