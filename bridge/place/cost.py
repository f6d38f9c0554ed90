"""How long an answer takes: at one cloud agent, learned online, and at the bridge.

From asking to the answer: network (encode + bytes / goodput + round trip) + wait in the agent's queue + run. What the
agent's queue adds is reckoned from what its replies tell; the rest is learned from the last answers and silences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bridge.link.smoothing import Smoothed
from bridge.link.timeline import Timeline, seconds
from bridge.place.backlog import Backlog
from bridge.place.samples import Samples
from bridge.place.upload import Upload

if TYPE_CHECKING:
    from collections.abc import Callable

GRANULARITY = 0.025  # seconds by which event loops and brokers vary
STALLS = 0.02  # chance that an answer overdue means a cloud that stands still, before loss is weighed against it


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """How long something takes.

    Attributes:
        seconds: expected; 0 while nothing is known.
        spread: mean deviation, seconds.
        samples: that it rests on.
    """

    seconds: float
    spread: float
    samples: int


class RemoteCost:
    """One cloud agent's time. `now` is seconds of a monotonic clock; that it jumps does no harm.

    What is told to `asked` ends in `answered` or in `silent`, and an answer after its silence may be told as well.
    """

    __slots__ = ("_backlog", "_samples", "_time", "_upload")

    def __init__(self) -> None:
        self._time = Timeline()
        self._samples = Samples()
        self._backlog = Backlog()
        self._upload = Upload()

    def asked(self, now: float, windows: int = 1) -> None:
        """A message with questions leaves."""
        self._backlog.asked(self._local(now), max(0, windows))

    def answered(self, now: float, *, took: float, wait: float, run: float, batch: int, queue: int, size: int) -> None:
        """An answer came, be it after its question was given up.

        Args:
            now: monotonic seconds.
            took: seconds from asking to now.
            wait: seconds of them in the agent's queue, as it told.
            run: seconds that its batch ran.
            batch: windows in it.
            queue: windows that waited when the reply left.
            size: bytes of the question as it was sent.
        """
        local = self._local(now)
        took, wait, run = seconds(took), seconds(wait), seconds(run)
        network = max(0.0, took - wait - run)
        expected = self._backlog.ended(local - took)
        self._upload.sample(network, size)
        self._samples.slope = self._upload.slope
        self._samples.answered(local, local - took, took - (wait if expected is None else expected), size)
        self._backlog.told(local, network=network, queue=max(0, queue), run=run, batch=max(1, batch))

    def silent(self, now: float, waited: float, *, size: int = 0) -> None:
        """No answer came within `waited` seconds of asking, be it that nobody waits for it any more: a censored sample.

        Args:
            now: monotonic seconds.
            waited: seconds since asking.
            size: bytes of the question, if known.
        """
        local, waited = self._local(now), seconds(waited)
        expected = self._backlog.ended(local - waited) or 0.0
        self._samples.silent(local, local - waited, waited - expected, size)

    def predict(self, now: float, *, size: int, planned: int = 0) -> Prediction:
        """Seconds that an answer is expected to take.

        Args:
            now: monotonic seconds of asking.
            size: bytes of the question.
            planned: windows that leave before it and were not told to `asked` yet.
        """
        local, known = self._local(now), self._samples
        known.forget(local)
        smoothed = known.smoothed
        if not smoothed.samples:
            return Prediction(0.0, 0.0, 0)
        expected = smoothed.srtt + size * known.slope + self._backlog.wait(local, planned)
        return Prediction(expected, smoothed.rttvar, len(known))

    def in_time(self, now: float, left: float, *, size: int, planned: int = 0) -> float:
        """Probability that an answer comes within `left` seconds of asking; 0.9 while nothing is known."""
        if not left > 0.0:
            return 0.0
        local, known = self._local(now), self._samples
        known.forget(local)
        chance = known.chance(left - size * known.slope - self._backlog.wait(local, planned))
        late, messages = self._backlog.overdue(local, known.came.timeout(GRANULARITY))
        if not messages:
            return chance
        stalled = STALLS / (STALLS + (1.0 - STALLS) * known.lost**messages)
        return chance * (1.0 - stalled * late / (left + late))

    def _local(self, now: float) -> float:
        local, jumped = self._time.read(now)
        if jumped:
            self._backlog.jumped()
        return local


class BridgeCost:
    """The bridge's own time for a window: runs of what waits before it, and its own."""

    __slots__ = ("_ratio",)

    def __init__(self) -> None:
        self._ratio = Smoothed()

    def ran(self, expected: float, took: float) -> None:
        """A run took so many seconds, where its measured time was `expected`: a busy machine slows all runs alike."""
        if expected > 0.0:
            self._ratio.sample(seconds(took) / expected)

    def predict(self, waiting: int, run_seconds: Callable[[int], float], batch: int) -> Prediction:
        """Seconds until a window that comes now is answered.

        Args:
            waiting: windows before it.
            run_seconds: measured seconds of a run of so many windows.
            batch: most windows in a run, at least 1.
        """
        runs, last = divmod(waiting, batch)
        whole = (runs * run_seconds(batch) if runs else 0.0) + run_seconds(last + 1)
        if not self._ratio.samples:
            return Prediction(whole, 0.0, 0)
        return Prediction(whole * self._ratio.srtt, whole * self._ratio.rttvar, self._ratio.samples)
