"""Engines of `bridge.runtime` in worker threads of this process."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bridge.batch import best_size
from cloud_agent.engines.port import Served

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.messages import Rows
    from bridge.runtime.port import Engine, Outcome

HANDOVER = 0.0003  # seconds a batch costs around its run: two thread switches, one loop turn (2 cores)


class InProcess:
    """A `CloudEngine`. As many threads as the engine with most lanes has, so that several models share the cores."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        """Serve engines that are loaded and warm, `FakeEngine` among them.

        Args:
            engines: one a model, at least one.
        """
        self._engines = {engine.model: engine for engine in engines}
        self._threads = ThreadPoolExecutor(max(engine.lanes for engine in engines), thread_name_prefix="engine")
        self.served: Mapping[str, Served] = {engine.model: _describe(engine) for engine in engines}

    async def answers(self, model: str, windows: Sequence[Rows]) -> list[Outcome]:
        """Label and score of each window; see `CloudEngine.answers`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._engines[model].answers, windows)

    def close(self) -> None:
        """End the threads; see `CloudEngine.close`."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _describe(engine: Engine) -> Served:
    batch = best_size(engine.run_seconds, engine.max_batch, overhead=HANDOVER)
    sizes = [1 << power for power in range(batch.bit_length()) if 1 << power < batch]
    return Served(
        version=engine.version,
        variant=engine.variant,
        provider=engine.provider,
        rows=engine.rows,
        channels=engine.channels,
        batch=batch,
        times=tuple((size, engine.run_seconds(size) + HANDOVER) for size in (*sizes, batch)),
    )
