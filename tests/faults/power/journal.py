"""The bridge's journal: what a commit said is there after it returned, and nothing of it half."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias
from unittest.mock import patch

import numpy as np

from bridge.messages import Answer, Result, SeriesKey
from bridge.store.journal import Journal
from bridge.store.records import Changes, Saved, SavedResult, SavedRows, SavedSeries, SavedTail, SavedWindow, packed
from tests.faults.power.subjects import Verdict, set_aside

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

Held: TypeAlias = "dict[tuple[object, ...], object]"  # what, and which one: what is said of it
KEYS = [SeriesKey("s", device, "x", "e") for device in "abc"]
small_segments = patch.multiple("bridge.store.segments", LARGE=400, FULL=4_000)  # or all would be in the database


class JournalSubject:
    """A journal under turns as the pipeline makes them: rows, series cut, questions, answers, Results, decisions."""

    name = "journal"

    def __init__(self, _dice: Random) -> None:
        self._mark = 0
        self._journal: Journal
        self._held: Held = {}

    @small_segments
    @patch("bridge.store.journal.SETTLES", 3_000)
    def open(self, path: Path) -> Held:
        self._journal = Journal(path, set_aside)
        self._held = self.held()
        return self.accepted()

    @small_segments
    @patch("bridge.store.journal.SETTLES", 3_000)
    def step(self, dice: Random) -> None:
        changes = Changes()
        for _ in range(dice.choice([1, 1, 2, 4])):
            self._extend(changes, dice)
        self._journal.commit(changes)
        self._commit(changes)

    def _extend(self, changes: Changes, dice: Random) -> None:
        self._mark += 1
        mark, chance, key = self._mark, dice.random(), dice.choice(KEYS)
        moved = {one.key for one in changes.series} | {one.key for one in changes.tails}
        if chance < 0.5 and key not in moved:
            self._advance(changes, key, dice)
        elif chance < 0.6:
            changes.asked.append(_question(f"w{mark}", mark))
        elif chance < 0.7:
            changes.results.append(_result(f"r{mark}", mark))
        elif chance < 0.8:
            changes.decided.append(f"d{mark}")
        elif chance < 0.9:
            changes.answered += self._some("asked", dice)
        elif chance < 0.98 or moved:
            changes.taken += self._some("result", dice)
        else:
            changes.forgotten.append(key)

    def _advance(self, changes: Changes, key: SeriesKey, dice: Random) -> None:
        """Rows of one message, and how far the series was cut."""
        known = None if key in changes.forgotten else self._held.get(("series", key))
        row, window = (known.next_row, known.next_window) if isinstance(known, SavedSeries) else (0, 0)
        count = dice.choice([1, 8, 64])
        values = np.full((count, 2), self._mark, np.float32)
        cut = dice.choice([window, max(window, row - 30), row, row + count])
        series = SavedSeries(key, "m", True, row + count, cut)
        rows = SavedRows(key, row, values, float(self._mark), 0.5, "device", "live")
        if cut == row:
            changes.tails.append(_tail(series, rows))
        else:
            changes.rows.append(rows)
            changes.series.append(series)

    def _some(self, what: str, dice: Random) -> list[str]:
        return [str(name[1]) for name in self._held if name[0] == what and dice.random() < 0.5]

    def _commit(self, changes: Changes) -> None:
        held = self._held
        for key in changes.forgotten:
            held = {name: it for name, it in held.items() if name[:2] not in {("series", key), ("rows", key)}}
        tails = [tail.apart() for tail in changes.tails]
        series = [*changes.series, *(one for one, _ in tails)]
        held |= {("series", one.key): one for one in series}
        cut = {one.key: one.next_window for one in series}
        for rows in (*changes.rows, *(rows for _, rows in tails)):
            held["rows", rows.key, rows.first] = _of(rows)
        for name in [it for it in held if it[0] == "rows" and it[1] in cut]:
            if _end(held[name]) <= cut[name[1]]:  # type: ignore[index] # a key, the filter says
                del held[name]
        held |= {("asked", one.id): one for one in changes.asked}
        held |= {("result", one.result.id): one for one in changes.results}
        held |= {("decided", window): True for window in changes.decided}
        for name in [*(("asked", it) for it in changes.answered), *(("result", it) for it in changes.taken)]:
            held.pop(name, None)
        self._held = held

    def accepted(self) -> Held:
        return dict(self._held)

    def held(self) -> Held:
        return _entries(self._journal.load())

    def check(self, found: Held, accepted: Held | None, offered: Held) -> Verdict | None:
        if accepted is None:
            return None if not found else Verdict(0, "a new journal is not empty")
        lost = [name for name, it in accepted.items() if offered.get(name) == it and found.get(name) != it]
        return Verdict(len(lost), "neither before nor after the commit")

    def close(self) -> None:
        self._journal.close()


def _tail(series: SavedSeries, rows: SavedRows) -> SavedTail:
    return SavedTail(
        series.key, series.model, series.numbered, series.next_row, series.next_window, (), 0, 0, "", rows.first,
        packed(rows.values), 2, rows.t, rows.dt, rows.t_source, rows.lane,
    )  # fmt: skip


def _of(rows: SavedRows) -> tuple[int, float, bytes]:
    return rows.first + len(rows.values), rows.t, rows.values.tobytes()


def _end(kept: object) -> int:
    assert isinstance(kept, tuple)
    return int(kept[0])


def _entries(saved: Saved) -> Held:
    held: Held = {("series", one.key): one for one in saved.series}
    held |= {("rows", rows.key, rows.first): _of(rows) for rows in saved.rows}
    held |= {("asked", one.id): one for one in saved.asked}
    held |= {("result", one.result.id): one for one in saved.results}
    return held | {("decided", window): True for window in saved.decided}


def _question(name: str, mark: int) -> SavedWindow:
    local = Answer("sit", 0.5, "1", "small") if mark % 2 else None
    return SavedWindow(name, KEYS[0], mark, bytes(80), 2, 1.5, "bridge", 7.5, "m", "live", 2.0, local, "")


def _result(name: str, mark: int) -> SavedResult:
    said = Result(name, "d", "x", mark, "e", 1.5, "m", "1", "sit", 0.5, "bridge", False, 0, 2.5, "why", "live")
    return SavedResult(said, 7.5, "topic")
