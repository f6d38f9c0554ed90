"""An engine that computes when a test lets it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from bridge.messages import Answer
from bridge.runtime.fake import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.messages import Rows
    from bridge.runtime.port import Outcome, Windows

ROWS, CHANNELS = 4, 3


class HeldEngine(FakeEngine):
    """Slow: its runs wait in their threads until they are let go. A window's number is its first value.

    Attributes:
        running: first windows of the runs that wait, in the order in which they began.
        began: windows of each run so far.
        most: most runs that waited at once.
        fails: how runs fail, by their first window.
        once: seconds that it says a run takes, whatever its batch.
        cost: seconds that it says each window takes besides.
        unsure: windows of which it is unsure.
        open: runs do not wait any more.
    """

    def __init__(
        self, model: str = "fake", *, lanes: int = 1, batch: int = 1, version: str = "1.0.0", once: float = 0.006
    ) -> None:
        super().__init__(
            ("no", "yes"), rows=ROWS, channels=CHANNELS, model=model, max_batch=batch, lanes=lanes, version=version
        )
        self.running: list[int] = []
        self.began: list[list[int]] = []
        self.most = 0
        self.fails: dict[int, Exception] = {}
        self.once, self.cost = once, 0.0
        self.unsure: set[int] = set()
        self._gates: dict[int, threading.Event] = {}
        self._lock = threading.Lock()
        self.open = False

    def run_seconds(self, batch: int) -> float:
        return self.once + self.cost * batch

    def answers(self, windows: Sequence[Rows] | Windows) -> list[Outcome]:
        numbers = [int(window[0, 0]) for window in windows]
        with self._lock:
            self.began.append(numbers)
            self.running.append(numbers[0])
            self.most = max(self.most, len(self.running))
            gate = self._gate(numbers[0])
        assert self.open or gate.wait(20), "nobody let it go"
        with self._lock:
            self.running.remove(numbers[0])
        if numbers[0] in self.fails:
            raise self.fails[numbers[0]]
        return [Answer("yes", 0.5 if n in self.unsure else 0.9, self.version, self.variant) for n in numbers]

    def _gate(self, number: int) -> threading.Event:
        return self._gates.setdefault(number, threading.Event())

    def let_go(self, *numbers: int) -> None:
        """The runs that begin with these windows may end."""
        with self._lock:
            for number in numbers:
                self._gate(number).set()

    def let_all_go(self) -> None:
        """This and every later run may end."""
        self.open = True
        with self._lock:
            for gate in self._gates.values():
                gate.set()

    async def ended(self) -> None:
        """Returns when nothing runs."""
        await until(lambda: not self.running)


async def until(true: Callable[[], object]) -> None:
    """Returns once the condition holds; TimeoutError if it does not in time."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 # what is awaited happens in threads
            await asyncio.sleep(0.001)
