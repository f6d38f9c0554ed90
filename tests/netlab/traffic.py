"""The workload, and what a contestant's process says and hears.

The source hands over message n at start + n / rate, whatever became of those before (open loop). A message is an
Observation of five recorded rows of six channels in JSON (`recordings`), about 275 bytes, 300 with its topic.

A process says `ready` on stdout; the device's then gets `go T` on stdin, T on CLOCK_MONOTONIC in seconds, which all
namespaces share; the gateway's ends with its stdin.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

TOPIC = "edge/v1/lab/d1/data/wrist"
ROWS, CHANNELS = 5, 6


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What a process of a contestant is told, as the only argument, in JSON.

    Attributes:
        gateway: address of the broker or server.
        port: where it listens.
        folder: where `payloads` are, one a line, and where to write `sent`, `arrived`, and what else `Run` names.
        count: messages.
        rate: a second.
        drain: s to wait for acknowledgements after the last message.
        program: what a device starts, if it is not the contestant itself.
    """

    gateway: str
    port: int
    folder: str
    count: int
    rate: float
    drain: float
    program: list[str] = []

    def path(self, name: str) -> Path:
        return Path(self.folder, name)


def task() -> Task:
    """The task on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", help="JSON of a Task")
    return msgspec.json.decode(parser.parse_args().task, type=Task)


def payloads(of: Task) -> Iterator[bytes]:
    """Its messages, from number 0 on."""
    with of.path("payloads").open("rb") as lines:
        for line in lines:
            yield line.rstrip()


def number_of(payload: bytes) -> int:
    """Which message this is."""
    return int(json.loads(payload)["seq"]) // ROWS


def say_ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def wait_go() -> float:
    """When to start, s on CLOCK_MONOTONIC."""
    return float(sys.stdin.readline().removeprefix("go "))


def wait_end() -> None:
    """Return at the end of file on stdin."""
    sys.stdin.read()


def until(moment: float) -> float:
    """Seconds until a moment on CLOCK_MONOTONIC; 0 if it is over."""
    return max(0.0, moment - time.monotonic())
