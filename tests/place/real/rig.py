"""Broker, bridge, cloud agents and an independent subscriber: real processes, another set-up for each measurement."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

from bridge import topics
from tests.place.real.judge import Heard
from tests.place.real.traffic import WHOLE, Source
from tests.support.brokers import start_mosquitto
from tests.support.fleet import KEPT, MODEL, until
from tests.support.peers import Peer
from tests.support.programs import RunningProgram, prepare_bridge
from tests.support.relay import TcpRelay

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.place.real.traffic import Stream
    from tests.support.brokers import RunningBroker

_T = TypeVar("_T")

BRIDGE = "gw-1"
TRIES = 40  # of a few windows each, until the cloud is asked
KEEP_ALIVE = 60  # seconds, of cloud agents: a broker that notices a stopped one would make the case easier


class Rig:
    """Everything that runs; a context manager.

    Args:
        folder: for configs, states and logs.
        route: lines of settings of the route of each stream.

    Attributes:
        broker: Mosquitto, for devices and cloud.
        cloud_path: from the bridge to the cloud's broker, which is the same one.
        ear: the subscriber, to Results, Errors and the bridge's status.
        bridge: to be started.
    """

    def __init__(self, folder: Path, route: Mapping[Stream, str]) -> None:
        self.folder = folder
        self._stack = contextlib.ExitStack()
        self._heard: list[Heard] = []
        self._read = 0
        try:
            self.broker: RunningBroker = self.enter(start_mosquitto(folder / "mosquitto", extra=KEPT))
            self.ear = self.enter(Peer(self.broker.url, topics.RESULT_FILTER, "edge/v1/+/+/error", "edge/v1/_bridge/#"))
            self.cloud_path = self.enter(TcpRelay(self.broker.port))
            settings = bridge_toml(self.broker.url, self.cloud_path.url, route)
            self.bridge = self.enter(prepare_bridge(folder / BRIDGE, settings))
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def enter(self, context: AbstractContextManager[_T]) -> _T:
        """Is ended with the rig."""
        return self._stack.enter_context(context)

    def agent(self, name: str, url: str | None = None) -> RunningProgram:
        """A cloud agent at this URL, else straight at the broker; to be started."""
        directory = self.folder / name
        directory.mkdir(parents=True)
        config = directory / "cloud_agent.toml"
        config.write_text(
            f'[cloud]\nid = "{name}"\nurl = "{url or self.broker.url}"\nkeep_alive = {KEEP_ALIVE}\n'
            '[engine]\nprovider = "cpu"\n'
        )
        return self.enter(RunningProgram(["cloud-agent", "run", "--config", str(config)], directory, log="cloud.log"))

    def heard(self) -> list[Heard]:
        """Results so far, in order of arrival."""
        new = self.ear.messages[self._read :]
        self._read += len(new)
        results = [one for one in new if topics.parse_result(one.topic) is not None]
        self._heard += [msgspec.convert({**one.json, "at": one.at}, Heard) for one in results]
        return list(self._heard)

    def errors(self) -> list[str]:
        """Errors so far."""
        return [one.payload.decode() for one in list(self.ear.messages) if one.topic.endswith("/error")]

    def warm_up(self, tier: str | None = "cloud") -> None:
        """Returns once the bridge answers, and by this tier, if one is named."""
        for number in range(TRIES):
            with contextlib.closing(_Few(self.broker.url, number)) as source:
                until(lambda name=source.name: self._said(name), 10, self.why)  # type: ignore[misc]
                if tier is None or tier in self._said(source.name):
                    return
        raise AssertionError(f"no Result of tier {tier}\n{self.why()}")

    def _said(self, device: str) -> list[str]:
        return [one.tier for one in self.heard() if one.device == device]

    def play(self, sources: Sequence[Source]) -> None:
        """Start them."""
        for source in sources:
            source.start()

    def finish(self, sources: Sequence[Source], patience: float) -> None:
        """Returns once all is sent and answered; or not, after so many seconds more: that is the judge's business."""
        until(lambda: all(source.done for source in sources), 90, "the broker did not take everything")
        wanted = {one.id for source in sources for one in source.sent}
        end = time.monotonic() + patience
        while time.monotonic() < end and wanted - {one.id for one in self.heard() if not one.provisional}:
            time.sleep(0.1)
        for source in sources:
            source.stop()

    def why(self) -> str:
        """The end of the bridge's log."""
        return self.bridge.stderr[-2_000:]


class _Few(Source):
    """A few windows, of which the bridge may be sure or not."""

    def __init__(self, url: str, number: int) -> None:
        super().__init__(url, f"warm{number}", WHOLE, count=8, number=number, due=lambda _: 0.0)
        self.start()

    def close(self) -> None:
        self.stop()


def bridge_toml(url: str, cloud: str, route: Mapping[Stream, str]) -> str:
    """A `bridge.toml` with a route for row streams and one for whole windows."""
    routes = "".join(
        f'[[routes]]\nstream = "{stream}"\nmodel = "{MODEL}"\nwindows = "{stream}"\n{lines}\n'
        for stream, lines in route.items()
    )
    return (
        f'[bridge]\nid = "{BRIDGE}"\n[mqtt]\nurl = "{url}"\nkeep_alive = 5\n[coap]\nenabled = false\n'
        f'[cloud]\nurl = "{cloud}"\n{routes}'
    )


def stop(program: RunningProgram) -> None:
    """SIGSTOP: it is there and does nothing."""
    os.kill(program.pid, signal.SIGSTOP)


def go_on(program: RunningProgram) -> None:
    """SIGCONT."""
    os.kill(program.pid, signal.SIGCONT)
