"""A stand: one Mosquitto with one bridge behind it, both real processes, on which runs of the load generator happen."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from tests.benchmarks import frames, work
from tests.benchmarks.task import Task, Told
from tests.support.brokers import start_mosquitto
from tests.support.programs import RunningProgram, prepare_bridge

if TYPE_CHECKING:
    from tests.support.brokers import RunningBroker

OURS, PAHO, AIOMQTT, SOCKET = "ours", "paho", "aiomqtt", "socket"
ALL = (OURS, PAHO, AIOMQTT, SOCKET)
ROOT = Path(__file__).resolve().parents[2]
QUEUE, INFLIGHT = 20_000, 1_024
WHOLE = 0  # the numbering of whole windows, beside those of fleets by their size
BROKER = "set_tcp_nodelay true\nmax_inflight_messages {inflight}\nmax_queued_messages {queue}\nsys_interval 1"
BESIDE = "listener 0 {path}\nallow_anonymous true"  # the load generator's way in, cheaper for the broker than TCP
TOML = """
[bridge]
id = "bench"
log_level = "warning"
[mqtt]
url = "mqtt://127.0.0.1:{port}"
receive_maximum = 1024
[coap]
enabled = false
[[routes]]
stream = "window"
model = "activity"
windows = "whole"
place = "bridge"
[[routes]]
stream = "wrist"
model = "activity"
place = "bridge"
"""


def settings(queue: int, inflight: int) -> str:
    """What the report says of the broker."""
    broker = BROKER.format(queue=queue, inflight=inflight).replace("\n", ", ")
    return f"Mosquitto: {broker}; bridges by TCP, the load generator by a Unix socket"


class WrongResultsError(RuntimeError):
    """A bridge lost, changed or repeated Results: its speed means nothing."""


class Rival(RunningProgram):
    """One of the hand-written bridges, as a child process."""

    def __init__(self, name: str, port: int, directory: Path) -> None:
        super().__init__(["python", "-m", f"tests.benchmarks.rival_{name}", str(port)], directory)
        self._arguments[0] = sys.executable

    def launch(self) -> Self:
        with contextlib.chdir(ROOT):
            directory, self.directory = self.directory, ROOT
            try:
                return super().launch()
            finally:
                self.directory = directory


class Stand:
    """A broker, a bridge, and where they left off.

    Attributes:
        name: of the bridge.
        broker: Mosquitto.
        bridge: the process measured.
    """

    def __init__(
        self, name: str, directory: Path, *, queue: int = QUEUE, inflight: int = INFLIGHT, text: bool = False
    ) -> None:
        """Start both; messages of whole windows are JSON if `text`."""
        self.name = name
        directory.mkdir(parents=True)
        self._directory = directory
        self._text = text
        self._sent: Counter[int] = Counter()
        self._work: dict[int, Path] = {}
        self._socket = str(directory / "load.sock")
        lines = [BROKER.format(queue=queue, inflight=inflight), BESIDE.format(path=self._socket)]
        self.broker: RunningBroker = start_mosquitto(directory / "mosquitto", extra="\n".join(lines))
        self._dropped: int | None = None
        try:
            if name == OURS:
                self.bridge = prepare_bridge(directory / OURS, TOML.format(port=self.broker.port))
            else:
                self.bridge = Rival(name, self.broker.port, directory)
            self.bridge.start()
        except BaseException:
            self.broker.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.bridge.kill()
        self.broker.kill()

    def run(
        self,
        *,
        seconds: float,
        warm: float = 0.5,
        devices: int = 16,
        outstanding: int = 512,
        rate: float | None = None,
        series: bool = False,
        nice: int = 0,
    ) -> Told:
        """One run of the load generator; see `Task`.

        Raises:
            WrongResultsError: in a closed loop something is missing, or in any a Result was wrong or repeated.
        """
        numbering = devices if series else WHOLE  # of whole windows none may come twice; a fleet goes on with its rows
        task = Task(
            broker=self._socket, work=str(self._work_file(numbering)), series=series, devices=devices,
            outstanding=outstanding, rate=rate, warm=warm, seconds=seconds, first=self._sent[numbering],
            nice=nice, watch={"bridge": self.bridge.pid, "broker": self.broker.pid},
        )  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.load"], input=msgspec.json.encode(task), capture_output=True,
            cwd=ROOT, timeout=seconds + warm + 60, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"the load generator failed: {done.stderr.decode()[-2000:]}")
        told = msgspec.json.decode(done.stdout, type=Told)
        self._sent[numbering] += told.sent
        if told.wrong or told.repeated or (rate is None and told.missing) or not told.answered:
            raise WrongResultsError(
                f"{self.name}: {told.answered} right, {told.wrong} wrong, {told.repeated} repeated, "
                f"{told.missing} missing of {told.sent}\n{self.bridge.stderr[-2000:]}"
            )
        return told

    def dropped(self) -> int:
        """Messages that the broker says it dropped.

        Raises:
            TimeoutError: it never told. Once it did, it tells nothing where that did not change for a minute.
        """
        with frames.dial(self._socket, "sys") as sock:
            sock.settimeout(3)
            time.sleep(1.1)  # one sys_interval, so that the retained figure is fresh
            sock.sendall(frames.subscribe("$SYS/broker/publish/messages/dropped", qos=0))
            buffer, end = b"", time.monotonic() + 3
            while time.monotonic() < end:
                with contextlib.suppress(TimeoutError):
                    buffer += sock.recv(frames.READ)
                for first, start, stop in frames.split(buffer)[0]:
                    if first & 0xF0 == frames.PUBLISH:
                        self._dropped = int(frames.message(buffer, first, start, stop)[2])
                        return self._dropped
        if self._dropped is None:
            raise TimeoutError("the broker does not tell what it dropped")
        return self._dropped

    def _work_file(self, numbering: int) -> Path:
        """Payloads on disk; those of a fleet's series have an epoch of their own."""
        if numbering not in self._work:
            path = self._work[numbering] = self._directory / f"work-{numbering}.msgpack"
            work.save(work.half_windows(f"fleet-{numbering}") if numbering else self._whole(), path)
        return self._work[numbering]

    def _whole(self) -> work.Work:
        return work.text_windows() if self._text else work.whole_windows()
