"""A cloud that is dead, stalled, slow or flapping: every window has its answer by the deadline, and says why."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.brokers import start_mosquitto
from tests.support.fleet import (
    KEPT,
    WINDOW,
    Device,
    Listener,
    bridge_toml,
    dice,
    expect,
    mixed_fleet,
    rows_of,
    seeds,
    stop_all,
    until,
)
from tests.support.programs import start_bridge
from tests.support.standin import StandInCloud, Tap

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.standin import Deed

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]
DEADLINE = 0.6
SLACK = 0.5
UNSURE = r"unsure: 0\.\d{3} < 1\.000"
ASKED = rf"{UNSURE}; cloud 1\.00 right, \d\.\d\d in time.*"
SILENT = rf"{ASKED}, but the cloud did not answer within 0\.\d s"
ENDED = rf"{ASKED}, but the cloud did not answer lately"  # asked before it was known
LEFT_ALONE = rf"{UNSURE}, but the cloud did not answer lately"
HOPELESS = rf"{UNSURE}, but cloud 1\.00 right, 0\.\d\d in time .*"


def in_time(results: list[dict[str, Any]]) -> None:
    worst = max(result["latency_ms"] for result in results)
    assert worst <= (DEADLINE + SLACK) * 1e3, f"a window waited for {worst} ms"


def reasons(results: list[dict[str, Any]], *patterns: str) -> list[int]:
    """How many Results give each reason; fails for one that gives another."""
    counts = [0] * len(patterns)
    for result in results:
        hits = [i for i, pattern in enumerate(patterns) if re.fullmatch(pattern, result["reason"])]
        assert hits, f"a reason nobody expected: {result['reason']!r}"
        counts[hits[0]] += 1
    return counts


@pytest.mark.parametrize("deed", ["never", "late"])
def test_silent_and_slow(tmp_path: Path, deed: Deed) -> None:
    """The first windows wait for the deadline; then the agent is left alone, or known to be slow, and nobody does."""
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        StandInCloud(broker.url, lambda: deed, delay=DEADLINE + 0.3) as cloud,
        start_bridge(tmp_path, bridge_toml(broker.url, cloud=broker.url, below=1.0, deadline=DEADLINE)),
        Listener(broker.url) as listener,
    ):
        devices, expected = mixed_fleet(broker.url, 4, 1_200, packs=(64,), pace=lambda _: 0.12)
        try:
            for device in devices:
                device.start()
            listener.wait_for(expected, 20)
        finally:
            stop_all(devices)
        listener.check(expected, cloud=cloud.given)
        in_time(listener.results)
        listener.check_order()
        waited, ended, *others = reasons(listener.results, SILENT, ENDED, LEFT_ALONE, HOPELESS)
        assert 1 <= waited + ended <= len(expected) / 2
        assert sum(others) >= len(expected) / 4


def test_no_agent_no_broker_and_back(tmp_path: Path) -> None:
    """No agent, then one, then its broker dies and returns: each window says which it was."""
    with (
        start_mosquitto(tmp_path / "devices", extra=KEPT) as broker,
        start_mosquitto(tmp_path / "cloud", extra=KEPT) as far,
        start_bridge(tmp_path, bridge_toml(broker.url, cloud=far.url, below=1.0, deadline=DEADLINE)) as bridge,
        Listener(broker.url) as listener,
    ):
        bridge.says(f"{far.url}: connected")

        def ask(name: str) -> dict[str, Any]:
            values = rows_of(1, WINDOW)
            device = Device(broker.url, name, values, pack=WINDOW).start()
            try:
                listener.wait_for(expect(name, "e1", values), 10, lambda: bridge.stderr[-2000:])
            finally:
                device.stop()
            return listener.results[-1]

        reasons([ask("d1")], r"unsure: .*, but no cloud agent serves activity")
        cloud = StandInCloud(far.url)
        bridge.says("cloud agent gpu-1 serves activity")
        assert ask("d2")["tier"] == "cloud"
        far.kill()
        bridge.says("trying again")
        reasons([ask("d3")], r"unsure: .*, but the cloud's broker is not there")
        far.start()  # without persistence: the retained status is gone until the agent is back
        cloud.die()
        bridge.says(lambda said: said.count(f"{far.url}: connected") == 2)
        reasons([ask("d4")], r"unsure: .*, but no cloud agent serves activity")
        with StandInCloud(far.url, name="gpu-2"):
            bridge.says("cloud agent gpu-2 serves activity")
            assert ask("d5")["tier"] == "cloud"
        in_time(listener.results)


def test_the_breaker_closes_again(tmp_path: Path) -> None:
    """A cloud that was silent and answers again is used again, within its rest of 5 s and a little."""
    answers: list[Deed] = ["never"]
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        StandInCloud(broker.url, lambda: answers[0]) as cloud,
        start_bridge(tmp_path, bridge_toml(broker.url, cloud=broker.url, below=1.0, deadline=DEADLINE)),
        Listener(broker.url) as listener,
    ):
        values = rows_of(2, 64 * 80)
        device = Device(broker.url, "d1", values, pack=64, pace=0.1).start()
        expected = expect("d1", "e1", values)
        try:
            until(
                lambda: any("lately" in result["reason"] for result in listener.results), 10, "the breaker stays shut"
            )
            answers[0] = "answer"
            until(lambda: listener.results[-1]["tier"] == "cloud", 10, "the breaker stays open")
            listener.wait_for(expected, 10)
        finally:
            device.stop()
        counts = listener.check(expected, cloud=cloud.given)
        in_time(listener.results)
        assert counts["cloud"] > 10


@pytest.mark.parametrize("seed", seeds(2))
def test_flapping(tmp_path: Path, seed: int) -> None:
    """The way to the cloud is cut, stalls and comes back, and the agent behaves as it likes."""
    random = dice(seed)
    deeds: tuple[Deed, ...] = ("answer", "answer", "answer", "twice", "late", "never", "refuse", "garbage")
    with (
        start_mosquitto(tmp_path / "devices", extra=KEPT) as broker,
        start_mosquitto(tmp_path / "cloud", extra=KEPT) as far,
        Tap(far.port) as tap,
        StandInCloud(far.url, lambda: random.choice(deeds), delay=0.5) as cloud,
        start_bridge(tmp_path, bridge_toml(broker.url, cloud=tap.url, below=1.0, deadline=DEADLINE)),
        Listener(broker.url) as listener,
    ):
        devices, expected = mixed_fleet(broker.url, 4, 1_200, packs=(32, 64), pace=lambda pack: 4.0 * pack / 1_200)
        try:
            for device in devices:
                device.start()
            while not all(device.done for device in devices):
                time.sleep(random.uniform(0.1, 0.6))  # the moment is the test's input
                random.choice((tap.cut, tap.stall, tap.flow, tap.flow))()
            tap.flow()
            listener.wait_for(expected, 10, lambda: f"seed {seed}")
        finally:
            stop_all(devices)
        counts = listener.check(expected, cloud=cloud.given)
        listener.check_order()
        print(f"seed {seed}: {dict(counts)}")  # noqa: T201 # the campaign's record
        in_time(listener.results)


def test_an_agent_that_dies_with_its_questions_loses_nothing(tmp_path: Path) -> None:
    """It took questions and vanished; the broker tells, and the other agent is asked."""
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        StandInCloud(broker.url, name="gpu-2") as sound,
        start_bridge(tmp_path, bridge_toml(broker.url, cloud=broker.url, below=1.0, deadline=3.0)) as bridge,
        Listener(broker.url) as listener,
    ):
        dying = StandInCloud(broker.url, lambda: "never", name="gpu-1")
        bridge.says("cloud agent gpu-1 serves activity")
        devices, expected = mixed_fleet(broker.url, 4, 1_024, packs=(128,), pace=lambda _pack: 0.1)
        try:
            for device in devices:  # not all at once: one message of questions would go to one agent
                device.start()
            until(lambda: len(dying.asked) >= 3, 5, "the dying agent was not asked")
            dying.die()
            listener.wait_for(expected, 10, lambda: bridge.stderr[-2000:])
        finally:
            stop_all(devices)
        counts = listener.check(expected, cloud=sound.given)
        assert counts == {"cloud": len(expected)}
        assert len(dying.asked) >= 3
