"""Starts the demo's processes, watches their memory, and ends those it started."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

import msgspec

from bridge.demo.scenario import LINKED, MQTT, PLAIN, SITE, Device
from bridge.errors import BridgeError

START_WITHIN = 30.0  # seconds for a `ready` line
FRESHNESS = 2.0  # seconds of a recording's own time
ANSWERED = 5.0  # seconds until what was sent in vain is sent again; by default 20, as long as the whole replay
BOTH = f"""\
coap = "{{coap}}"
publish_timeout = {ANSWERED}
"""
# Non-confirmable copies are left out, since a thin link has no room for them; int8 costs what
# `inference-bridge models fidelity activity` says.
LINK = """\
[link]
freshness = {freshness}
exclude = ["coap-non*"]
fidelity = {{ float16 = 0.0, int8 = 0.0044 }}
"""


class Program:
    """A child process; its stderr goes to a log file.

    Args:
        name: what to call it.
        command: module and arguments.
        logs: folder for its log.
    """

    def __init__(self, name: str, command: list[str], logs: Path) -> None:
        self.name = name
        self._log: IO[bytes] = (logs / f"{name}.log").open("wb")
        self._process = subprocess.Popen(  # noqa: S603 # our own modules
            [sys.executable, "-m", *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log
        )
        self.peak_rss = 0.0

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._process.poll() is None

    def ready(self) -> dict[str, Any]:
        """Wait for its `ready {…}` line.

        Raises:
            BridgeError: it ended instead; its log says why.
        """
        assert self._process.stdout is not None  # noqa: S101 # Popen was given PIPE
        for line in self._process.stdout:
            word, _, facts = line.decode().partition(" ")
            if word == "ready":
                found: dict[str, Any] = json.loads(facts)
                return found
        raise BridgeError(f"{self.name} ended with status {self._process.wait()}; see {self._log.name}")

    def measure(self) -> None:
        """Note its greatest resident memory so far, MiB."""
        self.peak_rss = max(self.peak_rss, peak_rss(self.pid))

    def stop(self, patience: float = 15.0) -> int:
        """SIGTERM, and SIGKILL for one that does not listen.

        Returns:
            Its exit status.
        """
        self.measure()
        if self.running:
            self._process.terminate()
        try:
            status = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()
        return status

    def wait(self, until: float) -> bool:
        """Wait for its own end.

        Args:
            until: monotonic seconds.

        Returns:
            Whether it ended with status 0.
        """
        try:
            return self._process.wait(max(0.0, until - time.monotonic())) == 0
        except subprocess.TimeoutExpired:
            return False


def peak_rss(pid: int) -> float:
    """Greatest resident memory of a process so far, MiB; 0 when it is gone, or where there is no /proc."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def children(pid: int) -> list[int]:
    """Child processes of a process; none where there is no /proc."""
    try:
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


class Urls(msgspec.Struct, frozen=True):
    """Where the bridge listens."""

    mqtt: str
    mqtt5: str
    coap: str


def write_bridge_config(folder: Path, *, mqtt: int, mqtt5: int) -> Path:
    """The bridge's settings: embedded broker, cloud on the same one, one route a placement."""
    file = folder / "bridge.toml"
    file.write_text(
        f"""
[bridge]
id = "gw-demo"
[mqtt]
port = {mqtt}
port5 = {mqtt5}
keep_alive = 5
[coap]
bind = "127.0.0.1:0"
[cloud]
url = "mqtt://127.0.0.1:{mqtt5}"
keep_alive = 5
[[routes]]
stream = "wrist"
model = "activity"
[[routes]]
stream = "wrist-cloud"
model = "activity"
windows = "whole"
place = "cloud"
deadline = 30
"""
    )
    return file


def write_cloud_config(folder: Path, *, name: str, mqtt5: int) -> Path:
    """A cloud agent's settings."""
    file = folder / f"{name}.toml"
    file.write_text(f'[cloud]\nid = "{name}"\nurl = "mqtt://127.0.0.1:{mqtt5}"\nkeep_alive = 5\n')
    return file


def device_command(device: Device, urls: Urls, folder: Path, *, speed: float, stream: str) -> list[str]:
    """What to run for a device."""
    files = [str(recording.file) for recording in device.recordings]
    if device.kind == PLAIN:
        where = ["--url", urls.mqtt, "--device", device.name, "--stream", stream, "--speed", str(speed)]
        return ["bridge.demo.plain_device", *where, *files]
    url = urls.mqtt5 if device.kind in {MQTT, LINKED} else urls.coap
    both = device.kind == LINKED
    file = folder / f"{device.name}.toml"
    file.write_text(
        f"""
[agent]
site = "{SITE}"
device = "{device.name}"
url = "{url}"
{BOTH.format(coap=urls.coap) if both else ""}
[[streams]]
name = "{stream}"
source = "replay"
files = {json.dumps(files)}
speed = {speed}
{LINK.format(freshness=FRESHNESS / speed) if both else ""}
"""
    )
    return ["edge_agent.cli", "run", "--config", str(file)]
