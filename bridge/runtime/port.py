"""What the rest of the product knows of an engine; `OnnxEngine` and `FakeEngine` are two of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bridge.errors import Refused
from bridge.messages import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.messages import Rows

Windows: TypeAlias = NDArray[np.float32]  # shape (n, rows, channels), raw units
Logits: TypeAlias = NDArray[np.float32]  # shape (n, labels)
Outcome: TypeAlias = Answer | Refused  # a window that cannot be answered carries its error on; its batch is unharmed


class Engine(Protocol):
    """One variant of one model, ready to run. Calls from so many threads as it has `lanes` run at once; more wait."""

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

    @property
    def lanes(self) -> int:
        """Calls of `run` and `answers` that compute at the same time, each in a thread of its own; at least 1."""
        ...

    @property
    def below(self) -> float | None:
        """Score under which the variant that runs counts as unsure, 0…1; None: it escalates nothing."""
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

    def answers(self, windows: Sequence[Rows] | Windows) -> list[Outcome]:
        """Label and score of each window.

        Args:
            windows: float32, each of shape (rows, channels), raw units, any number; one array of all of them, as in
                `run`, is such a sequence too. Read only, and need not be contiguous.

        Returns:
            One entry a window, in order: an Answer, or a Refused `not_finite` where the logits are not finite.

        Raises:
            Refused: `shape`: a window has another shape; then none is answered.
            ModelError: as in `run`.
        """
        ...

    def run_seconds(self, batch: int) -> float:
        """Seconds that `run` takes for so many windows, as measured when the engine was loaded; a look into a table."""
        ...
