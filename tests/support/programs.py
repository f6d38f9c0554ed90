"""Real programs of this product as child processes: started, watched, killed, restarted."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

START_TIMEOUT = 20.0
STOP_TIMEOUT = 15.0


class ProgramDidNotStartError(RuntimeError):
    """No `ready` line came; the message ends with what the program said."""


def command(name: str) -> str:
    """Path of one of our console scripts, beside the Python that runs the tests."""
    return str(Path(sys.executable).with_name(name))


class RunningProgram:
    """A program that says `ready {…}` once it serves. As a context manager it is gone at the end.

    Attributes:
        directory: where it was started, with its config, state and logs.
        ready: what its `ready` line said; empty before.
    """

    def __init__(
        self, arguments: Sequence[str], directory: Path, *, log: str = "program.log", stdin: int = subprocess.DEVNULL
    ) -> None:
        self.directory = directory
        self.ready: dict[str, Any] = {}
        self._stdin = stdin
        self._arguments = [command(arguments[0]), *arguments[1:]]
        self._log = directory / log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self._arguments[0]} is not running"
        return self._process.pid

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """For what reads its stdout beyond `ready`, or feeds its stdin."""
        assert self._process is not None, f"{self._arguments[0]} is not running"
        return self._process

    @property
    def stderr(self) -> str:
        """Everything said on stderr so far, also before a restart."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def rss_mib(self) -> float:
        """Resident memory now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def launch(self) -> Self:
        """Starts it and returns at once, ready or not."""
        assert not self.running, f"{self._arguments[0]} is running"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.ready = {}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments,
                stdin=self._stdin,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.directory,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        return self

    def wait_ready(self, timeout: float = START_TIMEOUT) -> Self:
        """Returns once it has said `ready`; kills it if that does not come."""
        assert self._process is not None
        assert self._process.stdout is not None
        said = b""
        deadline = time.monotonic() + timeout
        while b"\n" not in said and (left := deadline - time.monotonic()) > 0:
            if not select.select([self._process.stdout], [], [], left)[0]:
                break
            chunk = os.read(self._process.stdout.fileno(), 65_536)
            if not chunk:
                break
            said += chunk
        line = said.partition(b"\n")[0].decode()
        if not line.startswith("ready {"):
            code = self._process.poll()
            self.kill()
            raise ProgramDidNotStartError(f"{self._arguments}: said {line!r}, exit code {code}\n{self.stderr[-2000:]}")
        self.ready = json.loads(line.removeprefix("ready "))
        return self

    def start(self) -> Self:
        """Starts it and returns once it is ready."""
        return self.launch().wait_ready()

    def restart(self) -> Self:
        """SIGKILL if it runs, then the same program again on the same state."""
        self.kill()
        return self.start()

    def wait(self, timeout: float = STOP_TIMEOUT) -> int:
        """Its exit code, once it has ended by itself."""
        assert self._process is not None, "never started, or ended before"
        try:
            return self._process.wait(timeout)
        finally:
            self._close()

    def kill(self) -> None:
        """SIGKILL, as a power cut would; nothing if it does not run."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """SIGTERM.

        Returns:
            The exit code.
        """
        return self._end(signal.SIGTERM)

    def says(self, text: str | Callable[[str], bool], timeout: float = 10.0) -> str:
        """Everything on stderr, once the text is in it; AssertionError if it does not come."""
        true = text if callable(text) else (lambda said: text in said)
        deadline = time.monotonic() + timeout
        while not true(said := self.stderr):
            assert time.monotonic() < deadline, f"not said within {timeout:g} s: {text!r}, but:\n{said[-2000:]}"
            time.sleep(0.01)
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def _end(self, how: signal.Signals) -> int:
        process = self._process
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(how)
        try:
            return process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            self._close()

    def _close(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):  # what was not written yet
                process.stdin.close()
        if process is not None and process.stdout is not None:
            process.stdout.close()
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()


def prepare_bridge(directory: Path, config_text: str) -> RunningProgram:
    """A bridge with this `bridge.toml`, not started."""
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "bridge.toml"
    config.write_text(config_text)
    return RunningProgram(["inference-bridge", "run", "--config", str(config)], directory, log="bridge.log")


def start_bridge(directory: Path, config_text: str) -> RunningProgram:
    """A bridge with this `bridge.toml`, ready."""
    return prepare_bridge(directory, config_text).start()


def run_command(*arguments: str, timeout: float = 20.0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """One of our commands, to its end."""
    return subprocess.run(
        [command(arguments[0]), *arguments[1:]],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        check=False,
    )
