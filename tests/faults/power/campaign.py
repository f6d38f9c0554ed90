"""Thousands of power losses, counted by store and kind of fault."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias
from unittest.mock import patch

import msgspec

from tests.benchmarks.rows import Row
from tests.faults.power.lives import FAULTS, SUBJECTS, Fault, Life, Point, Sabotage, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LOSSES = 125  # of a life


class Failure(msgspec.Struct, frozen=True):
    """What a power loss did that it must not."""

    point: Point
    missing: int
    wrong: str

    def __str__(self) -> str:
        fault = f"{self.point.fault}, sectors of {self.point.sector}"
        return f"{self.point} ({fault}): {self.missing} missing; {self.wrong}"


class Tally(msgspec.Struct):
    """Power losses of one kind.

    Attributes:
        points: how many.
        at_stake: of these, with something written and not durable.
        finished: of these, after which the commit under way was there, whole.
        failures: of these, after which something was missing or wrong.
    """

    points: int = 0
    at_stake: int = 0
    finished: int = 0
    failures: list[Failure] = []

    @property
    def missing(self) -> int:
        """Accepted entries that were not there."""
        return sum(one.missing for one in self.failures)

    def count(self, point: Point, seen: Seen, *, at_stake: bool) -> None:
        """One more."""
        self.points += 1
        self.at_stake += at_stake
        self.finished += seen.finished
        if seen.wrong:
            self.failures.append(Failure(point, seen.missing, seen.wrong))


Tallies: TypeAlias = dict[tuple[str, Fault], Tally]


@contextmanager
def _much_moved() -> Iterator[None]:
    """The journal moves its records as often as it can; it would hardly do it at all in lives as short as these."""
    with patch.multiple("bridge.store.index", SLACK=0, SHARE=0):
        yield


def campaign(
    points: int,
    seed: int = 1,
    *,
    subjects: Iterable[str] = SUBJECTS,
    sabotage: Sabotage | None = None,
    losses: int = LOSSES,
    say: Callable[[str], None] = lambda _: None,
) -> Tallies:
    """So many power losses, spread evenly over stores, faults and sectors.

    Args:
        points: how many, in all.
        seed: of everything.
        subjects: only these stores.
        sabotage: what does not do as it should, to see that the campaign notices.
        losses: most in one life.
        say: takes a sentence now and then.
    """
    of = list(subjects)
    tallies: Tallies = {(subject, fault): Tally() for subject in of for fault in FAULTS}
    with _much_moved():
        for place, subject in enumerate(of):
            todo = points // len(of) + (place < points % len(of))
            for life, done in enumerate(range(0, todo, losses)):
                numbers = range(min(losses, todo - done))
                for point, seen, at_stake in Life(subject, seed, life, sabotage).lose(numbers):
                    tallies[subject, point.fault].count(point, seen, at_stake=at_stake)
                say(f"{subject}: {done + len(numbers):,} of {todo:,}")
    return tallies


def replay(point: Point, sabotage: Sabotage | None = None) -> Seen:
    """One power loss alone."""
    with _much_moved():
        ((_, seen, _),) = Life(point.subject, point.seed, point.life, sabotage).lose([point.number])
    return seen


def failures(tallies: Tallies) -> list[Failure]:
    """All of them."""
    return [one for tally in tallies.values() for one in tally.failures]


def measure(points: int) -> list[Row]:
    """The campaign as rows, one a store.

    Args:
        points: power losses, in all.

    Returns:
        Accepted entries missing, and one for each power loss after which anything else was wrong; bound 0.
    """
    tallies = campaign(points)
    return [_row(subject, {key: tally for key, tally in tallies.items() if key[0] == subject}) for subject in SUBJECTS]


def _row(subject: str, tallies: Tallies) -> Row:
    failed = failures(tallies)
    figure = float(sum(max(one.missing, 1) for one in failed))
    counted = [f"{fault} {len(tally.failures)} of {tally.points:,}" for (_, fault), tally in tallies.items()]
    losses = sum(tally.points for tally in tallies.values())
    return Row(
        name=f"power-{subject}", measure=f"accepted and missing after {losses:,} power losses: {subject}",
        figure=figure, low=figure, high=figure, unit="entries", bound=0, sense="at most",
        note="; ".join(["failed: " + ", ".join(counted), *map(str, failed[:3])]),
        raw={fault: [str(one) for one in tally.failures] for (_, fault), tally in tallies.items()},
    )  # fmt: skip
