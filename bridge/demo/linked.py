"""The device behind the changing link: its relay, what is shown while it runs, what is known at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from rich.markup import escape

from bridge.demo import journey
from bridge.demo.programs import FRESHNESS, Program, Urls
from bridge.demo.relay import Passed, Plan
from bridge.demo.schedule import SEED, schedule
from bridge.demo.switches import Follower, Switch, switch

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from bridge.catalog import Manifest
    from bridge.demo.observer import Observer
    from bridge.demo.scenario import Device

NAME = "link"


class Linked:
    """The relay of one device, and the logs of both.

    Args:
        device: the device.
        urls: where the bridge listens.
        folder: for plan, logs and what the relay writes.
        rate: rows a second of its recordings.
        speed: how much faster than life they run.

    Attributes:
        device: the device.
        relay: the process.
    """

    def __init__(self, device: Device, urls: Urls, folder: Path, *, rate: float, speed: float) -> None:
        self.device = device
        self._folder, self._rate, self._speed = folder, rate, speed
        self._schedule = schedule(device.rows / rate / speed, speed)
        self._words = {named.name: named.words for named in self._schedule}
        self._passed = folder / f"{NAME}.json"
        plan = Plan(
            mqtt=urlsplit(urls.mqtt5).port or 1883,
            coap=urlsplit(urls.coap).port or 5683,
            stages=[named.stage for named in self._schedule],
            names=[named.name for named in self._schedule],
            seed=SEED,
            out=str(self._passed),
        )
        file = folder / f"{NAME}-plan.json"
        file.write_bytes(msgspec.json.encode(plan))
        self.relay = Program(NAME, ["bridge.demo.relay", str(file)], folder)
        self._logs: list[Follower] = []
        self._switches: list[Switch] = []

    def urls(self) -> Urls:
        """Where the device is to send.

        Raises:
            BridgeError: the relay did not start.
        """
        found = self.relay.ready()
        return Urls(mqtt=found["mqtt"], mqtt5=found["mqtt"], coap=found["coap"])

    def show(self, console: Console, began: float) -> None:
        """Prints what has happened since the last call; `began`, s since 1970, counts as 0."""
        if not self._logs:
            self._logs = [Follower(self._folder / f"{name}.log") for name in (NAME, self.device.name)]
        said = sorted(line for log in self._logs for line in log.lines())
        for at, line in said:
            text = self._told(at, line)
            if text:
                console.print(f"{at - began:5.1f} s  {text}", highlight=False)

    def _told(self, at: float, line: str) -> str:
        word, _, name = line.partition(" ")
        if word == "stage" and name in self._words:
            return f"[bold]the link is {name}[/]: {self._words[name]}"
        found = switch(at, line)
        if found is None:
            return ""
        self._switches.append(found)
        return f"{self.device.name}: {escape(found.reason)}"

    def end(self, observer: Observer, manifest: Manifest) -> journey.Journey:
        """Stops the relay; what became of everything."""
        self.relay.stop()
        for log in self._logs:
            log.close()
        passed = msgspec.json.decode(self._passed.read_bytes(), type=Passed)
        seen = observer.seen(self.device.name)
        return journey.journey(
            self.device.name, SEED, self._schedule, passed, self._switches, seen, wanted=FRESHNESS / self._speed,
            rows=manifest.input.rows, rate=self._rate, speed=self._speed,
        )  # fmt: skip
