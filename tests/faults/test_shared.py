"""Two bridges share one subscription: one of them answers each message, also when one is killed and comes back."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support.brokers import start_mosquitto
from tests.support.fleet import KEPT, WINDOW, Listener, bridge_toml, mixed_fleet, stop_all, until
from tests.support.programs import prepare_bridge

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]


def test_two_bridges_share_the_work_and_one_may_die(tmp_path: Path) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(start_mosquitto(tmp_path / "mosquitto", extra=KEPT))
        listener = stack.enter_context(Listener(broker.url))
        toml = bridge_toml(broker.url, windows="whole", place="bridge").replace("[mqtt]", '[mqtt]\nshare = "gateways"')
        bridges = []
        for name in ("gw-1", "gw-2"):
            (tmp_path / name).mkdir()
            prepared = prepare_bridge(tmp_path / name, toml.replace("gw-1", name))
            bridges.append(stack.enter_context(prepared.start()))
        devices, expected = mixed_fleet(broker.url, 4, 3_000, packs=(WINDOW,), pace=lambda _: 0.01, whole=True)
        stack.callback(stop_all, devices)
        for device in devices:
            device.start()
        until(lambda: len(listener.ids) > 20, 20, "hardly any Result")
        bridges[0].kill()
        bridges[0].start()
        listener.wait_for(expected, 30, lambda: bridges[0].stderr[-2000:] + bridges[1].stderr[-2000:])
        listener.check(expected)
        until(lambda: all(device.done for device in devices), 10, "messages were not acknowledged by the broker")
        assert listener.errors == []
        answered = [_answered(broker.url, name) for name in ("gw-1", "gw-2")]
        assert min(answered) > 0, answered


def test_a_bridge_that_is_stopped_leaves_all_to_the_other(tmp_path: Path) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(start_mosquitto(tmp_path / "mosquitto", extra=KEPT))
        listener = stack.enter_context(Listener(broker.url))
        toml = bridge_toml(broker.url, windows="whole", place="bridge").replace("[mqtt]", '[mqtt]\nshare = "gateways"')
        bridges = [
            stack.enter_context(prepare_bridge(tmp_path / name, toml.replace("gw-1", name)).start())
            for name in ("gw-1", "gw-2")
        ]
        devices, expected = mixed_fleet(broker.url, 4, 3_000, packs=(WINDOW,), pace=lambda _: 0.01, whole=True)
        stack.callback(stop_all, devices)
        for device in devices:
            device.start()
        until(lambda: len(listener.ids) > 20, 20, "hardly any Result")
        assert bridges[0].terminate() == 0
        assert len(listener.ids) < len(expected), "nothing was left for the other"
        listener.wait_for(expected, 20, lambda: bridges[1].stderr[-2000:])
        listener.check(expected)
        assert listener.errors == []


def _answered(url: str, bridge: str) -> int:
    """Results that a bridge says it gave, by its retained status."""
    with Listener(url, f"counts-{bridge}", filters=(f"edge/v1/_bridge/{bridge}/status",)) as listener:

        def results() -> int:
            return max((status["counts"].get("results_bridge", 0) for status in listener.results), default=0)

        until(results, 10, f"{bridge} tells no Results")
        return results()
