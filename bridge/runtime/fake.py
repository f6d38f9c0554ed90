"""An engine without a runtime: the same answers every time, for the tests of users and our own."""

from __future__ import annotations

import threading
import zlib
from typing import TYPE_CHECKING

import numpy as np

from bridge.runtime import shapes
from bridge.runtime.scores import outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from bridge.messages import Rows
    from bridge.runtime.port import Logits, Outcome, Windows


class FakeEngine:
    """Logits made from each window's bytes alone, or by a rule: no batch, order or machine changes them.

    Attributes:
        batches: how many windows each call of `run` got, in order.
        failure: raised by every later `run`, to test what happens when a runtime fails.
    """

    provider = "FakeExecutionProvider"

    def __init__(
        self,
        labels: Sequence[str] = ("rest", "walk"),
        *,
        rows: int = 128,
        channels: int = 6,
        model: str = "fake",
        version: str = "1.0.0",
        variant: str = "fake",
        max_batch: int = 64,
        lanes: int = 1,
        below: float | None = None,
        seconds: float = 0.0,
        rule: Callable[[NDArray[np.float32]], Sequence[float]] | None = None,
    ) -> None:
        """Describe the fake.

        Args:
            labels: the classes.
            rows: rows of a window.
            channels: channels of a row.
            model: name of the model.
            version: version that answers are signed with.
            variant: variant that answers are signed with.
            max_batch: told to callers; nothing is split.
            lanes: calls that run at once; more wait.
            below: told to callers.
            seconds: what `run_seconds` says of one window.
            rule: logits of one window, one a label, from float32 of shape (rows, channels).
        """
        self.labels = tuple(labels)
        self.rows = rows
        self.channels = channels
        self.model = model
        self.version = version
        self.variant = variant
        self.max_batch = max_batch
        self.lanes = lanes
        self.below = below
        self.batches: list[int] = []
        self.failure: Exception | None = None
        self._free = threading.Semaphore(lanes)
        self._seconds = seconds
        self._rule = rule or self._by_bytes

    def run(self, windows: Windows) -> Logits:
        """Logits; see `Engine.run`."""
        if self.failure is not None:
            raise self.failure
        shapes.check(windows, (self.rows, self.channels), self.model)
        self.batches.append(len(windows))
        logits = np.empty((len(windows), len(self.labels)), np.float32)
        with self._free:
            for row, window in zip(logits, windows, strict=True):
                row[:] = self._rule(np.ascontiguousarray(window, np.float32))
        return logits

    def answers(self, windows: Sequence[Rows] | Windows) -> list[Outcome]:
        """Label and score of each window; see `Engine.answers`."""
        shapes.check(windows, (self.rows, self.channels), self.model)
        together = np.stack(list(windows)) if len(windows) else np.empty((0, self.rows, self.channels), np.float32)
        logits = self.run(together)
        return outcomes(
            logits, self.labels, temperature=1.0, model=self.model, version=self.version, variant=self.variant
        )

    def run_seconds(self, batch: int) -> float:
        """`seconds` a window."""
        return self._seconds * batch

    def _by_bytes(self, window: NDArray[np.float32]) -> Sequence[float]:
        digest = zlib.crc32(window.tobytes())
        logits = [0.0] * len(self.labels)
        logits[digest % len(self.labels)] = 6.0 * (digest >> 16) / 0xFFFF
        return logits
