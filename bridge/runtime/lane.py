"""What one call of an engine needs for itself: buffers, and bindings to them; and a bounded number of such sets."""

from __future__ import annotations

from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.runtime import ort

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.messages import Rows
    from bridge.runtime.port import Logits, Windows


class Lane:
    """Input and output buffers of a session, for one call at a time.

    Args:
        session: as `ort.open_session` gives it; several lanes may share one.
        inputs: name of the graph's input, and shape (windows that run at once, rows, channels).
        output: name of the graph's output, and shape (windows that run at once, labels).
        bound: whether the session may read and write the buffers itself. On other providers than the CPU a binding
            copies its input when it is made, not when it runs: kept, it would repeat its first answer.
    """

    def __init__(
        self, session: Any, inputs: tuple[str, tuple[int, ...]], output: tuple[str, tuple[int, ...]], *, bound: bool
    ) -> None:
        self._session = session
        (self._input_name, shape), (self._output_name, logits_shape) = inputs, output
        self._input: Windows = np.zeros(shape, np.float32)
        self._slots = list(self._input)
        self._output: Logits = np.zeros(logits_shape if bound else (0, *logits_shape[1:]), np.float32)
        self._bound = bound
        self._runs: dict[int, tuple[Callable[[], object], Logits]] = {}  # by batch size: at most `len(self._input)`

    def logits(self, windows: Sequence[Rows] | Windows) -> Logits:
        """Logits of so many windows as fit at once, in a buffer that the next run may overwrite.

        Each window is copied once, wherever it lies, into the buffer that the session reads.
        """
        count = len(windows)
        if isinstance(windows, np.ndarray):
            np.copyto(self._input[:count], windows)
        else:
            for slot, window in zip(self._slots, windows, strict=False):
                slot[...] = window
        if not self._bound:
            found: Logits = self._session.run([self._output_name], {self._input_name: self._input[:count]})[0]
            return found
        run, output = self._runs.get(count) or self._bind(count)
        run()
        return output

    def _bind(self, count: int) -> tuple[Callable[[], object], Logits]:
        output = self._output[:count]
        run = ort.bound_run(self._session, (self._input_name, self._input[:count]), (self._output_name, output))
        self._runs[count] = run, output
        return run, output


class Lanes:
    """So many lanes, each made when it is first needed; who finds none free waits for one.

    The lane given back last goes first, so that calls that never overlap share one, and its memory is warm.

    Args:
        count: lanes, at least 1.
        make: makes one.
    """

    def __init__(self, count: int, make: Callable[[], Lane]) -> None:
        self._make = make
        self._free: list[Lane | None] = [None] * count
        self._tokens: SimpleQueue[None] = SimpleQueue()  # one a free lane; waits without Python code, in 0.1 µs
        for _ in range(count):
            self._tokens.put(None)

    def take(self) -> Lane:
        """A lane for this caller alone, until `give`."""
        self._tokens.get()
        lane = self._free.pop()
        if lane is None:
            try:
                lane = self._make()
            except BaseException:
                self.give(None)
                raise
        return lane

    def give(self, lane: Lane | None) -> None:
        """Give a lane back."""
        self._free.append(lane)
        self._tokens.put(None)
