"""Tunes anew, beside the work, what was tuned for another machine, runtime or version of a model.

`models tune` runs as a process of its own, at the lowest priority: it measures for a while, and what it opens is not to
stay in the bridge's memory. Until it has found something the manifest's variant answers.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
from typing import TYPE_CHECKING

from bridge import assembly
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from bridge.catalog import Manifest
    from bridge.config import Config

log = logging.getLogger("bridge")

PATIENCE = 20.0  # times the seconds of measuring that the whole may take, accuracy and start-up included
LEAST = 300.0  # seconds that it may take in any case


class Retuner:
    """Knows which choices hold no more.

    Args:
        config: the bridge's settings.
        base: folder that relative paths in them start from.
        file: where they are written; None for the defaults.
        models: manifests of the engines that run.
        reopen: opens a model's engine anew, with what was found.
    """

    def __init__(
        self,
        config: Config,
        base: Path,
        file: Path | None,
        models: dict[str, Manifest],
        reopen: Callable[[str], Awaitable[None]],
    ) -> None:
        self._config = config
        self._state = assembly.state_folder(config, base)
        self._file = file
        self._models = models
        self._reopen = reopen
        self.due = asyncio.Event()
        self.due.set()

    async def run(self) -> None:
        """Look at the start, and whenever `due` is set: each model that needs it, one after the other."""
        while True:
            await self.due.wait()
            self.due.clear()
            for name in list(self._models):
                if assembly.choose_engine(self._config, self._models[name], self._state).outdated:
                    await self._again(name)

    async def _again(self, name: str) -> None:
        log.info("%s: what was tuned does not hold here any more; tuning anew beside the work", name)
        try:
            code, said = await self._tune(name)
            if code:
                log.warning("%s: tuning anew failed (status %d): %s", name, code, said)
            else:
                await self._reopen(name)
        except (BridgeError, OSError, TimeoutError) as why:
            log.warning("%s: tuning anew failed: %s", name, why or type(why).__name__)

    async def _tune(self, name: str) -> tuple[int, str]:
        """Exit status, and the last thing it said if it failed."""
        seconds = self._config.bridge.retune
        command = [sys.executable, "-m", "bridge.cli", "models", "tune", str(self._models[name].folder)]
        command += ["--seconds", f"{seconds:g}"]
        if self._file is not None:
            command += ["--config", str(self._file)]
        if (nice := shutil.which("nice")) is not None:
            command = [nice, "-n", "19", *command]
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        child = await asyncio.create_subprocess_exec(*command, stdin=nothing, stdout=nothing, stderr=pipe)
        try:
            async with asyncio.timeout(max(LEAST, PATIENCE * seconds)):
                _, said = await child.communicate()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        assert child.returncode is not None  # noqa: S101 # it has ended
        return child.returncode, said.decode(errors="replace").strip().rpartition("\n")[2]
