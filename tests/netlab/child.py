"""A child process of the laboratory: started, ready, told, ended."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 60.0
END_TIMEOUT = 10.0


class ChildFailedError(RuntimeError):
    """It did not do what it was started for; the message ends with what it said on stderr."""


class Child:
    """A process in the repository's root. As a context manager it is gone at the end."""

    def __init__(self, argv: Sequence[str], log: Path, process: Process) -> None:
        self._argv = argv
        self._log = log
        self._process = process

    @classmethod
    async def start(cls, argv: Sequence[str], log: Path, *, pass_fds: Sequence[int] = ()) -> Self:
        """Start it; `log` takes its stderr."""
        with log.open("ab") as err:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=PIPE, stdout=PIPE, stderr=err, cwd=ROOT, pass_fds=pass_fds, start_new_session=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        return cls(argv, log, process)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def until(self, wanted: Callable[[str], bool], patience: float = START_TIMEOUT) -> None:
        """Read its lines until one is wanted.

        Raises:
            ChildFailedError: it ended before, or the time is up.
        """
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(patience):
                while line := await self._process.stdout.readline():
                    if wanted(line.decode()):
                        return
        except TimeoutError:
            raise self._failed(f"not ready within {patience:.0f} s") from None
        raise self._failed("ended before it was ready")

    async def tell(self, line: str) -> None:
        """Write a line to its stdin.

        Raises:
            ChildFailedError: it does not read any more; says how it ended, if it has.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n".encode())
            await self._process.stdin.drain()
        except ConnectionError:  # it closes its stdin before it has an exit code
            await self.ended(END_TIMEOUT)
            raise self._failed("ended before it was told all") from None

    async def ended(self, patience: float) -> None:
        """Return when it has ended by itself.

        Raises:
            ChildFailedError: it did not, or with an exit code.
        """
        try:
            async with asyncio.timeout(patience):
                code = await self._process.wait()
        except TimeoutError:
            raise self._failed(f"did not end within {patience:.0f} s") from None
        if code:
            raise self._failed(f"exit code {code}")

    async def finish(self) -> str:
        """End its stdin, and return the rest of its stdout when it has ended.

        Raises:
            ChildFailedError: it did not end, or with an exit code.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_TIMEOUT):
                rest = await self._process.stdout.read()
        except TimeoutError:
            raise self._failed("stdin ended, but it did not") from None
        await self.ended(END_TIMEOUT)
        return rest.decode()

    def _failed(self, why: str) -> ChildFailedError:
        return ChildFailedError(f"{' '.join(self._argv)}: {why}\n{self._log.read_text(errors='replace')[-2000:]}")
