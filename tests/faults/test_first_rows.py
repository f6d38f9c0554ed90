"""An agent that is there before its bridge: its first rows come again, after later ones, and none is missing."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest

from tests.support.brokers import start_mosquitto
from tests.support.fleet import HOP, WINDOW, Listener, bridge_toml, until
from tests.support.peers import Peer
from tests.support.programs import RunningProgram, prepare_bridge

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.timeout(90)]

ROWS, RATE, PACKED = 1_600, 200, 25
BEFORE = 400  # rows sent before the bridge is there; the broker knows nobody to give them to


def recording(path: Path) -> Path:
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["ax", "ay", "az", "gx", "gy", "gz"])
        lines.writerows([[0.01 * row, 0, 1, 0, 0, 0] for row in range(ROWS)])
    return path


def test_rows_sent_before_the_bridge_was_there_are_answered(tmp_path: Path) -> None:
    file = recording(tmp_path / "first.csv")
    with (
        start_mosquitto(tmp_path / "mosquitto") as broker,
        Listener(broker.url) as listener,
        prepare_bridge(tmp_path / "bridge", bridge_toml(broker.url)) as bridge,
        RunningProgram(
            ["edge-agent", "replay", str(file), "--device", "d1", "--stream", "wrist", "--url", broker.url,
             "--rate", str(RATE), "--speed", "1", "--receipt-timeout", "7"], tmp_path, log="agent.log",
        ) as agent,
        Peer(broker.url, "edge/v1/+/+/data/+") as overhears,
    ):  # fmt: skip
        agent.launch()
        until(lambda: len(overhears.messages) * PACKED >= BEFORE, 20, "the agent does not send")
        bridge.start()
        assert agent.process.wait(60) == 0, agent.stderr
        until(lambda: len(listener.ids) >= (ROWS - WINDOW) // HOP + 1, 10, lambda: f"{len(listener.ids)} windows")
        assert sorted({result["seq"] for result in listener.results}) == list(range(0, ROWS - WINDOW + 1, HOP))
