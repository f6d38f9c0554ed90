"""Follows the logs of the relay and of the agent behind it: what the link does, and what the agent makes of it."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

_LINE = re.compile(r"(\S+ \S+),(\d{3}) [A-Z]+ (.*)")
_PROFILE = re.compile(r"stream \S+: profile (\S+): (.*)")


class Switch(msgspec.Struct, frozen=True):
    """The agent chose a profile.

    Attributes:
        at: seconds since 1970.
        profile: its name.
        reason: in words and numbers.
    """

    at: float
    profile: str
    reason: str


class Follower:
    """New lines of a log, as they are written.

    Args:
        log: the file; as our programs write it, with times of this machine.
    """

    def __init__(self, log: Path) -> None:
        self._file = log.open(encoding="utf-8")
        self._rest = ""

    def close(self) -> None:
        """No more."""
        self._file.close()

    def lines(self) -> list[tuple[float, str]]:
        """Whole lines since the last call: seconds since 1970, and what was said."""
        *whole, self._rest = (self._rest + self._file.read()).split("\n")
        found = []
        for line in whole:
            if match := _LINE.fullmatch(line):
                second = time.mktime(time.strptime(match[1], "%Y-%m-%d %H:%M:%S"))
                found.append((second + int(match[2]) / 1e3, match[3]))
        return found


def switch(at: float, said: str) -> Switch | None:
    """The switch that a line tells of, if it does."""
    match = _PROFILE.fullmatch(said)
    return Switch(at, match[1], match[2]) if match else None
