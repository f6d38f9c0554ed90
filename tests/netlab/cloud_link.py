"""The link from the bridge to the cloud, emulated: a device, its broker and the bridge here, broker and agent there."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from tests.netlab import namespaces
from tests.netlab.child import Child
from tests.netlab.cloud_device import BRIDGE, HOST, STREAM, Heard, Task
from tests.netlab.contestants import MOSQUITTO
from tests.netlab.emulator import Plan, Told
from tests.netlab.lab import Switch
from tests.support.cloud_agents import MODEL, until
from tests.support.programs import command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.netlab.model import Stage
    from tests.netlab.namespaces import Namespace

PORT, DRAIN, LEAD = 1_883, 10.0, 0.3
SETTINGS = """\
[bridge]
id = "{bridge}"
log_level = "debug"
[mqtt]
url = "mqtt://{host}:{port}"
[coap]
enabled = false
[cloud]
url = "mqtt://{gateway}:{port}"
hedge = 0.0
{cloud}
[[routes]]
stream = "{stream}"
model = "{model}"
windows = "whole"
place = "cloud"
deadline = {deadline}
order = "free"
"""
AGENT = """\
[cloud]
id = "gpu-1"
url = "mqtt://{host}:{port}"
[engine]
models = ["{model}"]
"""


class Seen(msgspec.Struct, frozen=True):
    """A run.

    Attributes:
        heard: by the device.
        link: by the emulator: `up` is from the bridge to the cloud's broker.
        windows: that were handed over.
        log: the bridge's.
        began: seconds since 1970 at the beginning of the work.
    """

    heard: Heard
    link: Told
    windows: int
    log: str
    began: float

    @property
    def switches(self) -> list[Switch]:
        """The latest, as the bridge's status tells them; the first choice is none."""
        told = self.heard.status.get("switches", [])
        return [Switch(one["t"] - self.began, one["profile"], one["reason"]) for one in told]

    @property
    def in_time(self) -> float:
        """Share of the windows that the cloud answered within their deadline."""
        return self.heard.cloud / self.windows

    @property
    def bytes_up(self) -> float:
        """IP bytes on the way up a question, with everything else that went there; windows not asked do not count."""
        return self.link.up.bytes / (self.heard.cloud + self.heard.in_vain)


async def measure(
    stages: Sequence[Stage],
    folder: Path,
    *,
    cloud: str = "",
    rate: float = 4.0,
    windows: int = 120,
    deadline: float = 2.0,
    seed: int = 1,
) -> Seen:
    """One run.

    Args:
        stages: of the link, from the beginning of the work.
        folder: for configs, state and logs.
        cloud: further lines of the bridge's `[cloud]`.
        rate: windows a second.
        windows: how many.
        deadline: s of each.
        seed: of the link's dice.

    Raises:
        ChildFailedError: a process did not start or end.
        RuntimeError: the system refuses namespaces.
    """
    _write(folder, cloud, deadline)
    mosquitto = ["mosquitto", "-c", str(folder / "mosquitto.conf")]
    task = msgspec.json.encode(Task(PORT, windows, rate, DRAIN)).decode()
    async with contextlib.AsyncExitStack() as stack:
        pair = stack.enter_context(namespaces.pair())

        async def start(side: Namespace, name: str, argv: list[str], ready: str = "ready") -> Child:
            child = await Child.start(side.inside(argv), folder / f"{name}.log")
            await stack.enter_async_context(child)
            if ready:
                await child.until(lambda line: line.startswith(ready))
            return child

        plan = Plan(device=pair.device.tun, gateway=pair.gateway.tun, stages=list(stages), seed=seed)
        fds = (pair.device.tun, pair.gateway.tun)
        emulator = await Child.start(
            [sys.executable, "-m", "tests.netlab.emulator"], folder / "emulator.log", pass_fds=fds
        )
        await stack.enter_async_context(emulator)
        await emulator.tell(msgspec.json.encode(plan).decode())
        await emulator.until("ready\n".__eq__)
        await start(pair.gateway, "mosquitto-cloud", mosquitto, "")
        await start(pair.device, "mosquitto-device", mosquitto, "")
        await start(pair.gateway, "agent", [command("cloud-agent"), "run", "--config", str(folder / "agent.toml")])
        config = str(folder / "bridge.toml")
        await start(pair.device, "bridge", [command("inference-bridge"), "run", "--config", config])
        await until(lambda: "cloud agent gpu-1 serves" in _said(folder), 30.0)
        device = await start(pair.device, "device", [sys.executable, "-m", "tests.netlab.cloud_device", task])
        begin = time.monotonic() + LEAD
        began = begin + time.time() - time.monotonic()
        for child in (emulator, device):
            await child.tell(f"go {begin}")
        lines: list[str] = []

        def last(line: str) -> bool:
            lines.append(line)
            return line.startswith("{")

        await device.until(last, windows / rate + DRAIN + 30.0)
        told = msgspec.json.decode(await emulator.finish(), type=Told)
    return Seen(msgspec.json.decode(lines[-1], type=Heard), told, windows, _said(folder), began)


def _write(folder: Path, cloud: str, deadline: float) -> None:
    folder.mkdir(parents=True)
    files = {
        "mosquitto.conf": MOSQUITTO.format(port=PORT),
        "agent.toml": AGENT.format(host=HOST, port=PORT, model=MODEL),
        "bridge.toml": SETTINGS.format(
            bridge=BRIDGE, host=HOST, port=PORT, gateway=namespaces.GATEWAY, cloud=cloud, stream=STREAM, model=MODEL,
            deadline=deadline,
        ),
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).write_text(text)


def _said(folder: Path) -> str:
    """What the bridge logged."""
    return (folder / "bridge.log").read_text()
