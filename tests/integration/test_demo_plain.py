"""The demo's hand-written device and its observer, over the embedded broker, which dies and forgets everything."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec
import pytest

from bridge.catalog import Catalog
from bridge.demo import programs, scenario
from bridge.demo.observer import Observer
from bridge.demo.programs import Program, Urls
from tests.support.brokers import free_port
from tests.support.fleet import until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(60)
pytest.importorskip("iotcore")
SPEED = 16.0


def test_a_plain_device_survives_its_broker_and_loses_nothing(tmp_path: Path) -> None:
    manifest = Catalog()["activity"]
    found = scenario.recordings(manifest.folder / "sample")
    device = scenario.Device("watch-1", scenario.PLAIN, tuple(sorted(found, key=lambda one: -one.rows)[:2]))
    wanted = device.windows(manifest)
    with ExitStack() as stack:
        config = programs.write_bridge_config(tmp_path, mqtt=free_port(), mqtt5=free_port())
        bridge = Program("bridge", ["bridge.cli", "run", "--config", str(config)], tmp_path)
        stack.callback(bridge.stop)
        urls = msgspec.convert(bridge.ready(), Urls)
        observer = Observer(urls.mqtt)
        stack.callback(observer.close)
        command = programs.device_command(device, urls, tmp_path, speed=SPEED, stream="wrist")
        sender = Program(device.name, command, tmp_path)
        stack.callback(sender.stop)
        until(lambda: observer.count(device.name) >= len(wanted) // 4, 20, "no Results")
        (broker,) = programs.children(bridge.pid)
        os.kill(broker, signal.SIGKILL)
        assert sender.wait(time.monotonic() + 30), (tmp_path / f"{device.name}.log").read_text()
        until(lambda: observer.count(device.name) >= len(wanted), 15, "not every Result came")
        seen = observer.seen(device.name)
    assert "embedded broker: restarted" in (tmp_path / "bridge.log").read_text()
    assert seen.results.keys() == wanted.keys()
