"""Recorded traces: what became of one question every tenth of a second, and what the replay reads from them."""

from __future__ import annotations

import bisect
import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FOLDER = Path(__file__).with_name("traces")
BRIDGE = "bridge"  # the trace of a bridge that another model keeps busy; the others are links
COLUMNS = ("t", "kbit", "bytes", "up", "took_ms", "wait_ms", "run_ms", "batch", "queue")


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One question.

    Attributes:
        t: when it was sent, s after the start.
        kbit: a second, what the emulated link let through on the way up; 0: unlimited or held.
        size: bytes of it.
        up: the client was connected; else nothing was sent.
        took: s from asking to the answer; inf: it was lost, or came after the recording's patience.
        wait: s of these in the agent's queue.
        run: s of these in the model, with the whole batch.
        batch: windows that ran together.
        queue: windows waiting behind it.
    """

    t: float
    kbit: float = 0.0
    size: int = 0
    up: bool = True
    took: float = math.inf
    wait: float = 0.0
    run: float = 0.0
    batch: int = 1
    queue: int = 0

    @property
    def network(self) -> float:
        """Of `took`, what is neither queue nor model; inf if it was lost."""
        return max(0.0, self.took - self.wait - self.run)


class Trace:
    """Samples by time; what happens between two is between them."""

    def __init__(self, name: str, samples: Sequence[Sample]) -> None:
        """Keep them.

        Raises:
            ValueError: fewer than two samples, or not in the order of time.
        """
        self._at = [one.t for one in samples]
        if len(samples) < 2 or any(b <= a for a, b in zip(self._at, self._at[1:], strict=False)):
            raise ValueError(f"{name}: at least two samples, each later than the one before")
        self.name = name
        self.samples = samples

    @property
    def end(self) -> float:
        """When the last sample was taken, s."""
        return self._at[-1]

    def at(self, t: float) -> Sample:
        """What a question at `t` meets: straight lines between its neighbours.

        Of two neighbours of which one was lost or found the client disconnected, the nearer one's fate; before the
        first and after the last sample, theirs.
        """
        right = bisect.bisect_right(self._at, t)
        if right == 0 or right == len(self._at):
            return self.samples[min(right, len(self._at) - 1)]
        before, after = self.samples[right - 1], self.samples[right]
        part = (t - before.t) / (after.t - before.t)
        if not (before.up and after.up and math.isfinite(before.took) and math.isfinite(after.took)):
            return before if part < 0.5 else after
        near = before if part < 0.5 else after
        return Sample(
            t=t, kbit=near.kbit, size=near.size, batch=near.batch, queue=near.queue,
            took=_between(before.took, after.took, part), wait=_between(before.wait, after.wait, part),
            run=_between(before.run, after.run, part),
        )  # fmt: skip


def _between(a: float, b: float, part: float) -> float:
    return a + (b - a) * part


def write(path: Path, samples: Iterable[Sample]) -> None:
    """As csv; times in ms where the column says so, empty where the question was lost."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for one in samples:
            lost = math.isinf(one.took)
            times = ("", "", "") if lost else tuple(f"{1e3 * s:.4g}" for s in (one.took, one.wait, one.run))
            counts = ("", "") if lost else (one.batch, one.queue)
            table.writerow((f"{one.t:.3f}", f"{one.kbit:g}", one.size, int(one.up), *times, *counts))


def read(path: Path) -> Trace:
    """The trace of a file.

    Raises:
        ValueError: naming file and line.
    """
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if tuple(table.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{path}: columns {table.fieldnames}, expected {', '.join(COLUMNS)}")
        try:
            samples = [_sample(line) for line in table]
        except ValueError as why:
            raise ValueError(f"{path}, line {table.line_num}: {why}") from why
    return Trace(path.stem, samples)


def _sample(line: dict[str, str]) -> Sample:
    sent = Sample(t=float(line["t"]), kbit=float(line["kbit"]), size=int(line["bytes"]), up=line["up"] == "1")
    if not line["took_ms"]:
        return sent
    took, wait, run = (float(line[name]) / 1e3 for name in ("took_ms", "wait_ms", "run_ms"))
    return msgspec.structs.replace(
        sent, took=took, wait=wait, run=run, batch=int(line["batch"]), queue=int(line["queue"])
    )


def links(folder: Path = FOLDER) -> list[Trace]:
    """Every recorded link, by name."""
    return [read(path) for path in sorted(folder.glob("*.csv")) if path.stem != BRIDGE]


def bridge(folder: Path = FOLDER) -> Trace:
    """The recorded bridge."""
    return read(folder / f"{BRIDGE}.csv")
