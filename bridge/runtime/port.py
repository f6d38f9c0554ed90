"""What the rest of the product knows of an engine; `OnnxEngine` and `FakeEngine` are two of them."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bridge.errors import Refused
from bridge.messages import Answer

Windows: TypeAlias = NDArray[np.float32]  # shape (n, rows, channels), raw units
Logits: TypeAlias = NDArray[np.float32]  # shape (n, labels)
Outcome: TypeAlias = Answer | Refused  # a window that cannot be answered carries its error on; its batch is unharmed


class Engine(Protocol):
    """One variant of one model, ready to run. Calls from several threads take turns."""

    @property
    def model(self) -> str:
        """Name of the model."""
        ...

    @property
    def version(self) -> str:
        """Version of the model."""
        ...

    @property
    def variant(self) -> str:
        """Name of the variant."""
        ...

    @property
    def provider(self) -> str:
        """Execution provider that really runs it, as the runtime calls it: "CPUExecutionProvider"."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the logits' columns."""
        ...

    @property
    def rows(self) -> int:
        """Rows of a window."""
        ...

    @property
    def channels(self) -> int:
        """Channels of a row."""
        ...

    @property
    def max_batch(self) -> int:
        """Windows that run at once; more are split."""
        ...

    def run(self, windows: Windows) -> Logits:
        """Compute logits.

        Args:
            windows: float32, shape (n, rows, channels), raw units; n may be 0, or more than `max_batch`.

        Returns:
            float32, shape (n, labels), the caller's own; not finite where a window's values overflow the graph.

        Raises:
            Refused: `shape`: the windows have another shape.
            ModelError: the runtime failed.
        """
        ...

    def answers(self, windows: Windows) -> list[Outcome]:
        """Label and score of each window.

        Args:
            windows: as in `run`.

        Returns:
            One entry a window, in order: an Answer, or a Refused `not_finite` where the logits are not finite.

        Raises:
            Refused: as in `run`.
            ModelError: as in `run`.
        """
        ...

    def run_seconds(self, batch: int) -> float:
        """Seconds that `run` takes for so many windows, as measured when the engine was loaded."""
        ...
