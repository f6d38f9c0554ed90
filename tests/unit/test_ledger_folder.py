"""The state folder of a bridge that does not run is read, never mended."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bridge.config import BridgeSection, Config
from bridge.errors import StoreError
from bridge.ledger import folder
from bridge.messages import SeriesKey
from bridge.store.database import condemn
from bridge.store.journal import MARK, Journal
from bridge.store.mark import Mark
from bridge.store.records import Changes, SavedRows, SavedSeries

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIG = Config(BridgeSection(id="b", state="state"))
KEY = SeriesKey("s", "d", "x", "e")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A journal with one large record."""
    state = tmp_path / "state"
    journal = Journal(state / "journal.db", pytest.fail)
    values = np.zeros((8_192, 6), np.float32)
    rows = SavedRows(KEY, 0, values, 0.0, 0.02, "device", "live")
    journal.commit(Changes(rows=[rows], series=[SavedSeries(KEY, "m", True, len(values), 0)]))
    journal.close()
    assert (state / "journal.db.segment-1").exists()
    return state


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda state: (state / "journal.db.segment-1").unlink(), "record 1 is damaged: journal.db.segment-1 is gone"),
        (lambda state: (state / "journal.db.segment-1").write_bytes(bytes(200_000)), "record 1 is damaged"),
        (lambda state: condemn(state / "journal.db", "found damaged"), "found damaged"),
        (
            lambda state: Mark(state / f"journal.db{MARK}").set(2),
            "it ends at record 1 of 2",
        ),
    ],
)
def test_a_damaged_journal_is_told_and_left_as_it_is(
    state: Path, tmp_path: Path, harm: Callable[[Path], None], says: str
) -> None:
    harm(state)
    before = tmp_path / "before"
    shutil.copytree(state, before)
    for _ in range(2):
        with pytest.raises(StoreError, match=f"{says}.*the bridge sets it aside when it starts"):
            folder.read(CONFIG, tmp_path, device=None)
    names = {one.name for one in state.iterdir() if not one.name.endswith(("-wal", "-shm"))}
    assert names == {one.name for one in before.iterdir() if not one.name.endswith(("-wal", "-shm"))}


def test_a_journal_with_large_records_is_read(state: Path, tmp_path: Path) -> None:
    page = folder.read(CONFIG, tmp_path, device=None)
    assert page.bridge == "b"
    assert {one.name for one in state.iterdir()} >= {"journal.db", "journal.db.segment-1"}
