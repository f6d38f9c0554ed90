"""Lives of stores, and power losses at any moment of them.

A life is lived once. Its log then gives as many power losses as one likes: what is durable is followed up to a moment,
chance says what of the rest survives, and the store is opened on what is left. It must hold what was accepted, with or
without all of the commit that was under way, give no row number twice, and go on working.
"""

from __future__ import annotations

from collections.abc import Mapping  # msgspec looks at it
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import msgspec

from bridge.errors import StoreError
from tests.faults.power.disk import ROOT, Disk
from tests.faults.power.journal import JournalSubject
from tests.faults.power.kept import KeptSubject
from tests.faults.power.mount import mounted
from tests.faults.power.outbox import OutboxSubject
from tests.faults.power.subjects import AsideError
from tests.faults.power.survivors import DAMAGES, Device, Platter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.faults.power.subjects import Subject

Fault: TypeAlias = Literal["lost", "torn", "reordered", "second loss"]
Sabotage: TypeAlias = Literal[
    "synchronous=NORMAL", "synchronous=OFF", "no fsync", "no fsync of folders", "unsafe overwrite"
]
SUBJECTS: dict[str, Callable[[Random], Subject[Any]]] = {
    "outbox": OutboxSubject, "journal": JournalSubject, "kept": KeptSubject,
}  # fmt: skip
FAULTS: tuple[Fault, ...] = (*DAMAGES, "second loss")
SABOTAGES: tuple[Sabotage, ...] = get_args(Sabotage)
SECTORS = (512, 4096)
FOLDER = f"{ROOT}/state"
PATH = Path(FOLDER) / "store.db"
STEPS = 40  # of a life


