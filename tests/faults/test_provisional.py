"""`kill -9` of the bridge while windows have a provisional Result only: exactly one final one follows each."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.brokers import start_mosquitto
from tests.support.fleet import HOP, KEPT, Listener, bridge_toml, dice, mixed_fleet, seeds, stop_all, until
from tests.support.programs import run_command, start_bridge
from tests.support.standin import StandInCloud

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.support.fleet import Expected
    from tests.support.standin import Deed

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]
DEADLINE, GRACE = 0.001, 2.0  # no answer of the cloud can be in time: what the bridge is unsure of comes in two steps
SLACK = 0.5
DEEDS: tuple[Deed, ...] = ("answer", "answer", "late", "late", "twice", "never", "refuse", "garbage")


def config(url: str, windows: str) -> str:
    text = bridge_toml(url, cloud=url, windows=windows, below=0.95, deadline=DEADLINE)
    return f"{text}provisional = true\ngrace = {GRACE}\n"


def finals(results: Iterable[dict[str, Any]]) -> set[str]:
    return {one["id"] for one in list(results) if not one["provisional"]}


def check(results: list[dict[str, Any]], expected: dict[str, Expected], given: dict[str, list[str]]) -> Counter[str]:
    """One value of each kind for an id; a final one for each, revision 1 where a provisional one was heard before."""
    said: dict[tuple[str, bool], set[tuple[str, str, int]]] = defaultdict(set)
    counts: Counter[str] = Counter()
    for one in results:
        window, provisional = expected[one["id"]], one["provisional"]
        if not provisional:
            assert one["rev"] == ((window.id, True) in said), one
        assert provisional <= (one["rev"] == 0 and one["tier"] == "bridge"), one
        assert one["label"] in (given[window.id] if one["tier"] == "cloud" else [window.label]), one
        said[window.id, provisional].add((one["label"], one["tier"], one["rev"]))
        assert len(said[window.id, provisional]) == 1, f"two values: {said[window.id, provisional]}"
    for (window_id, provisional), (only,) in said.items():
        counts["provisional" if provisional else f"{only[1]} {only[2]}"] += 1
        assert (window_id, False) in said, f"a provisional Result without a final one: {window_id}"
    return counts


@pytest.mark.parametrize("windows", ["rows", "whole"])
@pytest.mark.parametrize("seed", seeds(2))
def test_kill_9_between_the_provisional_and_the_final_one(tmp_path: Path, seed: int, windows: str) -> None:
    random = dice(seed)
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        StandInCloud(broker.url, lambda: random.choice(DEEDS), delay=0.8) as cloud,
        start_bridge(tmp_path, config(broker.url, windows)) as bridge,
        Listener(broker.url) as listener,
    ):
        seconds, rows = 4.0, 900
        packs = (7, 25, 128, 128) if windows == "rows" else (128,)
        devices, expected = mixed_fleet(
            broker.url,
            8,
            rows,
            packs=packs,
            pace=lambda pack: seconds * (pack if windows == "rows" else HOP) / rows,
            whole=windows == "whole",
        )
        try:
            for device in devices:
                device.start()
            kills = 0
            while not all(device.done for device in devices):
                time.sleep(random.uniform(0.3, 1.2))  # the moment of the kill is the test's input
                if random.random() < 0.2:
                    assert bridge.terminate() == 0
                else:
                    bridge.kill()
                kills += 1
                bridge.start()
            until(lambda: all(device.done for device in devices), 20, "the broker did not take everything")
            until(
                lambda: expected.keys() <= finals(listener.results),
                20,
                lambda: f"{len(expected.keys() - finals(listener.results))} without a final Result\n{bridge.stderr}",
            )
        finally:
            stop_all(devices)
        counts = check(listener.results, expected, cloud.given)
        listener.check_order()
        ledger = run_command("inference-bridge", "ledger", "--json", "--config", str(tmp_path / "bridge.toml"))
        assert json.loads(ledger.stdout)["problems"] == []
        print(f"seed {seed}: {kills} kills, {dict(counts)}")  # noqa: T201 # the campaign's record
        assert counts["cloud 1"], "no window was revised: the test tests nothing"
        assert counts["bridge 1"], "no window was confirmed: the test tests nothing"
        assert listener.errors == []


@pytest.mark.parametrize("away", [0.3, DEADLINE + GRACE + 0.2], ids=["in-time", "too-late"])
def test_one_provisional_result_over_a_kill(tmp_path: Path, away: float) -> None:
    """The bridge dies with one question open, whose answer was on its way, and comes back soon or late."""
    deeds: list[Deed] = ["never"]
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        StandInCloud(broker.url, lambda: deeds[0]) as cloud,
        start_bridge(tmp_path, config(broker.url, "whole").replace("below = 0.95", "below = 1.0")) as bridge,
        Listener(broker.url) as listener,
    ):
        bridge.says("cloud agent gpu-1 serves")
        devices, expected = mixed_fleet(broker.url, 1, 128, packs=(128,), whole=True)
        try:
            devices[0].start()
            listener.wait_for(expected, 10, lambda: bridge.stderr)
            (first,) = listener.results
            assert (first["provisional"], first["rev"], first["tier"]) == (True, 0, "bridge")
            assert first["latency_ms"] < (DEADLINE + SLACK) * 1e3
            until(lambda: cloud.asked, 5, "the cloud was not asked")
            bridge.kill()
            deeds[0] = "answer"
            time.sleep(away)  # it is away for so long
            bridge.start()
            until(lambda: finals(listener.results) == {first["id"]}, 10, lambda: bridge.stderr)
        finally:
            stop_all(devices)
        bridge.terminate()
        counts = check(listener.results, expected, cloud.given)
        assert counts == {"provisional": 1, "cloud 1" if away < GRACE else "bridge 1": 1}
        final = next(one for one in listener.results if not one["provisional"])
        assert final["latency_ms"] < (max(away, DEADLINE + GRACE) + 2.0) * 1e3
        assert first["reason"] in final["reason"]
