"""A bridge process on each kind of broker, shared by all contract tests: each test is a device of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.brokers import start_mosquitto
from tests.support.peers import Coap, Peer
from tests.support.programs import RunningProgram, start_bridge

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUTES = """
[coap]
bind = "127.0.0.1:0"
[[routes]]
stream = "wrist"
model = "activity"
[[routes]]
stream = "window"
model = "activity"
windows = "whole"
[[routes]]
stream = "far"
model = "activity"
windows = "whole"
place = "cloud"
[[routes]]
filter = "acme/+/imu"
device = "{1}"
stream = "imu"
model = "activity"
windows = "whole"
decode = { values = "rows" }
"""


@dataclass(frozen=True)
class World:
    """A bridge that serves.

    Attributes:
        bridge: its process.
        url311: where MQTT 3.1.1 clients connect.
        url5: where MQTT 5 clients connect.
        coap: its CoAP URL.
    """

    bridge: RunningProgram
    url311: str
    url5: str
    coap: str

    def url(self, version: int) -> str:
        return self.url5 if version == 5 else self.url311


@dataclass(frozen=True)
class Device:
    """A device nobody else uses, and who listens for its answers. Topics are also CoAP paths."""

    world: World
    name: str
    ears: Peer
    coap: Coap

    def data(self, stream: str = "window") -> str:
        return f"edge/v1/lab/{self.name}/data/{stream}"

    def receipt(self, stream: str = "window") -> str:
        return f"edge/v1/lab/{self.name}/receipt/{stream}"

    @property
    def result(self) -> str:
        return f"edge/v1/lab/{self.name}/result/activity"

    @property
    def error(self) -> str:
        return f"edge/v1/lab/{self.name}/error"


def world_of(bridge: RunningProgram) -> World:
    return World(bridge, bridge.ready["mqtt"], bridge.ready["mqtt5"], bridge.ready["coap"])


@pytest.fixture(scope="session")
def on_mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A bridge on Mosquitto as Debian ships it."""
    folder = tmp_path_factory.mktemp("contract")
    with (
        start_mosquitto(folder / "mosquitto") as broker,
        start_bridge(folder, f'[bridge]\nid = "gw-1"\n[mqtt]\nurl = "{broker.url}"\n{ROUTES}') as bridge,
    ):
        yield world_of(bridge)


@pytest.fixture(scope="session")
def on_embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A bridge with the broker it brings."""
    pytest.importorskip("iotcore")
    folder = tmp_path_factory.mktemp("contract-embedded")
    with start_bridge(folder, f'[bridge]\nid = "gw-1"\n[mqtt]\nport = 0\nport5 = 0\n{ROUTES}') as bridge:
        yield world_of(bridge)


@pytest.fixture(params=[pytest.param("on_mosquitto", marks=pytest.mark.real), "on_embedded"])
def world(request: pytest.FixtureRequest) -> World:
    """A bridge on either broker."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, World)
    return found


@pytest.fixture
def device(world: World, request: pytest.FixtureRequest) -> Iterator[Device]:
    """A device called like the test."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name.removeprefix("test_"))[-60:].strip("-")
    # MQTT 5: rumqttd cuts off a 3.1.1 client to which it would have to pass on a property
    with Peer(world.url5, f"edge/v1/lab/{name}/#", "edge/v1/_reply/#") as ears, Coap(world.coap) as coap:
        yield Device(world, name, ears, coap)
