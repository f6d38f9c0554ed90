"""Takes up a new version of a model while the bridge runs: on SIGHUP, without a dropped message.

The folder is read, verified, opened and warmed up beside the version that answers; then the pipeline changes over
between two turns. Whatever is wrong with the new version is logged, and the old one goes on. What a window is (rows,
hop, channels) cannot change this way, for rows are already cut so: that takes a restart.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from bridge import assembly
from bridge.errors import BridgeError, ModelError
from bridge.runtime.choice import open_engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bridge.catalog import Manifest
    from bridge.config import Config
    from bridge.runtime.port import Engine

log = logging.getLogger("bridge")


class Reloader:
    """Knows which manifests answer now.

    Args:
        config: the bridge's settings.
        base: folder that relative paths in them start from.
        state: folder of what the tuner remembered.
        models: manifests of the engines that run.
        swap: changes over to an engine.
        asked: set to look for new versions soon.

    Attributes:
        reloaded: called when it has looked.
    """

    def __init__(
        self,
        config: Config,
        base: Path,
        state: Path,
        models: dict[str, Manifest],
        swap: Callable[[Engine], None],
        asked: asyncio.Event,
    ) -> None:
        self._config = config
        self._base = base
        self._state = state
        self._models = models
        self._swap = swap
        self._asked = asked
        self._one = asyncio.Lock()
        self.reloaded: Callable[[], None] = _nothing

    async def run(self) -> None:
        """Look whenever asked."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            for name in list(self._models):
                try:
                    await self._reload(name)
                except BridgeError as why:
                    log.error("%s: still version %s: %s", name, self._models[name].version, why)  # noqa: TRY400 # the message says it all
            self.reloaded()

    async def reopen(self, name: str) -> None:
        """Change over to what the tuner found for the version that runs.

        Raises:
            BridgeError: it cannot be used; the old engine goes on.
        """
        async with self._one:
            manifest = self._models[name]
            await self._open(manifest)

    async def _reload(self, name: str) -> None:
        async with self._one:
            old = self._models[name]
            catalog = await asyncio.to_thread(assembly.catalog_of, self._config, self._base)
            new = catalog[name]
            if new == old:
                log.info("%s: version %s is what runs", name, old.version)
                return
            if _shape(new) != _shape(old):
                raise ModelError(
                    f"{new.folder}: its windows are others (rows, hop or channels): restart the bridge for it"
                )
            await self._open(new)

    async def _open(self, manifest: Manifest) -> None:
        chosen = assembly.choose_engine(self._config, manifest, self._state)
        engine = await asyncio.to_thread(open_engine, manifest, chosen)
        name = manifest.name
        self._models[name] = manifest
        self._swap(engine)
        log.info("%s: version %s answers from now on, %s: %s", name, manifest.version, engine.variant, chosen.why)


def _nothing() -> None:
    """Nobody wants to know."""


def _shape(manifest: Manifest) -> tuple[int, int, tuple[str, ...]]:
    shape = manifest.input
    return shape.rows, shape.hop, tuple(shape.channels)
