"""`python -m tests.place.record`: records the traces that the replay reads, as root, with Mosquitto.

A link: a real Mosquitto and a real cloud agent in one network namespace, the product's own connection in the other,
between them the network laboratory's emulator; one question every tenth of a second for two minutes. The bridge: a real
bridge on loopback that computes a slow model besides at times, and one window every tenth of a second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tests.netlab import lab, namespaces
from tests.netlab.contestants import MOSQUITTO, Command, Load, full_load
from tests.place import busy_bridge, trace
from tests.place.weather import WEATHERS, kbit
from tests.support.models import copy_shipped, edit, make_slow
from tests.support.programs import command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.netlab.contestants import Run
    from tests.netlab.scenarios import Scenario
    from tests.place.weather import Weather

PORT = 1_883
SLOW_RUN = 0.015  # s of a run of the slow model, about
DRAIN = 10.0  # s for the last answers
TOGETHER = 2  # recordings at once
SEED = 1
AGENT = """\
[cloud]
id = "gpu-1"
url = "mqtt://127.0.0.1:{port}"
[engine]
directory = "{models}"
"""


class Asked:
    """A contestant of the laboratory that asks the cloud."""

    name = "asked"
    about = "questions to a cloud agent, QoS 1, packed as int8, over the product's own connection"

    def __init__(self, weather: Weather) -> None:
        self._weather = weather

    def load(self, scenario: Scenario, messages: int) -> Load:
        """One question a tenth of a second."""
        return full_load(scenario, messages)

    def gateway(self, run: Run) -> Sequence[Command]:
        """Broker, agent, and who loads it."""
        mosquitto, agent, models = run.folder / "mosquitto.conf", run.folder / "cloud_agent.toml", run.folder / "models"
        mosquitto.write_text(MOSQUITTO.format(port=PORT))
        agent.write_text(AGENT.format(port=PORT, models=models))
        copy_shipped(models)
        edit(make_slow(models), ('bridge = "only"', 'bridge = "only"\ncloud = "only"'))
        commands = [
            Command(["mosquitto", "-c", str(mosquitto)], ready=None, ends=False),
            Command([command("cloud-agent"), "run", "--config", str(agent)], ready=r"ready \{", ends=False),
        ]
        if self._weather.loaded:
            argv = [sys.executable, "-m", "tests.place.loader", "cloud", "127.0.0.1", str(PORT), str(SLOW_RUN)]
            commands.append(Command(argv, ready=None, ends=False))
        return commands

    def device(self, run: Run) -> Command:
        """Who asks."""
        return Command([sys.executable, "-m", "tests.place.asker", run.task(PORT)])


async def record(names: Sequence[str], into: Path, folder: Path) -> None:
    """Record links by name, some at once."""
    room = asyncio.Semaphore(TOGETHER)

    async def one(name: str) -> None:
        async with room:
            begun = time.monotonic()
            here, weather = folder / name, WEATHERS[name]
            await lab.measure(weather.scenario, Asked(weather), seed=SEED, messages=0, folder=here, drain=DRAIN)
            told = trace.read(here / "trace.csv").samples
            known = [msgspec.structs.replace(one, kbit=kbit(weather.scenario, one.t)) for one in told]
            trace.write(into / f"{name}.csv", known)
            sys.stderr.write(f"{name}: {time.monotonic() - begun:.0f} s\n")

    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(one(name))


def main() -> int:
    """Record what was asked for."""
    every = [*WEATHERS, trace.BRIDGE]
    parser = argparse.ArgumentParser(prog="python -m tests.place.record", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(every)}")
    parser.add_argument("--into", type=Path, default=trace.FOLDER, help="folder (%(default)s)")
    asked = parser.parse_args()
    names = asked.names or every
    if unknown := set(names) - set(every):
        parser.error(f"no such recording: {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    if why := namespaces.why_not() or (None if shutil.which("mosquitto") else "mosquitto is not installed"):
        sys.stderr.write(f"nothing can be recorded here: {why}\n")
        return 2
    asked.into.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="place-") as folder:
        asyncio.run(record([name for name in names if name != trace.BRIDGE], asked.into, Path(folder)))
        if trace.BRIDGE in names:
            busy_bridge.record(Path(folder) / "bridge", asked.into / f"{trace.BRIDGE}.csv", SLOW_RUN)
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
