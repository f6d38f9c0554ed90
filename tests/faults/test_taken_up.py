"""What the journal gives back after `kill -9` yields the same windows as if nothing had happened."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bridge.assembly import route_table
from bridge.catalog import Catalog, default_directory
from bridge.config import BridgeSection, Config, RouteSection
from bridge.errors import Refused
from bridge.messages import Observation
from bridge.pipeline import restore
from bridge.pipeline.entries import Patience
from bridge.pipeline.series import Chunk, Series
from bridge.pipeline.window import Windower
from bridge.store.journal import Journal
from bridge.store.records import Changes
from bridge.topics import DataTopic
from tests.support.feeds import feed
from tests.support.fleet import HOP, MODEL, SITE, STREAM, WINDOW, dice, seeds

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.messages import SeriesKey
    from bridge.pipeline.entries import Taken
    from bridge.pipeline.routes import RouteTable

TOPIC = DataTopic(SITE, "w0", STREAM)
VALUES = np.random.default_rng(1).normal(size=(4_000, 6)).astype(np.float32)


class Mortal:
    """A windower and its journal, as the pipeline uses them; `die` is `kill -9` and a restart."""

    def __init__(self, path: Path, *, held_rows: int = 8_192) -> None:
        config = Config(BridgeSection(id="gw"), routes=(RouteSection(stream=STREAM, model=MODEL),))
        catalog = Catalog(default_directory())
        self._table: RouteTable = route_table(config, {MODEL: catalog[MODEL]})
        self._route = self._table.routes[0]
        self._path = path
        self._patience = Patience(held_rows=held_rows)
        self.told: list[str] | None = None  # what is said of damage; None where there is none
        self.windows: dict[int, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = {}
        self.now = 0.0
        self._begin()

    def _begin(self) -> None:
        self._journal = Journal(self._path, pytest.fail if self.told is None else self.told.append)
        self.windower = Windower(self._patience, lambda: "b-1")
        restore.take_up_series(self._journal.load(), self._table, self.windower, now=self.now)

    def die(self, *, damage: int | None = None) -> None:
        """And the record of this number is damaged meanwhile."""
        self._journal.close()
        if damage is not None:
            self.told = []
            file = sqlite3.connect(self._path)
            file.execute("UPDATE turns SET body = zeroblob(length(body)) WHERE n = ?", (damage,))
            file.commit()
            file.close()
        self._begin()

    def take(self, first: int, end: int, *, receipt: bool = False) -> Taken:
        seen = Observation(VALUES[first:end], seq=first, epoch="e1", receipt=receipt)
        taken = self.windower.take(feed(self.windower, self._route, TOPIC), seen, self.now, 1e9)
        self._collect(taken)
        return taken

    def expire(self) -> None:
        for key, windows in self.windower.expire(self.now):
            for window in windows:
                self._cut(window.seq, window.values)
            self._commit(key, None)

    def _collect(self, taken: Taken) -> None:
        for window in taken.windows:
            self._cut(window.seq, window.values)
        self._commit(taken.key, taken.chunk)

    def _cut(self, seq: int, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
        assert seq not in self.windows, f"window {seq} twice"
        self.windows[seq] = values

    def _commit(self, key: SeriesKey, chunk: Chunk | None) -> None:
        entry = self.windower.entry(key)
        assert entry is not None
        changes = Changes()
        restore.save([entry], [] if chunk is None else [(entry, chunk)], changes)
        self._journal.commit(changes)


@pytest.fixture
def mortal(tmp_path: Path) -> Mortal:
    return Mortal(tmp_path / "journal.db")


def assert_right(windows: dict[int, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> None:
    for seq, values in windows.items():
        np.testing.assert_array_equal(values, VALUES[seq : seq + WINDOW])


@pytest.mark.parametrize("seed", seeds(60))
def test_any_packing_any_order_any_restart(tmp_path: Path, seed: int) -> None:
    """Overlapping messages in a shuffled order, restarts in between: every window once, with the right rows."""
    random, mortal = dice(seed), Mortal(tmp_path / "journal.db")
    first, messages = 0, []
    while first < 1_000:
        end = min(1_000, first + random.choice((1, 7, 25, 60, 128, 300)))
        messages.append((max(0, first - random.choice((0, 0, 5, 40))), end))
        first = end
    late = [(at + random.uniform(0, 3), message) for at, message in enumerate(messages)]
    for _, (low, high) in sorted(late):
        if random.random() < 0.3:
            mortal.die()
        mortal.take(low, high)
    assert sorted(mortal.windows) == list(range(0, 1_000 - WINDOW + 1, HOP))
    assert_right(mortal.windows)


@pytest.mark.parametrize("damage", range(33, 41))
def test_a_damaged_record_costs_the_windows_of_its_rows_and_no_more(mortal: Mortal, damage: int) -> None:
    """Rows before 320 went with their windows. Without the very last how far the series was cut is older."""
    for first in range(0, 400, 10):
        mortal.take(first, first + 10)
    before = set(mortal.windows)
    mortal.die(damage=damage)
    begun = max(before) + HOP
    lost = (damage - 1) * 10 >= begun and damage < 40
    assert mortal.told
    assert ("known to be lost are rows" in mortal.told[0]) == lost
    mortal.windows = {seq: rows for seq, rows in mortal.windows.items() if damage < 40 or seq < 320}
    for first in range(390 if damage == 40 else 400, 1_000, 10):
        mortal.take(first, first + 10)
    expected = {*range(0, 1_000 - WINDOW + 1, HOP)}
    assert_right(mortal.windows)
    gone = {seq for seq in expected if seq >= begun and seq < damage * 10 <= seq + WINDOW} if lost else set()
    assert set(mortal.windows) == expected - gone


def test_overlapping_rows_are_joined_once(mortal: Mortal) -> None:
    """A sender that packs anew what it repeats: held rows and those that close the gap overlap."""
    mortal.take(0, 60)
    mortal.take(75, 100)
    mortal.take(60, 80)
    mortal.die()
    mortal.take(100, 300)
    assert sorted(mortal.windows) == [0, 64, 128]
    assert_right(mortal.windows)


def test_late_rows_are_stale_also_after_a_restart(mortal: Mortal) -> None:
    """Acknowledging them as known would be a loss that nobody is told of."""
    mortal.take(0, 100)
    mortal.take(200, 400)
    mortal.now = 3.0
    mortal.expire()
    mortal.die()
    with pytest.raises(Refused, match="stale: rows 100–199"):
        mortal.take(100, 200)


def test_new_rows_behind_late_ones_are_taken(mortal: Mortal) -> None:
    """A message that holds both is not thrown away whole: that would tear the next gap."""
    mortal.take(0, 100)
    mortal.take(200, 300)
    mortal.now = 3.0
    mortal.expire()
    mortal.take(150, 400)
    assert sorted(mortal.windows) == [256]
    assert_right(mortal.windows)


def test_a_sender_with_receipts_keeps_its_patience_across_a_restart(mortal: Mortal) -> None:
    """It still has the missing rows: giving them up after the plain wait would lose windows it could complete."""
    mortal.take(0, 100, receipt=True)
    mortal.take(200, 256, receipt=True)
    mortal.die()
    mortal.now = 10.0
    mortal.expire()
    mortal.take(100, 200, receipt=True)
    assert sorted(mortal.windows) == [0, 64, 128]
    assert_right(mortal.windows)


def test_held_rows_stay_bounded_after_a_restart(tmp_path: Path) -> None:
    mortal = Mortal(tmp_path / "journal.db", held_rows=600)
    mortal.take(0, 10)
    mortal.take(20, 500)
    mortal.die()
    mortal.take(500, 700)
    assert sorted(mortal.windows) == list(range(64, 700 - WINDOW + 1, HOP))


def test_rows_that_are_needed_do_not_keep_a_big_message_in_memory() -> None:
    series = Series(WINDOW, HOP)
    whole = np.zeros((40_000, 6), np.float32)
    series.add(Chunk(0, whole, 0.0, 0.02, "device", 0.0, "live"), 0.0)
    assert all(chunk.values.base is None and len(chunk.values) <= WINDOW for chunk in series._tail)
