"""The log of published Results: a record committed is there, whole, until age or size drops the oldest."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from bridge.store.kept_file import KeptFile, Query, Written
from tests.faults.power.subjects import Verdict, set_aside

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

Items: TypeAlias = tuple[tuple[str, bytes], ...]
Held: TypeAlias = tuple[dict[int, Items], int | None]  # Results of each record; since when nobody heard


class KeptSubject:
    """Such a log under records of turns, trimming and watermarks; the clock runs as it likes."""

    name = "kept"

    def __init__(self, dice: Random) -> None:
        self._now = 1_000.0
        self._age = dice.choice([20.0, 1e9])
        self._size = dice.choice([30_000, 1 << 30])
        self._file: KeptFile
        self._records: dict[int, Items] = {}
        self._unheard: int | None = None
        self._given = 0

    def open(self, path: Path) -> Held:
        self._file = KeptFile(path, set_aside, age=self._age, size=self._size, now=self._now, wall=self._now)
        self._records, self._unheard = self.held()
        return self.accepted()

    def step(self, dice: Random) -> None:
        self._now += dice.choice([0.1, 3.0, 10.0])
        chance = dice.random()
        if chance < 0.1:
            self._file.trim(self._now)
        elif chance < 0.2 and self._records:
            self._unheard = dice.choice([None, *self._records])
            self._file.note_unheard(self._unheard)
        else:
            self._write(dice)
        self._drop()

    def _write(self, dice: Random) -> None:
        written = []
        for n in range(self._file.last + 1, self._file.last + 1 + dice.choice([1, 1, 3])):
            self._given += 1
            items = [(f"topic/{self._given}", dice.randbytes(dice.choice([40, 400, 3_000])))]
            written.append(Written(n, self._now, self._now, [f"w{n}"] * dice.randint(0, 1), items))
        self._file.write(written, self._now)
        self._records.update({one.n: tuple(one.items) for one in written})

    def _drop(self) -> None:
        """Age and size take the oldest, and never the record just written."""
        kept, _ = self.held()
        oldest = min(kept, default=self._file.last + 1)
        self._records = {n: items for n, items in self._records.items() if n >= oldest}

    def accepted(self) -> Held:
        return dict(self._records), self._unheard if self._unheard in self._records else None

    def held(self) -> Held:
        found: dict[int, list[tuple[str, bytes]]] = {}
        after = 0
        while (some := self._file.read(Query(after, self._file.last, 0.0))) is not None:
            entries, after = some
            for one in entries:
                found.setdefault(one.n, []).append((one.topic, one.payload))
        unheard = self._file.unheard
        return {n: tuple(items) for n, items in found.items()}, unheard if unheard in found else None

    def check(self, found: Held, accepted: Held | None, offered: Held) -> Verdict | None:
        if accepted is None:
            return None if not found[0] else Verdict(0, "a new log has records")
        lost = [n for n, items in accepted[0].items() if offered[0].get(n) == items and found[0].get(n) != items]
        return Verdict(len(lost), "neither before nor after the commit")

    def close(self) -> None:
        self._file.close()
