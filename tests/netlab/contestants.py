"""Who carries the messages. A contestant is commands: some in the gateway's namespace, one in the device's."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from tests.netlab.namespaces import CONGESTION, GATEWAY
from tests.netlab.scenarios import Scenario
from tests.netlab.traffic import Task

if TYPE_CHECKING:
    from tests.netlab.model import Stage

ACK_TIMEOUT, ACK_RANDOM_FACTOR, MAX_RETRANSMIT = 2.0, 1.5, 4  # RFC 7252, 4.8
HALF = 0.5  # share of its time in which a sender of one request at a time is to be busy
MESSAGE = 360  # IP bytes of a message over CoAP
MOSQUITTO = """\
listener {port} 0.0.0.0
allow_anonymous true
persistence false
set_tcp_nodelay true
max_inflight_messages 0
max_queued_messages 0
user root
log_dest stderr
"""


class Load(msgspec.Struct, frozen=True):
    """Messages a second, and how many."""

    rate: float
    count: int


class Run(msgspec.Struct, frozen=True):
    """One run, as a contestant sees it. Its folder also holds `scenario.json`, for whoever may know the future.

    Attributes:
        scenario: what the link does.
        load: what this contestant offers.
        seed: of link and payloads.
        folder: for its files: the logs `sent` and `arrived` (see `record.Log`), and if it has profiles to tell,
            `profile.jsonl`: lines `{"t": s on CLOCK_MONOTONIC, "profile": name, "reason": text}`.
        drain: s that the device may wait for acknowledgements at the end.
    """

    scenario: Scenario
    load: Load
    seed: int
    folder: Path
    drain: float

    def task(self, port: int) -> str:
        """The argument of this package's own programs."""
        told = Task(
            gateway=GATEWAY, port=port, folder=str(self.folder), count=self.load.count, rate=self.load.rate,
            drain=self.drain, seed=self.seed,
        )  # fmt: skip
        return msgspec.json.encode(told).decode()


class Command(msgspec.Struct, frozen=True):
    """A process. Its stdout is read no further than to the ready line, and at the end: logs belong on stderr.

    Attributes:
        argv: run inside the namespace, in the root of the repository.
        ready: pattern of the line on its stdout that says it is; None: it does not say.
        ends: in the gateway: by itself when its stdin does, its logs complete; otherwise it is killed.
    """

    argv: Sequence[str]
    ready: str | None = "ready"
    ends: bool = True

    def matches(self, line: str) -> bool:
        return self.ready is not None and re.match(self.ready, line) is not None


class Contestant(Protocol):
    """Who carries the messages.

    Attributes:
        name: in the table.
        about: what it is, with everything that a fair comparison has to name.
    """

    name: str
    about: str

    def load(self, scenario: Scenario, messages: int) -> Load:
        """What it offers to carry in this scenario, where `messages` at the scenario's rate are asked for."""

    def gateway(self, run: Run) -> Sequence[Command]:
        """Started first, one after the other, each when the one before is ready."""

    def device(self, run: Run) -> Command:
        """Started when the gateway is ready; gets `go T`; ends by itself."""


def module(name: str, run: Run, port: int) -> Command:
    """A program of this package."""
    return Command([sys.executable, "-m", f"tests.netlab.{name}", run.task(port)])


def full_load(scenario: Scenario, messages: int) -> Load:
    """The declared rate, for as many messages, or as long as the trace needs."""
    return Load(scenario.rate, max(messages, round(scenario.least * scenario.rate)))


class FixedMqtt:
    """MQTT 3.1.1, QoS 1, paho and Mosquitto."""

    name = "mqtt"
    about = f"MQTT QoS 1, paho and Mosquitto, TCP_NODELAY on both, no bound in flight, {CONGESTION}"
    port = 1_883

    def load(self, scenario: Scenario, messages: int) -> Load:
        return full_load(scenario, messages)

    def gateway(self, run: Run) -> Sequence[Command]:
        config = run.folder / "mosquitto.conf"
        config.write_text(MOSQUITTO.format(port=self.port))
        return [
            Command(["mosquitto", "-c", str(config)], ready=None, ends=False),
            module("consumer_mqtt", run, self.port),
        ]

    def device(self, run: Run) -> Command:
        return module("rival_mqtt", run, self.port)


class FixedCoap:
    """CoAP CON with standard timers, at half the rate at which it would always be busy."""

    name = "coap"
    about = "CoAP CON, aiocoap, RFC 7252 timers, NSTART 1, half the rate that it can carry at the worst"
    port = 5_683

    def load(self, scenario: Scenario, messages: int) -> Load:
        """As long as the others, at a rate it can carry."""
        full = full_load(scenario, messages)
        rate = min(full.rate, carried_rate(scenario.stages))
        return Load(rate, max(1, round(full.count * rate / full.rate)))

    def gateway(self, run: Run) -> Sequence[Command]:
        return [module("consumer_coap", run, self.port)]

    def device(self, run: Run) -> Command:
        return module("rival_coap", run, self.port)


def carried_rate(stages: Sequence[Stage]) -> float:
    """Messages a second of one confirmable request at a time, half of its time busy, in the worst stage.

    Outages and hand-over gaps are not counted as stages.
    """
    return HALF / max(exchange_time(one) for one in stages if not one.up.outage and one.up.rate != 0)


def exchange_time(stage: Stage) -> float:
    """Mean time of a confirmable exchange, s (RFC 7252, 4.2): round trip, serialisation, timers of what is lost."""
    up, down = stage.up, stage.down
    passes = (1 - up.loss) * (1 - down.loss) * (1 - (up.fades.share if up.fades else 0.0))
    timer = ACK_TIMEOUT * (1 + ACK_RANDOM_FACTOR) / 2
    waits: float = sum((1 - passes) ** (k + 1) * timer * 2**k for k in range(MAX_RETRANSMIT))
    round_trip = up.delay + down.delay + (up.jitter + down.jitter) / 2
    return round_trip + (8 * MESSAGE / up.rate if up.rate else 0.0) + waits


class Ruler:
    """No contestant but a check of the link itself: each message is one UDP datagram, sent once."""

    name = "udp"
    about = "UDP datagrams, sent once: what the link itself does"
    port = 9

    def load(self, scenario: Scenario, messages: int) -> Load:
        return full_load(scenario, messages)

    def gateway(self, run: Run) -> Sequence[Command]:
        return [module("consumer_udp", run, self.port)]

    def device(self, run: Run) -> Command:
        return module("ruler_udp", run, self.port)


RIVALS: tuple[Contestant, ...] = (FixedMqtt(), FixedCoap(), Ruler())
