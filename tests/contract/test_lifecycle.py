"""A bridge's life: it is killed, told to stop, replaced; its broker goes and comes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.brokers import RunningBroker, start_mosquitto
from tests.support.payloads import as_json, rows
from tests.support.peers import Coap, Peer, wait_for
from tests.support.programs import prepare_bridge, start_bridge

if TYPE_CHECKING:
    from tests.support.programs import RunningProgram

STATUS = "edge/v1/_bridge/gw-1/status"
DATA = "edge/v1/lab/d/data/window"
RESULT = "edge/v1/lab/d/result/activity"
RECEIPT = "edge/v1/lab/d/receipt/window"
GOOD = as_json(rows())
ROUTES = """
[coap]
bind = "127.0.0.1:0"
[[routes]]
stream = "window"
model = "activity"
windows = "whole"
[[routes]]
stream = "far"
model = "activity"
windows = "whole"
place = "cloud"
"""


def config(url: str | None, more: str = "") -> str:
    broker = "port = 0\nport5 = 0" if url is None else f'url = "{url}"'
    return f'[bridge]\nid = "gw-1"\n[mqtt]\n{broker}\n{ROUTES}\n{more}'


def newest_status(url: str) -> bool:
    with Peer(url, STATUS) as late:
        found = late.expect(STATUS)[-1]
        assert found.retain
        online = found.json["online"]
    assert isinstance(online, bool)
    return online


def answers(url: str) -> None:
    """A device sends until it has a Result: who sends while nobody listens is not told."""
    with Peer(url, RESULT) as peer:
        deadline = time.monotonic() + 15
        while not peer.received(RESULT):
            assert time.monotonic() < deadline, "the bridge does not serve"
            peer.publish(DATA, GOOD)
            time.sleep(0.05)


@pytest.mark.real
def test_the_status_is_online_and_after_kill_9_offline_by_the_will(mosquitto: RunningBroker, tmp_path: Path) -> None:
    with start_bridge(tmp_path, config(mosquitto.url)) as bridge, Peer(mosquitto.url, STATUS) as watching:
        assert newest_status(mosquitto.url)
        bridge.kill()
        wait_for(lambda: not watching.received(STATUS)[-1].json["online"], "the will")
        assert not newest_status(mosquitto.url)
        bridge.restart()
        wait_for(lambda: watching.received(STATUS)[-1].json["online"], "online again")


@pytest.mark.real
def test_sigterm_says_offline_and_exits_0(mosquitto: RunningBroker, tmp_path: Path) -> None:
    with start_bridge(tmp_path, config(mosquitto.url)) as bridge:
        answers(mosquitto.url)
        assert bridge.terminate() == 0
        assert not newest_status(mosquitto.url)
        assert "Traceback" not in bridge.stderr
        assert " ERROR " not in bridge.stderr


@pytest.mark.real
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_stopped_in_the_midst_of_work_nothing_is_lost(
    mosquitto: RunningBroker, tmp_path: Path, how: signal.Signals
) -> None:
    count = 300
    with start_bridge(tmp_path, config(mosquitto.url)) as bridge, Peer(mosquitto.url, RESULT) as peer:
        for n in range(count):
            peer.publish(DATA, as_json(rows(), seq=n, epoch="e"))
            if n == 60:
                os.kill(bridge.pid, how)
        assert bridge.wait() == (0 if how is signal.SIGTERM else -signal.SIGKILL)
        assert "Traceback" not in bridge.stderr
        bridge.start()
        wait_for(lambda: len({m.json["seq"] for m in peer.received(RESULT)}) == count, "a Result for each", 15)
        found = [message.json for message in peer.received(RESULT)]
    assert {result["seq"] for result in found} == set(range(count))
    assert len({result["id"] for result in found}) == count
    if how is signal.SIGTERM:
        assert len(found) == count, "a drained bridge leaves nothing to be done twice"


@pytest.mark.real
def test_a_bridge_of_the_same_id_takes_over_and_the_first_says_so_and_goes(
    mosquitto: RunningBroker, tmp_path: Path
) -> None:
    with start_bridge(tmp_path / "one", config(mosquitto.url)) as first:
        with start_bridge(tmp_path / "two", config(mosquitto.url)) as second:
            assert first.wait() == 1
            said = first.stderr.splitlines()[-1]
            assert said.startswith("inference-bridge: another ")
            assert "'gw-1'; give each its own id" in said
            assert "Traceback" not in first.stderr
            answers(mosquitto.url)
            wait_for(lambda: newest_status(mosquitto.url), "the second one's status")
            assert second.terminate() == 0
        first.start()
        answers(mosquitto.url)
        assert first.terminate() == 0, "whoever was there before does not count as a twin"


@pytest.mark.real
def test_a_broker_restarted_without_memory_is_subscribed_to_again(tmp_path: Path) -> None:
    with start_mosquitto(tmp_path / "m") as broker, start_bridge(tmp_path, config(broker.url)) as bridge:
        answers(broker.url)
        for how in (RunningBroker.stop, RunningBroker.kill):
            how(broker)
            bridge.says(lambda text: "trying again in" in text.splitlines()[-1])
            broker.start()
            answers(broker.url)
            assert newest_status(broker.url)
        assert bridge.terminate() == 0
        assert "Traceback" not in bridge.stderr


@pytest.mark.real
def test_coap_goes_on_while_the_broker_is_away_and_its_results_come_later(tmp_path: Path) -> None:
    with start_mosquitto(tmp_path / "m") as broker, start_bridge(tmp_path, config(broker.url)) as bridge:
        broker.stop()
        bridge.says("trying again in")
        with Coap(bridge.ready["coap"]) as coap:
            sent = coap.post(DATA, as_json(rows(), seq=0, epoch="e"), query=["result"])
            assert sent.code == "2.05"
        bridge.kill()
        bridge.launch()
        broker.start()
        with Peer(broker.url, RESULT) as peer:
            bridge.wait_ready()
            again = Coap(bridge.ready["coap"])
            with again:
                assert again.post(DATA, as_json(rows(), seq=0, epoch="e")).code == "2.04"
            peer.publish(DATA, as_json(rows(), seq=1, epoch="e"))
            wait_for(lambda: any(m.json["seq"] == 1 for m in peer.received(RESULT)), "the next Result")


def children(bridge: RunningProgram) -> list[int]:
    found = Path(f"/proc/{bridge.pid}/task").glob("*/children")
    return [int(pid) for file in found for pid in file.read_text().split()]


def test_an_embedded_broker_that_is_killed_comes_back_and_the_owner_is_told(tmp_path: Path) -> None:
    pytest.importorskip("iotcore")
    with start_bridge(tmp_path, config(None)) as bridge:
        answers(bridge.ready["mqtt5"])
        (broker,) = children(bridge)
        os.kill(broker, signal.SIGKILL)
        bridge.says("embedded broker: its process ended with code -9; restarting it")
        bridge.says("the embedded broker was restarted")
        answers(bridge.ready["mqtt5"])
        assert children(bridge) != [broker]
        assert bridge.terminate() == 0
        assert "Traceback" not in bridge.stderr


def test_an_embedded_broker_goes_with_its_bridge(tmp_path: Path) -> None:
    pytest.importorskip("iotcore")
    with start_bridge(tmp_path, config(None)) as bridge:
        (broker,) = children(bridge)
        bridge.kill()
        wait_for(lambda: not Path(f"/proc/{broker}").exists() or "Z" in state(broker), "the broker's end")


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


@pytest.mark.real
@pytest.mark.parametrize("reach", ["no agent", "no broker"])
def test_a_cloud_that_is_not_there_is_named_in_the_reason(mosquitto: RunningBroker, tmp_path: Path, reach: str) -> None:
    url = mosquitto.url if reach == "no agent" else "mqtt://127.0.0.1:1"
    with start_bridge(tmp_path, config(mosquitto.url, f'[cloud]\nurl = "{url}"\n')) as bridge:
        with Coap(bridge.ready["coap"]) as coap:
            answer = coap.post("edge/v1/lab/d/data/far", GOOD, query=["result"])
            assert answer.code == "2.05"
        with Peer(mosquitto.url, RESULT) as peer:
            peer.publish("edge/v1/lab/d/data/far", GOOD)
            result = peer.expect(RESULT)[0].json
        assert result["tier"] == "bridge"
        assert result["reason"].startswith("the route computes in the cloud, but ")
        assert {"no agent": "no cloud agent", "no broker": "the cloud's broker is not there"}[reach] in result["reason"]
        assert bridge.terminate() == 0


@pytest.mark.real
def test_ready_says_where_to_connect(mosquitto: RunningBroker, tmp_path: Path) -> None:
    with prepare_bridge(tmp_path, config(mosquitto.url)).start() as bridge:
        assert bridge.ready.keys() == {"mqtt", "mqtt5", "coap"}
        assert bridge.ready["mqtt"] == bridge.ready["mqtt5"] == mosquitto.url
        assert bridge.ready["coap"].startswith("coap://127.0.0.1:")
