"""A real agent behind the demo's relay, through all of its stages in short: every window comes out, once."""

from __future__ import annotations

import io
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec
import pytest
from rich.console import Console

from bridge.catalog import Catalog
from bridge.demo import programs, scenario
from bridge.demo.journey import figures
from bridge.demo.linked import Linked
from bridge.demo.observer import Observer
from bridge.demo.programs import Program, Urls
from tests.support.brokers import free_port

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(60)
SPEED = 16.0


def test_an_agent_survives_the_schedule_and_loses_nothing(tmp_path: Path) -> None:
    manifest = Catalog()["activity"]
    found = scenario.recordings(manifest.folder / "sample")
    longest = sorted(found, key=lambda one: -one.rows)[:2]
    device = scenario.Device("watch-1", scenario.LINKED, tuple(longest))
    shown = io.StringIO()
    with ExitStack() as stack:
        mqtt, mqtt5 = free_port(), free_port()
        config = programs.write_bridge_config(tmp_path, mqtt=mqtt, mqtt5=mqtt5)
        bridge = Program("bridge", ["bridge.cli", "run", "--config", str(config)], tmp_path)
        stack.callback(bridge.stop)
        urls = msgspec.convert(bridge.ready(), Urls)
        observer = Observer(urls.mqtt)
        stack.callback(observer.close)
        linked = Linked(device, urls, tmp_path, rate=manifest.input.rate_hz, speed=SPEED)
        stack.callback(linked.relay.stop)
        command = programs.device_command(device, linked.urls(), tmp_path, speed=SPEED, stream="wrist")
        began = time.time()
        agent = Program(device.name, command, tmp_path)
        stack.callback(agent.stop)
        ended = agent.wait(time.monotonic() + 40)
        assert ended, (tmp_path / f"{device.name}.log").read_text()
        wanted = device.windows(manifest)
        until = time.monotonic() + 10
        while observer.count(device.name) < len(wanted) and time.monotonic() < until:
            time.sleep(0.02)
        linked.show(Console(file=shown, width=200), began)
        way = linked.end(observer, manifest)
        seen = observer.seen(device.name)
    assert seen.results.keys() == wanted.keys()
    assert seen.repeats == 0
    report = figures(way)
    assert [one.name for one in report.stages] == ["good", "lossy", "thin", "gone", "good again"]
    assert sum(one.windows for one in report.stages) == len(wanted)
    assert report.stages[1].lost > 0
    gone = report.stages[3]
    assert gone.lost > 0.9 or not gone.bytes
    assert report.switches[0].profile in {name for one in report.stages for name in one.profiles}
    assert way.passed.coap_payload > 0
    for words in ("the link is lossy", "the link is gone", "the link is good again", "watch-1: first choice"):
        assert words in shown.getvalue()
