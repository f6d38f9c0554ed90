"""Kept Results come again: the broker lost them, nobody listened, an operator asks, `watch` was away."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from bridge.messages import SeriesKey, window_id
from tests.support.brokers import start_mosquitto
from tests.support.fleet import MODEL, SITE, STREAM, bridge_toml
from tests.support.payloads import as_json, rows
from tests.support.peers import Peer, wait_for
from tests.support.programs import command, start_bridge
from tests.support.relay import TcpRelay
from tests.support.standin import Tap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

RESULTS = "edge/v1/+/+/result/+"
ASK = "edge/v1/_bridge/gw-1/replay"
REPLY = "edge/v1/_reply/operator/1"


def publish(url: str, device: str, seqs: Sequence[int]) -> set[str]:
    """Whole windows; their ids."""
    with Peer(url) as sender:
        for seq in seqs:
            sender.publish(f"edge/v1/{SITE}/{device}/data/{STREAM}", as_json(rows(seed=seq), seq=seq, epoch="e"))
    return {window_id(SeriesKey(SITE, device, STREAM, "e"), seq, MODEL) for seq in seqs}


def ids(peer: Peer) -> list[str]:
    return [message.json["id"] for message in list(peer.messages) if "/result/" in message.topic]


def hears(peer: Peer, wanted: set[str], timeout: float = 15.0) -> None:
    wait_for(lambda: wanted <= set(ids(peer)), f"{len(wanted)} Results, got {len(ids(peer))}", timeout)


@pytest.mark.parametrize("windows", ["whole", "rows"])
def test_what_a_killed_broker_had_taken_comes_again_to_a_late_subscriber(tmp_path: Path, windows: str) -> None:
    with (
        start_mosquitto(tmp_path / "mosquitto") as broker,
        start_bridge(tmp_path, bridge_toml(broker.url, windows=windows)) as bridge,
    ):
        with Peer(broker.url, RESULTS) as early:
            wanted = publish(broker.url, "w1", range(0, 1_280, 128))
            hears(early, wanted)
            first = {message.json["id"]: message.payload for message in early.messages}
        broker.kill()
        broker.start()
        bridge.says(lambda said: said.count(": connected") == 2)
        time.sleep(0.5)  # so that the bridge finds nobody there: what is tested either way
        with Peer(broker.url, RESULTS) as late:
            hears(late, wanted)
            assert {message.json["id"]: message.payload for message in late.messages} == first


def test_it_comes_again_also_where_the_connection_that_told_of_the_loss_was_never_up(tmp_path: Path) -> None:
    with (
        start_mosquitto(tmp_path / "mosquitto") as broker,
        TcpRelay(broker.port) as path,
        start_bridge(tmp_path, bridge_toml(path.url, windows="whole")) as bridge,
    ):
        with Peer(broker.url, RESULTS) as early:
            wanted = publish(broker.url, "w1", range(0, 1_280, 128))
            hears(early, wanted)
        broker.kill()
        path.curt = 1
        broker.start()
        bridge.says(lambda said: said.count(": connected") == 2)
        assert path.curt == 0
        assert "session resumed" in bridge.stderr
        with Peer(broker.url, RESULTS) as late:
            hears(late, wanted)


def test_what_nobody_heard_is_published_once_somebody_listens(tmp_path: Path) -> None:
    config = bridge_toml("URL", windows="whole") + "\n[results]\nagain = 0\n"
    with (
        start_mosquitto(tmp_path / "mosquitto") as broker,
        start_bridge(tmp_path, config.replace("URL", broker.url)) as bridge,
    ):
        first, second = publish(broker.url, "w1", range(5)), publish(broker.url, "w2", range(5))
        with Peer(broker.url, "edge/v1/+/w2/result/+") as one:
            hears(one, second)
        bridge.restart()  # what it knows of who heard what is on its disk
        with Peer(broker.url, RESULTS) as other:
            hears(other, first)


def test_an_operator_s_replay(tmp_path: Path) -> None:
    with (
        start_mosquitto(tmp_path / "mosquitto") as broker,
        start_bridge(tmp_path, bridge_toml(broker.url, windows="whole")) as bridge,
    ):
        with Peer(broker.url, RESULTS) as listener:
            old = publish(broker.url, "w1", range(3))
            hears(listener, old)
            between = time.time()
            new = publish(broker.url, "w1", range(3, 5)) | publish(broker.url, "w2", range(4))
            hears(listener, old | new)
        with Peer(broker.url, RESULTS, REPLY) as operator:

            def ask(request: Any, *, correlation: bytes) -> dict[str, Any]:
                before = len(operator.received(REPLY))
                operator.publish(ASK, json.dumps(request), ResponseTopic=REPLY, CorrelationData=correlation)
                told = operator.expect(REPLY, before + 1)[-1]
                assert told.correlation == correlation
                return told.json

            assert ask({"since": between}, correlation=b"1") == {"published": 6}
            assert (set(ids(operator)), len(ids(operator))) == (new, 6)
            assert ask({"since": 0, "device": "w1"}, correlation=b"2") == {"published": 5}
            assert {one.topic.split("/")[3] for one in operator.messages[7:-1]} == {"w1"}
            assert ask({"since": 0, "device": "nobody"}, correlation=b"3") == {"published": 0}
            assert ask({"device": "w1"}, correlation=b"4")["reason"] == "missing_key"
            bad = ask({"since": 0, "devcie": "w1"}, correlation=b"5")
            assert (bad["reason"], "devcie" in bad["detail"]) == ("malformed", True)
            before = len(ids(operator))
            operator.publish(ASK, '{"since": 0}')
            wait_for(lambda: len(ids(operator)) == before + 9, "without a Response Topic it is published all the same")
            bridge.restart()
            assert ask({"since": 0}, correlation=b"6") == {"published": 9}
        assert "devcie" in bridge.stderr


def test_watch_asks_for_what_it_missed(tmp_path: Path) -> None:
    with (
        start_mosquitto(tmp_path / "mosquitto") as broker,
        Tap(broker.port) as tap,
        start_bridge(tmp_path, bridge_toml(broker.url, windows="whole")),
        Peer(broker.url, RESULTS) as other,  # so that nothing is unheard
        (tmp_path / "out").open("wb") as out,
    ):
        line = shlex.join([command("inference-bridge"), "watch", "--url", tap.url, "--json", "--protocol", "5"])
        with subprocess.Popen(["sh", "-c", f"exec {line}"], stdout=out, stderr=subprocess.DEVNULL) as watching:

            def shown() -> list[str]:
                return [json.loads(text)["id"] for text in (tmp_path / "out").read_text().splitlines()]

            def somebody_watches() -> bool:
                publish(broker.url, "w0", [int(time.monotonic() * 1e3)])
                return bool(shown())

            try:
                wait_for(somebody_watches, "watch shows something")
                tap.cut()
                missed = publish(broker.url, "w1", range(5))
                hears(other, missed)
                wait_for(lambda: missed <= set(shown()), "what was published in the gap")
                assert len(shown()) == len(set(shown()))
            finally:
                watching.terminate()
                assert watching.wait(10) == 0
