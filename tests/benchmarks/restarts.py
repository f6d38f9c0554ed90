"""The broker killed and restarted under load, the wire tapped: what did the bridge acknowledge without a Result?"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bridge.topics import result as result_topic
from tests.benchmarks import work
from tests.benchmarks.rows import Row, row
from tests.support.brokers import start_mosquitto
from tests.support.fleet import HOP, KEPT, SITE, WINDOW, Device, bridge_toml, recordings, stop_all, until
from tests.support.programs import start_bridge
from tests.support.standin import Tap

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.benchmarks.rows import Plan
    from tests.support.standin import Seen

DEVICES = 8
PACE = 0.01  # seconds between a device's messages: 800/s in all, half of them lost in the broker's absence
UP = (0.4, 1.2)  # seconds that the broker lives beyond the second in which devices come back
DOWN = 0.2  # seconds it may stay away
PATIENCE = 30.0  # seconds for all to be told after the last restart


class _Told(msgspec.Struct):
    device: str
    seq: int


def measure(plan: Plan, folder: Path) -> list[Row]:
    """Two rows: acknowledged without a Result that the broker took, and still unacknowledged in the end."""
    dice = random.Random(3)
    with (
        start_mosquitto(folder / "restarts" / "mosquitto", persistence=True, extra=KEPT) as broker,
        Tap(broker.port) as tap,
        start_bridge(folder / "restarts", bridge_toml(tap.url, windows="whole", place="bridge")),
    ):
        devices = [_device(broker.url, f"w{i}", plan.kills) for i in range(DEVICES)]
        try:
            for device in devices:
                device.start()
            last = 0
            for _ in range(plan.kills):
                time.sleep(1.0 + dice.uniform(*UP))
                broker.kill()
                time.sleep(dice.uniform(0.0, DOWN))
                last = len(tap.seen)
                broker.start()
            until(lambda: _answered_since(tap, last) > DEVICES, PATIENCE, "the bridge answers no more")
        finally:
            stop_all(devices)
        probe = _device(broker.url, "probe", 0).start()
        until(lambda: tap.of("taken", result_topic(SITE, "probe", work.MODEL)), PATIENCE, "a new device gets no Result")
        end = time.monotonic() + PATIENCE
        while (stuck := len(_unacknowledged(tap.seen[last:]))) and time.monotonic() < end:
            time.sleep(0.1)
        probe.stop()
        acked, broken = audit(tap.seen)
    measured = f"acknowledged without a Result, broker killed {plan.kills} ×"
    note = f"{acked:,} messages acknowledged by the bridge under load"
    return [
        row("restarts", measured, [float(broken)], "at most", 0, unit="messages", note=note),
        row("restarts-stuck", "stuck after the last restart", [float(stuck)], "at most", 0, unit="messages"),
    ]


def audit(seen: Iterable[Seen]) -> tuple[int, int]:
    """How many messages the bridge acknowledged, and how many before the broker had taken their Result."""
    taken: set[tuple[str, int]] = set()
    acked, broken = 0, 0
    for one in list(seen):
        if one.kind == "taken" and "/result/" in one.topic:
            told = msgspec.json.decode(one.payload, type=_Told)
            taken.add((told.device, told.seq))
        elif one.kind == "acked" and "/data/" in one.topic:
            acked += 1
            broken += _key(one) not in taken
    return acked, broken


def _unacknowledged(seen: Iterable[Seen]) -> set[tuple[str, int]]:
    of = {kind: {_key(one) for one in seen if one.kind == kind and "/data/" in one.topic} for kind in ("came", "acked")}
    return of["came"] - of["acked"]


def _answered_since(tap: Tap, last: int) -> int:
    return sum(one.kind == "taken" and "/result/" in one.topic for one in tap.seen[last:])


def _key(one: Seen) -> tuple[str, int]:
    return one.topic.split("/")[3], int(work.decode(one.payload)[0]["seq"])


def _device(url: str, name: str, kills: int) -> Device:
    """A device with whole windows for longer than all the kills take."""
    windows = int((1.0 + UP[1] + DOWN) * (kills + 1) / PACE)
    rows = np.concatenate(recordings())
    values = np.tile(rows, (windows * HOP // len(rows) + 1, 1))[: windows * HOP + WINDOW]
    return Device(url, name, values, pack=WINDOW, hop=HOP, pace=PACE)
