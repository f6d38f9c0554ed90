"""What an outsider may rely on where a route allows provisional Results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.brokers import start_mosquitto
from tests.support.payloads import as_cbor, as_json, rows
from tests.support.peers import Coap, Peer
from tests.support.programs import run_command, start_bridge
from tests.support.standin import StandInCloud

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.programs import RunningProgram
    from tests.support.standin import Deed

pytestmark = pytest.mark.real
CBOR = 60
TOML = """
[bridge]
id = "gw-1"
[mqtt]
url = "URL"
[coap]
bind = "127.0.0.1:0"
[cloud]
url = "URL"
[[routes]]
stream = "window"
model = "activity"
windows = "whole"
below = 1.0
deadline = 0.001
provisional = true
grace = 1.0
"""


class Scene:
    """A bridge, a cloud that does what a test says, and who listens."""

    def __init__(self, folder: Path, url: str) -> None:
        self.deed: Deed = "answer"
        self.url = url
        self.folder = folder
        self.cloud = StandInCloud(url, lambda: self.deed)
        self.bridge: RunningProgram = start_bridge(folder, TOML.replace("URL", url))
        self.bridge.says("cloud agent gpu-1 serves")
        self.ears = Peer(url, "edge/v1/lab/+/result/activity", "edge/v1/_reply/#")

    def close(self) -> None:
        self.cloud.leave()
        self.bridge.terminate()

    def heard(self, device: str, count: int) -> list[dict[str, Any]]:
        return [one.json for one in self.ears.expect(f"edge/v1/lab/{device}/result/activity", count)]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with start_mosquitto(tmp_path / "mosquitto") as broker:
        found = Scene(tmp_path, broker.url)
        with found.ears:
            yield found
        found.close()


def test_a_provisional_result_has_rev_0_and_its_final_one_rev_1(scene: Scene) -> None:
    with Peer(scene.url) as device:
        device.publish("edge/v1/lab/d1/data/window", as_json(rows(), seq=0, epoch="e"))
        first, final = scene.heard("d1", 2)
    assert first["id"] == final["id"]
    assert (first["provisional"], first["rev"], first["tier"]) == (True, 0, "bridge")
    assert (final["provisional"], final["rev"], final["tier"]) == (False, 1, "cloud")
    assert final["local"]["label"] == first["label"]
    assert first["latency_ms"] <= final["latency_ms"] <= 1_000


def test_a_final_result_comes_by_deadline_and_grace_if_only_to_confirm(scene: Scene) -> None:
    scene.deed = "never"
    with Peer(scene.url) as device:
        device.publish("edge/v1/lab/d1/data/window", as_json(rows(), seq=0, epoch="e"))
        first, final = scene.heard("d1", 2)
    assert (final["provisional"], final["rev"], final["tier"]) == (False, 1, "bridge")
    assert [final[key] for key in ("id", "label", "score")] == [first[key] for key in ("id", "label", "score")]
    assert final["latency_ms"] < 1_300  # the deadline, the grace, and a busy machine
    ledger = run_command("inference-bridge", "ledger", "--config", str(scene.folder / "bridge.toml"))
    assert "1 (+1)" in ledger.stdout, "one answered, one provisionally"


def test_infer_and_a_window_the_cloud_cannot_be_asked_about_have_one_result(scene: Scene) -> None:
    with Peer(scene.url) as asker:
        asker.publish("edge/v1/_infer/activity", as_json(rows()), ResponseTopic="edge/v1/_reply/me")
        (reply,) = scene.ears.expect("edge/v1/_reply/me")
        assert (reply.json["provisional"], reply.json["rev"]) == (False, 0)
        scene.cloud.leave()
        scene.bridge.says("cloud agent gpu-1 is gone")
        asker.publish("edge/v1/lab/d2/data/window", as_json(rows(), seq=0, epoch="e"))
        (only,) = scene.heard("d2", 1)
        assert (only["provisional"], only["rev"], only["tier"]) == (False, 0, "bridge")


def test_coap_with_result_gives_the_provisional_one(scene: Scene) -> None:
    with Coap(scene.bridge.ready["coap"]) as coap:
        answer = coap.post("edge/v1/lab/d3/data/window", as_cbor(rows()), query=["result"], content_format=CBOR)
    assert (answer.code, json.loads(answer.payload)["provisional"]) == ("2.05", True)
    assert [one["rev"] for one in scene.heard("d3", 2)] == [0, 1]


def test_a_replay_says_both_again(scene: Scene) -> None:
    with Peer(scene.url) as operator:
        operator.publish("edge/v1/lab/d4/data/window", as_json(rows(), seq=0, epoch="e"))
        before = scene.heard("d4", 2)
        operator.publish("edge/v1/_bridge/gw-1/replay", json.dumps({"since": 0.0}).encode())
        assert scene.heard("d4", 4) == [*before, *before]
