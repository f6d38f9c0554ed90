"""What power is taken from: a store, changes to it by chance, and what may be expected of it afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

S = TypeVar("S")


class AsideError(Exception):
    """A store set its file aside: it took what a power loss leaves for damage."""


class Verdict(msgspec.Struct, frozen=True):
    """What is wrong with a store after power was lost.

    Attributes:
        missing: readings (or other entries) that were accepted and are not there.
        wrong: anything else, in words: a half commit, something that nobody gave it.
    """

    missing: int
    wrong: str


class Subject(Protocol[S]):
    """One store under test. S is all that it holds, comparable by ==.

    Made anew for each life; its changes must depend on the dice alone, so that a life can be lived again.
    """

    name: str

    def open(self, path: Path) -> S:
        """Opens the store, new or as it was left; what it holds counts as accepted.

        Raises:
            AsideError: the store took the file for a damaged one.
        """

    def step(self, dice: Random) -> None:
        """One commit of something; returns when it is accepted."""

    def accepted(self) -> S:
        """What was accepted and neither released since nor given up by a declared rule."""

    def held(self) -> S:
        """What the store says it holds."""

    def check(self, found: S, accepted: S | None, offered: S) -> Verdict | None:
        """Judges what was found, which is neither what was accepted nor what was just being committed.

        Args:
            found: what the store holds.
            accepted: before the commit that was under way; None: it was not yet open for the first time.
            offered: the same after that commit.
        """

    def close(self) -> None:
        """Closes it, as an orderly end does."""


def set_aside(sentence: str) -> None:
    """What the stores are given as `tell`; the time of day, which follows, would make each replay another."""
    raise AsideError(sentence.partition(";")[0])
