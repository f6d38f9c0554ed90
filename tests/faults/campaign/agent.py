"""The edge agent under test, and the source behind it: what was handed over, and what the source was told of it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tests.faults.campaign import supervisor
from tests.faults.campaign.evidence import Accepted
from tests.support.fleet import SITE, recordings, until
from tests.support.programs import RunningProgram

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.messages import Rows
    from tests.faults.campaign.plan import Plan

TICK = 0.02
EPOCH = "recording"  # of a replay
TIMES = "receipt_timeout = 0.5\npublish_timeout = 1.0\nkeep_alive = 5"


def rows_of(plan: Plan) -> Rows:
    """What the source of a seed hands over: float32 (rows, 6), part of the sample."""
    found = recordings()
    return np.concatenate([found[(plan.recording + i) % len(found)] for i in range(2)])[: plan.rows]


class Agent(Protocol):
    """An agent with its source."""

    program: RunningProgram
    store: Path

    def start(self) -> None:
        """Start it, also again."""

    def stop(self, *, kill: bool) -> None:
        """End its process; the source stays."""

    def finish(self, timeout: float) -> str | None:
        """The source ends; None once the agent has said that all is receipted, else why not."""

    def accepted(self) -> list[Accepted]:
        """What the source was told."""

    def values(self) -> dict[tuple[str, int], int]:
        """Which row of `rows_of` each accepted row is, by epoch and number, where that is known."""


class FedAgent:
    """`edge-agent run` with rows on stdin, each range confirmed.

    While the agent is down the source waits; lines it had handed over and that were not confirmed are not handed over
    again: whether they were accepted shows in the numbers of the next ones.
    """

    def __init__(self, plan: Plan, directory: Path, url: str) -> None:
        directory.mkdir(parents=True)
        config = directory / "edge_agent.toml"
        whole = 'windows = "whole"' if plan.shared else ""
        config.write_text(
            f'[agent]\nsite = "{SITE}"\ndevice = "{plan.device}"\nurl = "{url}"\n{TIMES}\n'
            f'[[streams]]\nname = "{plan.stream}"\nsource = "stdin"\nrate = 1000\nconfirm = true\n'
            f"rows_per_message = {plan.pack}\nlongest_wait = 0.2\n{whole}\n"
        )
        self.store = directory / "state" / f"agent-{SITE}-{plan.device}.db"
        self.program = RunningProgram(
            ["edge-agent", "run", "--config", str(config)], directory, log="agent.log", stdin=subprocess.PIPE
        )
        self._lines = [json.dumps(row) + "\n" for row in rows_of(plan).tolist()]
        self._step = max(1, round(len(self._lines) * TICK / plan.seconds))
        self._pace = plan.seconds * self._step / len(self._lines)
        self._lives: list[_Life] = []
        self._next = 0
        self._ending = False  # the source has
        self._threads: list[threading.Thread] = []

    @property
    def done(self) -> bool:
        """Every row was handed over and answered for, or its acceptance will never be known."""
        last = self._lives[-1]
        return self._next >= len(self._lines) and (not last.alive or last.confirmed >= last.handed)

    def start(self) -> None:
        if self.program.running:
            return
        supervisor.wait_ready(self.program)
        self._ending = False
        life = _Life(self._next)
        self._lives.append(life)
        for work in (self._feed, self._listen):
            thread = threading.Thread(target=work, args=(life, self.program.process), daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, *, kill: bool) -> None:
        if self._lives:
            self._lives[-1].alive = False
        if self.program.running:
            process = self.program.process
            process.kill() if kill else process.terminate()
            process.wait(15)
        for thread in self._threads:
            thread.join(5)
        self._threads.clear()
        self.program.kill()

    def finish(self, timeout: float) -> str | None:
        process = self.program.process
        if process.poll() is not None and not (self._ending and process.returncode == 0):
            self.stop(kill=True)
            self.start()
            process = self.program.process
        try:
            until(
                lambda: self.done or process.poll() is not None, timeout, "the source could not hand over all its rows"
            )
        except AssertionError as why:
            return str(why)
        self._lives[-1].alive = False
        for thread in self._threads[::2]:  # those that feed
            thread.join(5)
        self._ending = self.done
        assert process.stdin is not None
        process.stdin.close()
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            return "the agent did not get receipts for everything after its source had ended"
        return None if code == 0 and self._ending else f"the agent ended by itself with exit code {code}"

    def accepted(self) -> list[Accepted]:
        return [one for life in self._lives for one in life.told]

    def values(self) -> dict[tuple[str, int], int]:
        known: dict[tuple[str, int], int] = {}
        before: _Life | None = None
        for life in self._lives:
            if not life.told:
                before = None  # how many of its lines were accepted cannot be told from those of the next one
                continue
            epoch, start = life.told[0].epoch, life.told[0].first
            if before is not None and before.told[0].epoch == epoch:
                tail = start - before.told[0].first
                known |= {(epoch, before.told[0].first + i): before.start + i for i in range(min(tail, before.handed))}
            known |= {(epoch, start + i): life.start + i for i in range(life.told[-1].last + 1 - start)}
            before = life
        return known

    def _feed(self, life: _Life, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        pipe = process.stdin.fileno()
        due = time.monotonic()
        while life.alive and self._next < len(self._lines):
            lines = self._lines[self._next : self._next + self._step]
            self._next += len(lines)
            life.handed += len(lines)
            if not _write(pipe, "".join(lines).encode(), life):
                return
            due = max(due + self._pace, time.monotonic() - 0.2)
            time.sleep(max(0.0, due - time.monotonic()))

    def _listen(self, life: _Life, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith(b"}\n"):
                said = json.loads(line)
                first, last = said["accepted"]
                life.told.append(Accepted(said["epoch"], first, last, time.monotonic()))
                life.confirmed += last + 1 - first


class _Life:
    """One process of the agent.

    Attributes:
        start: row of the recording that its first line is.
        alive: the source may hand over rows.
        handed: lines handed over.
        told: what was confirmed.
        confirmed: rows of that.
    """

    def __init__(self, start: int) -> None:
        self.start = start
        self.alive = True
        self.handed = 0
        self.told: list[Accepted] = []
        self.confirmed = 0


def _write(pipe: int, data: bytes, life: _Life) -> bool:
    """Writes all, waiting while the agent holds its source back; False once it is gone."""
    os.set_blocking(pipe, False)
    while data:
        if not life.alive:
            return False
        if select.select([], [pipe], [], 0.05)[1]:
            try:
                data = data[os.write(pipe, data) :]
            except BlockingIOError:
                continue
            except OSError:
                return False
    return True


class Replayer:
    """`edge-agent replay` of a file, run again under the same epoch until it says that all of it is receipted."""

    def __init__(self, plan: Plan, directory: Path, url: str) -> None:
        directory.mkdir(parents=True)
        recording = directory / "recording.npz"
        np.savez(recording, values=rows_of(plan))
        self.store = directory / "state" / f"replay-{SITE}-{plan.device}-{plan.stream}-{EPOCH}.db"
        self._rows = plan.rows
        rate = f"{plan.rows / plan.seconds:.0f}"
        self.program = RunningProgram(
            [
                "edge-agent", "replay", str(recording), "--site", SITE, "--device", plan.device,
                "--stream", plan.stream, "--url", url, "--rate", rate, "--speed", "1", "--epoch", EPOCH,
                "--rows-per-message", str(plan.pack), "--receipt-timeout", "0.5",
            ],
            directory,
            log="agent.log",
        )  # fmt: skip
        self._complete = False

    def start(self) -> None:
        if not self._complete and not self.program.running:
            self.program.kill()
            self.program.launch()

    def stop(self, *, kill: bool) -> None:
        if not self.program.running:
            return
        process = self.program.process
        process.kill() if kill else process.terminate()
        said, _ = process.communicate(timeout=15)
        self._complete = process.returncode == 0 and b"replayed {" in said
        self.program.kill()

    def finish(self, timeout: float) -> str | None:
        deadline = time.monotonic() + timeout
        while not self._complete:
            if not self.program.running:
                self.program.kill()
                self.program.launch()
            process = self.program.process
            try:
                said, _ = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                return "the replay did not get receipts for everything"
            self._complete = process.returncode == 0
            if not self._complete and time.monotonic() > deadline:
                return f"the replay ended with exit code {process.returncode}: {said.decode()[:300]}"
        return None

    def accepted(self) -> list[Accepted]:
        """All of the recording once the replay has said so; nothing before."""
        return [Accepted(EPOCH, 0, self._rows - 1, time.monotonic())] if self._complete else []

    def values(self) -> dict[tuple[str, int], int]:
        return {(EPOCH, row): row for row in range(self._rows)}


def make_agent(plan: Plan, directory: Path, url: str) -> Agent:
    """The agent of a seed, not started."""
    return (Replayer if plan.source == "replay" else FedAgent)(plan, directory, url)
