"""Many seeds on a few set-ups side by side, and what is kept of those that are done."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING

import msgspec

from tests.faults.campaign.judge import Verdict, doubled
from tests.faults.campaign.plan import draw
from tests.faults.campaign.rig import Rig
from tests.faults.campaign.run import FAILURES, Outcome, Seed
from tests.support.brokers import BrokerDidNotStartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

ATTEMPTS = 3
SEEDS_OF_A_RIG = 40  # then a new one, so that logs and stores stay small


class Folder:
    """Finished seeds, a file each, so that a campaign can be taken up again.

    Args:
        path: the folder; made if need be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir(parents=True, exist_ok=True)

    def keep(self, outcome: Outcome) -> None:
        """Write one down, in place of what was known of its seed."""
        part = self._file(outcome.plan.seed).with_suffix(".part")
        part.write_bytes(msgspec.json.format(msgspec.json.encode(outcome)))
        part.rename(self._file(outcome.plan.seed))

    def load(self, seed: int) -> Outcome | None:
        """What is known of a seed under today's plan; None if nothing."""
        try:
            found = msgspec.json.decode(self._file(seed).read_bytes(), type=Outcome)
        except (FileNotFoundError, msgspec.DecodeError):  # never run, or written by another version of the campaign
            return None
        return found if found.plan == draw(seed) else None

    def forget(self, seed: int) -> None:
        """As if it had not been run."""
        self._file(seed).unlink(missing_ok=True)

    def _file(self, seed: int) -> Path:
        return self._path / f"{seed:06d}.json"


class _Used:
    """A set-up and what was run on it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.outcomes: list[Outcome] = []


class Campaign:
    """Runs seeds.

    Args:
        scratch: folder for what the programs write.
        done: takes each outcome, from any thread; twice where a later look changed it.
    """

    def __init__(self, scratch: Path, done: Callable[[Outcome], None]) -> None:
        self._scratch = scratch
        self._done = done
        self._left: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._telling = threading.Lock()

    def run(self, seeds: Iterable[int], jobs: int) -> None:
        """Run them all, so many at once; when interrupted, or when a job fails, end what runs and raise."""
        for seed in seeds:
            self._left.put(seed)
        with ThreadPoolExecutor(jobs, thread_name_prefix="job") as pool:
            try:
                for ended in as_completed([pool.submit(self._work, job) for job in range(jobs)]):
                    ended.result()
            finally:
                self._stop.set()

    def _next(self) -> int | None:
        try:
            return None if self._stop.is_set() else self._left.get_nowait()
        except queue.Empty:
            return None

    def _work(self, job: int) -> None:
        """Take seeds; keep a set-up of each kind as long as it is sound."""
        rigs: dict[bool, _Used] = {}
        count = 0
        try:
            while (seed := self._next()) is not None:
                plan = draw(seed)
                try:
                    if plan.shared not in rigs:
                        count += 1
                        rigs[plan.shared] = _Used(_set_up(self._scratch / f"job-{job}" / f"{count}", plan.shared))
                    used = rigs[plan.shared]
                    outcome = Seed(used.rig, plan, used.rig.directory / f"seed-{seed}").run()
                except FAILURES as why:
                    outcome = Outcome(plan, Verdict(stuck=[f"no set-up: {why}"[:2_000]]), 0.0, [])
                else:
                    used.outcomes.append(outcome)
                self._tell(outcome)
                if plan.shared in rigs and (not outcome.verdict.sound or len(used.outcomes) >= SEEDS_OF_A_RIG):
                    self._close(rigs.pop(plan.shared))
        finally:
            for used in rigs.values():
                self._close(used)

    def _close(self, used: _Used) -> None:
        """End a set-up, after a last look: a second, different Result may have come after its seed was judged."""
        for outcome in used.outcomes:
            found = doubled(used.rig.ear.heard(outcome.plan.device))
            if found != outcome.verdict.doubled:
                outcome.verdict.doubled = found
                self._tell(outcome)
        used.rig.__exit__()

    def _tell(self, outcome: Outcome) -> None:
        with self._telling:
            self._done(outcome)


def _set_up(directory: Path, shared: bool) -> Rig:
    """A set-up; somebody else may take a port between our finding it free and using it."""
    for attempt in range(ATTEMPTS):
        with contextlib.suppress(BrokerDidNotStartError):
            return Rig(directory / f"{attempt}", shared=shared)
    return Rig(directory / "last", shared=shared)


def per_second(begun: float, count: int) -> str:
    """How fast seeds go, in words."""
    spent = time.monotonic() - begun
    return f"{count} seeds in {spent:.0f} s, {spent / max(1, count):.1f} s a seed"
