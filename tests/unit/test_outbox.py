from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bridge.errors import StoreError
from bridge.store.outbox import Append, Dropped, End, Limits, Outbox, Release

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge.messages import Rows


def rows(first: int, count: int) -> Rows:
    return np.arange(first * 2, (first + count) * 2, dtype=np.float32).reshape(count, 2)


def opened(path: Path, **limits: object) -> Outbox:
    return Outbox(path, Limits(**limits), tell=pytest.fail)  # type: ignore[arg-type] # the test's own keywords


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox.db"


@pytest.fixture
def box(path: Path) -> Iterator[Outbox]:
    box = opened(path)
    yield box
    box.close()


def test_rows_come_back_in_order_with_their_times(box: Outbox) -> None:
    one = box.begin("wrist", "e").id
    assert box.apply([Append(one, rows(0, 5), t=100.0, dt=0.5, align=4), Append(one, rows(5, 2))], 1.0) == [0, 5]
    pieces = list(box.read(one, 1, 100))
    assert [(p.first, p.last, p.t) for p in pieces] == [(1, 3, 100.5), (4, 4, 102.0), (5, 6, None)]
    assert np.array_equal(np.concatenate([p.values for p in pieces]), rows(1, 6))
    assert box.rows() == 7


def test_series_are_apart_and_numbers_are_never_given_twice(box: Outbox, path: Path) -> None:
    one, two = box.begin("wrist", "e").id, box.begin("wrist", "f").id
    box.apply([Append(one, rows(0, 5)), Append(two, rows(0, 3)), Release(one, 0, 4)], 1.0)
    store = box.store
    box.close()
    again = opened(path)
    assert again.store == store
    assert again.apply([Append(again.begin("wrist", "e").id, rows(5, 1))], 2.0) == [5]
    assert again.kept(one) == [(5, 5)]
    assert again.kept(two) == [(0, 2)]
    again.close()


def test_skipped_numbers_and_the_end(box: Outbox) -> None:
    one = box.begin("wrist", "e").id
    assert box.apply([Append(one, rows(0, 2)), Append(one, rows(5, 2), skip=3), End(one)], 1.0) == [0, 5, None]
    assert box.kept(one) == [(0, 1), (5, 6)]
    assert box.untold(one) == [(2, 4, "not_finite")]
    assert box.series()[0].ended
    assert box.series()[0].next == 7


def test_a_release_splits_blobs_and_repeats_harmlessly(box: Outbox) -> None:
    one = box.begin("wrist", "e").id
    box.apply([Append(one, rows(0, 10), t=0.0, dt=1.0)], 1.0)
    for _ in range(2):
        box.apply([Release(one, 3, 4), Release(one, 4, 6)], 1.0)
        assert box.kept(one) == [(0, 2), (7, 9)]
        (piece,) = box.read(one, 5, 8)
        assert (piece.first, piece.t) == (7, 7.0)
        assert np.array_equal(piece.values, rows(7, 2))
    box.apply([Release(one, 0, 2**53)], 1.0)
    assert box.rows() == box.bytes == 0


def test_full_refuses_new_rows_and_says_so(path: Path) -> None:
    box = opened(path, max_bytes=1000)
    one = box.begin("wrist", "e").id
    box.apply([Append(one, rows(0, 100))], 1.0)
    assert not box.has_room(200)
    with pytest.raises(StoreError, match="full"):
        box.apply([Append(one, rows(100, 100))], 1.0)
    assert box.rows() == 100
    box.apply([Release(one, 0, 99)], 1.0)
    assert box.apply([Append(one, rows(100, 5000))], 1.0) == [100]  # larger than all: taken when nothing else is there
    box.close()


def test_full_drops_the_oldest_and_counts_them(path: Path) -> None:
    box = opened(path, max_bytes=2000, when_full="drop_oldest")
    one = box.begin("wrist", "e").id
    for i in range(40):
        box.apply([Append(one, rows(i * 10, 10))], float(i))
    assert box.bytes <= 2000
    (kept,) = box.kept(one)
    (dropped,) = box.dropped()
    assert (dropped.first, dropped.last + 1, kept[1], dropped.rule) == (0, kept[0], 399, "size")
    box.close()


def test_old_rows_go_by_age(path: Path) -> None:
    box = opened(path, max_age=10.0)
    one = box.begin("wrist", "e").id
    box.apply([Append(one, rows(0, 5))], 0.0)
    box.apply([Append(one, rows(5, 5))], 5.0)
    assert box.expire(9.0) == 0
    assert box.expire(12.0) == 5
    assert box.kept(one) == [(5, 9)]
    assert box.dropped() == [Dropped(one, 0, 4, "age", 12.0)]
    box.close()


def test_giving_up_is_recorded_only_for_what_was_there(box: Outbox) -> None:
    one = box.begin("wrist", "e").id
    box.apply([Append(one, rows(0, 10)), Release(one, 2, 3), Release(one, 0, 5, rule="shape")], 1.0)
    assert [(d.first, d.last, d.rule) for d in box.dropped()] == [(0, 1, "shape"), (4, 5, "shape")]


def test_a_failed_commit_changes_nothing(box: Outbox) -> None:
    one = box.begin("wrist", "e").id
    box.apply([Append(one, rows(0, 5))], 1.0)
    kept = box.bytes
    with pytest.raises(StoreError, match="no series 99"):
        box.apply([Release(one, 0, 4), Append(99, rows(0, 5))], 1.0)
    assert box.kept(one) == [(0, 4)]
    assert box.bytes == kept


def test_a_full_disk_is_a_store_error_and_passes(box: Outbox) -> None:
    one = box.begin("wrist", "e").id
    pages = box._db.execute("PRAGMA page_count").fetchone()[0]
    box._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match="full"):
        box.apply([Append(one, rows(0, 50_000))], 1.0)
    box._db.execute("PRAGMA max_page_count = 1000000")
    assert box.apply([Append(one, rows(0, 50_000))], 1.0) == [0]


def test_two_processes_cannot_share_a_file(box: Outbox, path: Path) -> None:
    box.begin("wrist", "e")
    with pytest.raises(StoreError, match="in use by another process"):
        opened(path)


def test_a_newer_file_is_left_alone(path: Path) -> None:
    opened(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="newer version"):
        opened(path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be made"):
        opened(tmp_path / "file" / "outbox.db")


WRITER = """
import sys
from pathlib import Path
import numpy as np
from bridge.store.outbox import Append, Limits, Outbox, Release
box = Outbox(Path(sys.argv[1]), Limits(), tell=print)
one = box.begin("wrist", "e").id
while True:
    first = box.begin("wrist", "e").next
    values = np.repeat(np.arange(first, first + 32, dtype=np.float32)[:, None], 3, axis=1)
    box.apply([Append(one, values), Release(one, first - 96, first - 65)], 1.0)
    print(first + 31, flush=True)
"""


def test_what_was_committed_is_there_after_kill_9(path: Path) -> None:
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        deadline = time.monotonic() + 0.3
        last = int(child.stdout.readline())
        while time.monotonic() < deadline:
            last = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        last = max([last, *(int(line) for line in child.stdout.read().split("\n")[:-1])])
        child.wait()
        child.stdout.close()
        box = opened(path)
        one = box.begin("wrist", "e")
        assert one.next > last
        pieces = list(box.read(one.id, 0, 2**53))
        values = np.concatenate([piece.values for piece in pieces])
        assert np.array_equal(values[:, 0], np.arange(one.next - len(values), one.next, dtype=np.float32))
        assert len(values) == 96 or one.next < 96
        box.close()
