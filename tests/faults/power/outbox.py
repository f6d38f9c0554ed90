"""The agent's outbox: rows accepted are there until released or dropped by rule, no number is ever given twice."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bridge.store.outbox import Append, Change, End, Limits, Outbox, Release
from tests.faults.power.subjects import Verdict, set_aside

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

_END = 1 << 53


class Held(msgspec.Struct, frozen=True):
    """All that an outbox holds.

    Attributes:
        store: its name.
        series: number, stream, epoch, next row and whether ended, of each.
        rows: series, number and values of each row.
        given_up: series and number of each row dropped by a rule.
    """

    store: str
    series: tuple[tuple[int, str, str, int, bool], ...]
    rows: frozenset[tuple[int, int, float, float]]
    given_up: frozenset[tuple[int, int]]


class OutboxSubject:
    """An outbox under appends, releases, ends, rules and expiry; each row's values are found in no other."""

    name = "outbox"

    def __init__(self, dice: Random) -> None:
        full = dice.random() < 0.5
        self._limits = Limits(max_bytes=6_000, max_age=40.0, when_full="drop_oldest") if full else Limits()
        self._now = 1_000.0
        self._given = 0
        self._box: Outbox
        self._store = ""
        self._series: dict[int, tuple[str, str, int, bool]] = {}
        self._rows: dict[tuple[int, int], tuple[float, float]] = {}
        self._gone: set[tuple[int, int]] = set()

    def open(self, path: Path) -> Held:
        self._box = Outbox(path, self._limits, tell=set_aside)
        held = self.held()
        self._store = held.store
        self._series = {number: (stream, epoch, after, end) for number, stream, epoch, after, end in held.series}
        self._rows = {(series, row): (one, other) for series, row, one, other in held.rows}
        self._gone = set(held.given_up)
        return held

    def step(self, dice: Random) -> None:
        self._now += dice.choice([0.1, 1.0, 10.0])
        chance = dice.random()
        if not self._series or (chance < 0.1 and len(self._series) < 6):
            made = self._box.begin(dice.choice("ab"), f"e{len(self._series)}")
            self._series.setdefault(made.id, (made.stream, made.epoch, 0, False))
        elif chance < 0.2:
            self._box.expire(self._now, most=dice.choice([2, 256]))
            self._drop()
        else:
            self._apply([self._change(dice) for _ in range(dice.choice([1, 1, 2, 5]))])

    def _apply(self, changes: list[Change]) -> None:
        for change, first in zip(changes, self._box.apply(changes, self._now), strict=True):
            stream, epoch, after, _ = self._series[change.series]
            if isinstance(change, Append):
                assert first == after + change.skip, f"row {after + change.skip} was numbered {first}"
                self._series[change.series] = (stream, epoch, first + len(change.values), False)
                for row, (one, other) in enumerate(change.values.tolist(), first):
                    self._rows[change.series, row] = (one, other)
            elif isinstance(change, Release):
                for row in range(change.first, change.last + 1):
                    self._rows.pop((change.series, row), None)
            else:
                self._series[change.series] = (stream, epoch, after, True)
        self._drop()

    def _change(self, dice: Random) -> Change:
        series = dice.choice(list(self._series))
        chance = dice.random()
        if chance < 0.03:
            return End(series)
        if chance < 0.35:
            after = self._series[series][2]
            first = max(0, after - dice.randint(0, 120))
            return Release(series, first, first + dice.randint(0, 60), dice.choice([None, None, "shape"]))
        count = dice.choices([1, 8, 32, 150, 1_000], [8, 8, 8, 8, 1])[0]
        numbers = np.arange(self._given + 1, self._given + 1 + count, dtype=np.float32)
        self._given += count
        skip = dice.choice([0, 0, 0, 3])
        return Append(series, np.stack([numbers, -numbers], axis=1), 1.0, 0.5, skip, dice.choice([7, 64, 1024]))

    def _drop(self) -> None:
        """What the ledger says was given up by rule is not expected any more."""
        self._gone = self._given_up()
        for lost in self._gone & self._rows.keys():
            del self._rows[lost]

    def _given_up(self) -> set[tuple[int, int]]:
        return {(one.series, row) for one in self._box.dropped() for row in range(one.first, one.last + 1)}

    def accepted(self) -> Held:
        return Held(
            self._store,
            tuple((number, *rest) for number, rest in sorted(self._series.items())),
            frozenset((*where, *values) for where, values in self._rows.items()),
            frozenset(self._gone),
        )

    def held(self) -> Held:
        series = self._box.series()
        rows = [
            (one.id, row, *values)
            for one in series
            for piece in self._box.read(one.id, 0, _END)
            for row, values in enumerate(piece.values.tolist(), piece.first)
        ]
        assert len(rows) == len(set(rows)), "a row is kept twice"
        return Held(
            self._box.store,
            tuple((one.id, one.stream, one.epoch, one.next, one.ended) for one in series),
            frozenset(rows),
            frozenset(self._given_up()),
        )

    def check(self, found: Held, accepted: Held | None, offered: Held) -> Verdict | None:
        if accepted is None:
            return None if not found.series else Verdict(0, "a new outbox has series")
        missing = len((accepted.rows & offered.rows) - found.rows)
        kept = {one[:3]: one[3] for one in found.series}
        back = [one for one in accepted.series if kept.get(one[:3], -math.inf) < one[3]]
        said = "numbers would be given again: " + str(back) if back else "neither before nor after the commit"
        return Verdict(missing, said)

    def close(self) -> None:
        self._box.close()