class Point(msgspec.Struct, frozen=True):
    """One power loss, or two; all about it follows from this."""

    subject: str
    seed: int
    life: int
    number: int

    def __str__(self) -> str:
        return f"{self.subject}:{self.seed}:{self.life}:{self.number}"

    @classmethod
    def parse(cls, text: str) -> Point:
        """The reverse of `str`.

        Raises:
            ValueError: it is none.
        """
        subject, *numbers = text.split(":")
        if subject not in SUBJECTS or len(numbers) != 3:
            raise ValueError(f"{text}: a point is SUBJECT:SEED:LIFE:NUMBER")
        return cls(subject, *map(int, numbers))

    @property
    def fault(self) -> Fault:
        return FAULTS[self.number % len(FAULTS)]

    @property
    def sector(self) -> int:
        return SECTORS[self.number // len(FAULTS) % len(SECTORS)]


class Mark(msgspec.Struct, frozen=True):
    """A step: what the log held before and after it, and what was accepted then."""

    begin: int
    end: int
    accepted: Any


class Seen(msgspec.Struct, frozen=True):
    """What a store was like after a power loss.

    Attributes:
        held: all that it held.
        finished: whether that was with the commit that had been under way.
        missing: accepted entries that were not there.
        wrong: what else was wrong, or how; "" when nothing was.
    """

    held: Any
    finished: bool = False
    missing: int = 0
    wrong: str = ""


class World(msgspec.Struct, frozen=True):
    """What a store lives in.

    Attributes:
        forced: pragmas that have this value whatever the store asks for.
        syncs: whether the disk does as `fsync` asks.
        folder_syncs: the same of folders.
        ruins: whether the disk ruins sectors that it writes in part.
    """

    forced: Mapping[str, str | int]
    syncs: bool = True
    folder_syncs: bool = True
    ruins: bool = False

    @classmethod
    def by_chance(cls, dice: Random, sabotage: Sabotage | None) -> World:
        """Checkpoints far more often than in earnest, or as in earnest; the log cut short afterwards or not."""
        forced: dict[str, str | int] = {
            "wal_autocheckpoint": dice.choice([4, 16, 64, 1000]),
            "journal_size_limit": dice.choice([16_384, 4_194_304]),
        }
        setting, _, value = (sabotage or "").partition("=")
        if value:
            forced[setting] = value
        return cls(
            forced, sabotage != "no fsync", sabotage != "no fsync of folders", ruins=sabotage == "unsafe overwrite"
        )

    @contextmanager
    def on(self, disk: Disk, dice: Random) -> Iterator[None]:
        """Within the block, stores are on this disk, and have chance from these dice."""
        disk.syncs, disk.folder_syncs = self.syncs, self.folder_syncs
        with mounted(disk, self.forced, dice):
            yield


class Life:
    """One life of one store, and the power losses in it.

    Args:
        subject: name of the store.
        seed: of everything.
        life: number of this life.
        sabotage: what does not do as it should.
        folder: whether the store's folder is there, and durable, before.
    """

    def __init__(
        self, subject: str, seed: int, life: int, sabotage: Sabotage | None = None, *, folder: bool = True
    ) -> None:
        dice = Random(f"{subject}:{seed}:{life}")
        self._subject, self._seed, self._life = subject, seed, life
        self._world = World.by_chance(dice, sabotage)
        self._disk = Disk.empty(*[FOLDER] * folder)
        self._boot = Platter(self._disk)
        with self._world.on(self._disk, dice):
            alive = self._make()
            self._marks = _live(alive, self._disk, dice)
            alive.close()

    def _make(self) -> Subject[Any]:
        return SUBJECTS[self._subject](Random(f"{self._subject}:{self._seed}:{self._life}:rules"))

    def lose(self, numbers: Iterable[int]) -> Iterator[tuple[Point, Seen, bool]]:
        """Power losses with these numbers: what was seen after each, and whether anything was at stake."""
        losses = []
        for number in numbers:
            point = Point(self._subject, self._seed, self._life, number)
            dice = Random(str(point))
            losses.append((dice.randint(0, len(self._disk.log)), number, point, dice))
        at, platter = 0, self._boot.copy()
        for moment, _, point, dice in sorted(losses, key=lambda one: one[:2]):
            platter.follow(self._disk.log[at:moment])
            at = moment
            try:
                seen = self._lose(point, platter, _expected(self._marks, None, moment), dice)
            except (AsideError, StoreError, AssertionError) as why:
                seen = Seen(None, wrong=f"{type(why).__name__}: {why}")
            yield point, seen, bool(platter.pending)

    def _lose(self, point: Point, platter: Platter, expected: tuple[Any, Any], dice: Random) -> Seen:
        device = Device(point.sector, self._world.ruins)
        if point.fault == "second loss":
            return self._lose_twice(platter, device, expected, dice)
        return self._recover(platter.after(point.fault, device, dice), expected, dice)

    def _recover(self, disk: Disk, expected: tuple[Any, Any], dice: Random) -> Seen:
        subject = self._make()
        with self._world.on(disk, dice):
            seen = _look(subject, expected)
            if not seen.wrong:
                subject.step(dice)
                assert subject.held() == subject.accepted(), "what was committed afterwards is not there"
                subject.close()
        return seen

    def _lose_twice(self, platter: Platter, device: Device, expected: tuple[Any, Any], dice: Random) -> Seen:
        """Power fails again while the store recovers, or shortly after; what was there once, stays."""
        disk, subject = platter.after(dice.choice(DAMAGES), device, dice), self._make()
        again = Platter(disk)
        with self._world.on(disk, dice):
            seen = _look(subject, expected)
            if seen.wrong:
                return seen
            marks = [Mark(0, len(disk.log), seen.held)]
            marks += [_step(subject, disk, dice) for _ in range(dice.randint(0, 3))]
            moment = dice.randint(0, dice.choice([marks[0].end, marks[-1].end]))
            again.follow(disk.log[:moment])
        expected = _expected(marks, None if expected[0] is None else seen.held, moment)
        last = self._recover(again.after(dice.choice(DAMAGES), device, dice), expected, dice)
        return msgspec.structs.replace(last, finished=last.finished or seen.finished)


def _live(subject: Subject[Any], disk: Disk, dice: Random) -> list[Mark]:
    """Opens the store and takes steps; now and then it is closed and opened again."""
    held = subject.open(PATH)
    marks = [Mark(0, len(disk.log), held)]
    for _ in range(STEPS):
        if dice.random() < 0.06:
            begin = len(disk.log)
            subject.close()
            subject.open(PATH)
            marks.append(Mark(begin, len(disk.log), subject.accepted()))
        else:
            marks.append(_step(subject, disk, dice))
    return marks


def _step(subject: Subject[Any], disk: Disk, dice: Random) -> Mark:
    begin = len(disk.log)
    subject.step(dice)
    return Mark(begin, len(disk.log), subject.accepted())


def _expected(marks: list[Mark], before: Any, moment: int) -> tuple[Any, Any]:
    """What was accepted at a moment of the log, and what will have been with the step that is under way."""
    accepted = before
    for mark in marks:
        if mark.end > moment:
            return accepted, mark.accepted if mark.begin < moment else accepted
        accepted = mark.accepted
    return accepted, accepted


def _look(subject: Subject[Any], expected: tuple[Any, Any]) -> Seen:
    """Opens the store after a power loss and judges it."""
    accepted, offered = expected
    found = subject.open(PATH)
    if found in (accepted, offered):
        return Seen(found, finished=found != accepted)
    verdict = subject.check(found, accepted, offered)
    return Seen(found, missing=verdict.missing, wrong=verdict.wrong) if verdict else Seen(found)
