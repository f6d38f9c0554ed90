"""Who carries the messages. A contestant is commands: some in the gateway's namespace, one in the device's."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from tests.netlab.namespaces import GATEWAY
from tests.netlab.scenarios import Scenario
from tests.netlab.traffic import Task

MOSQUITTO = """\
listener {port} 0.0.0.0
allow_anonymous true
persistence false
set_tcp_nodelay true
max_inflight_messages 0
max_queued_messages 0
user root
log_dest stderr
"""


class Load(msgspec.Struct, frozen=True):
    """Messages a second, and how many."""

    rate: float
    count: int


class Run(msgspec.Struct, frozen=True):
    """One run, as a contestant sees it. Its folder also holds `scenario.json`, for whoever may know the future.

    Attributes:
        scenario: what the link does.
        load: what this contestant offers.
        seed: of link and payloads.
        folder: for its files: the logs `sent` and `arrived` (see `log.Log`), and `twice`, the number of windows with
            two differing effective Results. If there is such to tell: `profile.jsonl`, a `lab.Switch` a line, and
            `looks.jsonl`, a `lab.Look` a line, both with t in s on CLOCK_MONOTONIC; `agent.pid`.
        drain: s that the device may wait for acknowledgements at the end.
    """

    scenario: Scenario
    load: Load
    seed: int
    folder: Path
    drain: float

    def task(self, port: int, program: Sequence[str] = ()) -> str:
        """The argument of this package's own programs; `program`: what a device is to start."""
        told = Task(
            gateway=GATEWAY, port=port, folder=str(self.folder), count=self.load.count, rate=self.load.rate,
            drain=self.drain, program=list(program),
        )  # fmt: skip
        return msgspec.json.encode(told).decode()


class Command(msgspec.Struct, frozen=True):
    """A process. Its stdout is read no further than to the ready line, and at the end: logs belong on stderr.

    Attributes:
        argv: run inside the namespace, in the root of the repository.
        ready: pattern of the line on its stdout that says it is; None: it does not say.
        ends: in the gateway: by itself when its stdin does, its logs complete; otherwise it is killed.
        name: under which its memory is watched; "": it is not.
    """

    argv: Sequence[str]
    ready: str | None = "ready"
    ends: bool = True
    name: str = ""

    def matches(self, line: str) -> bool:
        return self.ready is not None and re.match(self.ready, line) is not None


class Contestant(Protocol):
    """Who carries the messages.

    Attributes:
        name: in the table.
        about: what it is, with everything that a fair comparison has to name.
    """

    name: str
    about: str

    def load(self, scenario: Scenario, messages: int) -> Load:
        """What it offers to carry in this scenario, where `messages` at the scenario's rate are asked for."""

    def gateway(self, run: Run) -> Sequence[Command]:
        """Started first, one after the other, each when the one before is ready."""

    def device(self, run: Run) -> Command:
        """Started when the gateway is ready; gets `go T`; ends by itself."""


def module(name: str, run: Run, port: int, program: Sequence[str] = ()) -> Command:
    """A program of this package."""
    return Command([sys.executable, "-m", f"tests.netlab.{name}", run.task(port, program)])


def full_load(scenario: Scenario, messages: int) -> Load:
    """The declared rate, for as many messages, or as long as the trace needs."""
    return Load(scenario.rate, max(messages, round(scenario.least * scenario.rate)))
