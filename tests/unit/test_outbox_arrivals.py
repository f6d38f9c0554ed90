"""Rows that come alone are kept by one statement, as others are by a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from bridge.errors import StoreError
from bridge.store.outbox import Append, End, Limits, Outbox, Release

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge.messages import Rows
    from bridge.store.outbox import Change


def rows(count: int, value: float = 1.0) -> Rows:
    return np.full((count, 2), value, np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def box(path: Path) -> Iterator[Outbox]:
    box = Outbox(path, Limits(max_bytes=2_000), tell=pytest.fail)
    yield box
    box.close()


def transactions(box: Outbox, *changes: Change) -> tuple[list[int | None], int]:
    said: list[str] = []
    box._db.set_trace_callback(said.append)
    found = box.apply(changes, 1.0)
    box._db.set_trace_callback(None)
    return found, sum(one.startswith("BEGIN") for one in said)


def test_what_comes_alone_needs_no_transaction_and_all_else_does(box: Outbox) -> None:
    series = box.begin("a", "e").id
    assert transactions(box, Append(series, rows(3), 5.0, 0.1, align=4)) == ([0], 0)
    assert transactions(box, Append(series, rows(1), align=4)) == ([3], 0)
    assert transactions(box, Append(series, rows(5), align=4)) == ([4], 1)  # two blobs
    assert transactions(box, Append(series, rows(1), skip=2)) == ([11], 1)
    assert transactions(box, Append(series, rows(1)), Append(series, rows(1))) == ([12, 13], 1)
    assert transactions(box, Append(series, rows(1)[:0])) == ([14], 1)
    assert transactions(box, Release(series, 0, 1)) == ([None], 1)
    assert [(one.first, one.t) for one in box.read(series, 0, 3)] == [(2, pytest.approx(5.2)), (3, None)]


def test_what_comes_alone_goes_on_where_the_series_is(box: Outbox, path: Path) -> None:
    series = box.begin("a", "e").id
    box.apply([End(series)], 1.0)
    assert transactions(box, Append(series, rows(3, 7.0))) == ([0], 0)
    assert (box.series()[0].next, box.series()[0].ended, box.rows(series)) == (3, False, 3)
    counted = box.bytes
    box.close()
    again = Outbox(path, Limits(), tell=pytest.fail)
    assert (again.bytes, again.begin("a", "e").next, again.dropped()) == (counted, 3, [])
    assert [piece.values.tolist() for piece in again.read(series, 0, 9)] == [[[7.0, 7.0]] * 3]
    assert transactions(again, Append(series, rows(1))) == ([3], 0)
    again.close()


def test_beyond_the_bound_the_rule_decides(box: Outbox) -> None:
    series = box.begin("a", "e").id
    assert transactions(box, Append(series, rows(200)))[1] == 0
    with pytest.raises(StoreError, match="full"):
        box.apply([Append(series, rows(100))], 1.0)
    assert box.series()[0].next == 200


def test_what_the_disk_refuses_changes_nothing(box: Outbox) -> None:
    series = box.begin("a", "e").id
    box._db.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match="read-only"):
        box.apply([Append(series, rows(1))], 1.0)
    box._db.execute("PRAGMA query_only = OFF")
    assert (box.bytes, box.rows(), box.series()[0].next) == (0, 0, 0)
    assert transactions(box, Append(series, rows(1))) == ([0], 0)


def test_of_a_series_that_is_not_there_nothing_is_kept(box: Outbox) -> None:
    with pytest.raises(StoreError, match="no series 5"):
        box.apply([Append(5, rows(1))], 1.0)
