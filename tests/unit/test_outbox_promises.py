"""Numbers that were sent before their rows were kept are never given to others."""

from __future__ import annotations

import os
import shutil
import sqlite3
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bridge.errors import StoreError
from bridge.store.database import condemn
from bridge.store.marked import Marked
from bridge.store.outbox import MARKS, Append, Limits, Outbox, Release
from bridge.store.promises import RESERVED, boot_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from bridge.messages import Rows
    from bridge.store.outbox import Change


def rows(count: int) -> Rows:
    return np.zeros((count, 2), np.float32)


class Lives:
    """Openings of one outbox, each of what the one before left behind if it was killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0

    @property
    def path(self) -> Path:
        return self._folder / str(self._number) / "outbox.db"

    @property
    def marks(self) -> Path:
        return self.path.with_name(self.path.name + MARKS)

    def open(
        self, boot: str = "b1", tell: Callable[[str], None] = pytest.fail, *, most: int = 1 << 20, killed: bool = True
    ) -> Outbox:
        if killed:
            before = self.path.parent
            self._number += 1
            if before.exists():
                shutil.copytree(before, self.path.parent)
            else:
                self.path.parent.mkdir()
        return Outbox(self.path, Limits(max_bytes=most), tell=tell, boot=boot)


@pytest.fixture
def lives(tmp_path: Path) -> Lives:
    return Lives(tmp_path)


def fed(box: Outbox, count: int = 8) -> int:
    """A series with so many rows, of which numbers can be promised."""
    series = box.begin("wrist", "e").id
    box.apply([Append(series, rows(count))], 1.0)
    box.reserve(series)
    return series


def test_what_is_promised_is_the_number_that_the_rows_get(lives: Lives) -> None:
    box = lives.open()
    series = fed(box)
    for first in range(8, 8 + RESERVED, 100):
        append = Append(series, rows(100))
        assert box.promise(append) == first
        assert box.apply([append], 1.0) == [first]
        box.reserve(series)
    assert box.dropped() == []


def test_a_promise_needs_a_number_that_is_reserved_and_room(lives: Lives) -> None:
    box = lives.open(most=1_000)
    series = box.begin("wrist", "e").id
    assert box.promise(Append(series, rows(2))) is None, "nothing is reserved"
    fed(box)
    assert box.promise(Append(series, rows(2), skip=1)) is None
    assert box.promise(Append(series, rows(200))) is None, "no room"
    assert box.promise(Append(series, rows(RESERVED + 1)[:, :0])) is None, "more than is reserved"
    nowhere = lives.open(boot="")
    assert nowhere.promise(Append(fed(nowhere), rows(2))) is None, "no boot is known"


def test_after_a_kill_promised_numbers_are_given_up_and_told(lives: Lives) -> None:
    box = lives.open()
    series = fed(box)
    assert box.promise(Append(series, rows(5))) == 8
    told: list[str] = []
    after = lives.open(tell=told.append)
    assert after.apply([Append(series, rows(1))], 2.0) == [13]
    assert after.untold(series) == [(8, 12, "unused")]
    assert not told, "nothing that was kept is gone"


def test_what_was_kept_and_is_gone_is_told_apart_from_what_was_only_sent(lives: Lives) -> None:
    box = lives.open()
    series = fed(box)
    log = lives.path.with_name("outbox.db-wal")
    before = log.read_bytes()
    box.apply([Append(series, rows(3))], 1.0)
    assert box.promise(Append(series, rows(5))) == 11
    log.write_bytes(before)
    told: list[str] = []
    after = lives.open(tell=told.append)
    assert after.untold(series) == [(8, 10, "damaged"), (11, 15, "unused")]
    assert "rows 8 to 10 of stream wrist" in told[0]
    assert after.begin("wrist", "e").next == 16


def test_what_else_is_committed_takes_no_promise_back(lives: Lives) -> None:
    box = lives.open()
    series = fed(box)
    assert box.promise(Append(series, rows(5))) == 8
    box.apply([Release(series, 0, 3)], 1.0)
    assert lives.open().begin("wrist", "e").next == 13


def test_after_a_power_loss_all_that_was_reserved_counts_as_given(lives: Lives) -> None:
    box = lives.open()
    series = fed(box)
    synced = lives.marks.read_bytes()
    assert box.promise(Append(series, rows(5))) == 8
    lives.marks.write_bytes(synced)
    after = lives.open(boot="b2")
    assert after.begin("wrist", "e").next == 8 + RESERVED
    assert after.untold(series) == [(8, 7 + RESERVED, "unused")]
    assert [(one.first, one.last) for one in after.read(series, 0, 1 << 30)] == [(0, 7)]
    assert lives.open(boot="b3").begin("wrist", "e").next == 8 + RESERVED, "once only"


def test_a_closed_outbox_owes_nothing_but_what_was_sent_and_is_not_kept(lives: Lives) -> None:
    box = lives.open()
    series = fed(box)
    box.close()
    box = lives.open(boot="b2", killed=False)
    assert box.begin("wrist", "e").next == 8
    fed(box)
    assert box.promise(Append(series, rows(1))) == 16
    box.close()
    assert lives.open(boot="b3", killed=False).begin("wrist", "e").next == 16 + RESERVED


def test_a_disk_that_refuses_leaves_the_number_for_the_next_try(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    box = lives.open()
    series = fed(box)
    append = Append(series, rows(2))
    assert box.promise(append) == 8
    with monkeypatch.context() as patch:
        patch.setattr(box._arrivals, "take", _refuse)
        with pytest.raises(StoreError):
            box.apply([append], 1.0)
    assert box.apply([append], 1.0) == [8]


def test_the_kernel_tells_its_boot_and_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "boot").write_bytes(b"\xff")
    assert boot_id(tmp_path / "boot") == boot_id(tmp_path / "none") == ""
    (tmp_path / "boot").write_text("abc\n")
    assert boot_id(tmp_path / "boot") == "abc"


def _refuse(*_: object, **__: object) -> int:
    raise StoreError("no space left on device")


def test_what_no_mark_can_tell_is_not_promised(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    box = lives.open()
    series = fed(box)

    def refuse(*_: object) -> int:
        raise OSError("no space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", refuse)
        assert box.promise(Append(series, rows(5))) is None
        full.setattr(os, "pwrite", lambda *_: 100)
        assert box.promise(Append(series, rows(5))) is None, "half a mark"
    box.close()
    assert lives.open("b2").series()[0].next == 8, "nothing was promised"


@pytest.mark.parametrize("gone", ["mark", "marks"])
def test_where_the_mark_cannot_be_read_all_that_was_reserved_counts_as_given(lives: Lives, gone: str) -> None:
    box = lives.open()
    assert box.promise(Append(fed(box), rows(5))) == 8
    lives.marks.write_bytes(lives.marks.read_bytes()[:1000] if gone == "mark" else b"")
    assert lives.open().series()[0].next == 8 + RESERVED


@pytest.mark.parametrize(
    ("value", "goes_on"), [(None, True), ("12x b1", False), (f"{9 + RESERVED} b1", False), (b"\xff", False)]
)
def test_what_was_reserved_before_a_power_loss_counts_in_a_damaged_outbox_too(
    lives: Lives, value: str | bytes | None, goes_on: bool
) -> None:
    box = lives.open()
    series = fed(box)
    marks = lives.marks.read_bytes()
    assert box.promise(Append(series, rows(5))) == 8
    if value is not None:
        box._db.execute("UPDATE meta SET value = ? WHERE key LIKE 'reserved %'", (value,))  # the damage
    lives.marks.write_bytes(marks)
    condemn(lives.path)
    told: list[str] = []
    again = lives.open("b2", told.append)
    assert (again.store == box.store) == goes_on
    assert again.series()[0].next == (8 + RESERVED if goes_on else 8)
    assert told


@pytest.mark.parametrize("value", ["", "q b1", f"{9 + RESERVED} b1", "b1"])
def test_an_outbox_is_recovered_where_what_was_reserved_cannot_be_read(lives: Lives, value: str) -> None:
    box = lives.open()
    series = fed(box)
    box._db.execute("UPDATE meta SET value = ? WHERE key LIKE 'reserved %'", (value,))  # the damage
    told: list[str] = []
    again = lives.open("b1", told.append)
    assert again.store != box.store, "a new epoch: nobody knows which numbers were given"
    assert again.kept(series) == [(0, 7)]
    assert "set aside" in told[0]
    again.close()
    assert lives.open("b1").store == again.store


def test_what_is_committed_is_not_refused_because_the_mark_cannot_tell_what_is_kept(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = lives.open()
    series = fed(box)
    moved = Marked.moved

    class Deaf:
        def execute(self, *_: object) -> Any:
            raise sqlite3.OperationalError("disk I/O error")

    def blind(self: Marked, *args: Any) -> None:
        with monkeypatch.context() as failing:
            failing.setattr(self, "_db", Deaf())
            moved(self, *args)

    monkeypatch.setattr(Marked, "moved", blind)
    changes: list[Change] = [Release(series, 0, 3), Append(series, rows(2))]
    assert box.apply(changes, 1.0) == [None, 8]
    assert box.apply([Append(series, rows(2))], 1.0) == [10]
    assert box.kept(series) == [(4, 11)]
