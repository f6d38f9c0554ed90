"""What the agent knows of the engine that computes its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.messages import Rows
    from bridge.runtime.port import Outcome


class Served(msgspec.Struct, frozen=True):
    """One model as an engine serves it.

    Attributes:
        version: version of the model.
        variant: variant of it that runs.
        provider: execution provider that runs it, as ONNX Runtime calls it; a remote server's own word for it.
        rows: rows of a window.
        channels: channels of a row.
        batch: windows worth running together; more only wait longer.
        times: windows and seconds of a run, as measured when it was loaded, ascending; empty where nobody measured.
    """

    version: str
    variant: str
    provider: str
    rows: int
    channels: int
    batch: int
    times: tuple[tuple[int, float], ...] = ()


class CloudEngine(Protocol):
    """Runs batches; the event loop goes on meanwhile."""

    @property
    def served(self) -> Mapping[str, Served]:
        """The models by name; at least one."""
        ...

    async def answers(self, model: str, windows: Sequence[Rows]) -> list[Outcome]:
        """Label and score of each window, computed together.

        Args:
            model: one of `served`.
            windows: at least one; each float32, shape (rows, channels) of that model.

        Returns:
            One entry a window, in order: an Answer, or a Refused `not_finite` where the scores are not finite.

        Raises:
            ModelError: the engine failed, or its server did.
            LinkError: its server cannot be reached.
        """
        ...

    def close(self) -> None:
        """Let go of threads and connections; a run under way ends by itself."""
        ...
