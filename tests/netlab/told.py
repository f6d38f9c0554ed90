"""What an agent's log tells of the link and of its choice, written down for the laboratory."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.netlab.traffic import Task

_PROFILE = re.compile(r"stream wrist: profile (\S+): (.*)")
_LINK = re.compile(r" DEBUG link (\{.*\})")


class Told:
    """Lines of a log: passes them on, and writes down what the agent believed of the link, what it chose and why.

    Args:
        task: whose folder to write to.
        connected: called when MQTT is.
    """

    def __init__(self, task: Task, connected: Callable[[], object]) -> None:
        self._chosen = task.path("profile.jsonl").open("w", buffering=1)
        self._believed = task.path("looks.jsonl").open("w", buffering=1)
        self._connected = connected

    def take(self, line: str) -> None:
        """The next, with its end."""
        if found := _LINK.search(line):
            self._believed.write(json.dumps({"t": time.monotonic()} | json.loads(found[1])) + "\n")
            return
        sys.stderr.write(line)
        if ": connected, mqtt" in line:
            self._connected()
        if found := _PROFILE.search(line):
            told = {"t": time.monotonic(), "profile": found[1], "reason": found[2]}
            self._chosen.write(json.dumps(told) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._chosen.close()
        self._believed.close()
