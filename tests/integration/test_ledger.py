"""`inference-bridge ledger` against the real bridge, Mosquitto, agent and a cloud that dies."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bridge.messages import Observation
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from tests.support.brokers import start_mosquitto
from tests.support.fleet import (
    HOP,
    ROOT,
    SITE,
    STREAM,
    WINDOW,
    Device,
    Listener,
    bridge_toml,
    expect,
    rows_of,
    stop_all,
    until,
)
from tests.support.peers import Peer
from tests.support.programs import RunningProgram, prepare_bridge, run_command, start_bridge
from tests.support.standin import StandInCloud

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.brokers import RunningBroker

pytestmark = [pytest.mark.real, pytest.mark.timeout(90)]

ROWS = 20 * HOP  # 19 windows
TOPIC = f"edge/v1/{SITE}/%s/data/{STREAM}"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with start_mosquitto(tmp_path / "mosquitto") as running:
        yield running


def config_of(bridge: RunningProgram) -> str:
    return str(bridge.directory / "bridge.toml")


def ledger(*options: str, code: int = 0) -> dict[str, Any]:
    ended = run_command("inference-bridge", "ledger", "--json", *options, timeout=40)
    assert ended.returncode == code, ended
    found = json.loads(ended.stdout)
    assert isinstance(found, dict)
    return found


def quiet(url: str) -> dict[str, Any]:
    """The ledger, once the broker's last PUBACK is there."""
    deadline = time.monotonic() + 10
    while True:
        found = ledger("--url", url)
        if not any(part["waiting"] for line in found["series"] for part in line["bridges"].values()):
            return found
        assert time.monotonic() < deadline, found


def message(first: int, rows: int, epoch: str = "e1") -> bytes:
    return encode_observation(Observation(rows_of(0, first + rows)[first:], seq=first, epoch=epoch), Format.CBOR)


def tell(sender: Peer, device: str, streams: dict[str, Any]) -> None:
    """Publish what an agent's status says, retained."""
    status = json.dumps({"online": True, "t": time.time(), "streams": streams})
    sender._client.publish(f"edge/v1/{SITE}/{device}/status", status, 1, retain=True).wait_for_publish(10)


def lines(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {line["device"]: line for line in found["series"]}


def test_plain_devices_through_kill_9_and_with_the_bridge_stopped(tmp_path: Path, broker: RunningBroker) -> None:
    with start_bridge(tmp_path / "b", bridge_toml(broker.url)) as bridge, Listener(broker.url) as ears:
        devices = [Device(broker.url, f"w{i}", rows_of(i, ROWS), pack=25, pace=0.01).start() for i in range(3)]
        until(lambda: len(ears.ids) > 20, 20, "Results")
        bridge.restart()
        until(lambda: all(one.done for one in devices), 20, "all is published")
        ears.wait_for({id_ for one in devices for id_ in expect(one.name, "e1", rows_of(int(one.name[1:]), ROWS))}, 20)
        stop_all(devices)
        found = quiet(broker.url)
        assert found["adds_up"] is True, found
        for line in found["series"]:
            assert (line["accepted"], line["safe"], line["bridges"]["gw-1"]["windows"]) == (None, ROWS, 19)
        answered = sum(line["bridges"]["gw-1"]["answered"] for line in found["series"])
        assert 0 < answered < 57, "those of the earlier life are not counted"
        assert list(lines(ledger("--url", broker.url, "--device", "w1"))) == ["w1"]
        assert ledger("--url", broker.url, "--since", "1h")["series"]
        bridge.kill()
        until(lambda: "gw-1" in ledger("--config", config_of(bridge))["bridges"], 20, "the broker notices")
        stopped = ledger("--config", config_of(bridge))
        assert (stopped["adds_up"], stopped["bridges"]) == (None, {"gw-1": None})
        assert {name: line["safe"] for name, line in lines(stopped).items()} == dict.fromkeys(("w0", "w1", "w2"), ROWS)


def test_a_gap_is_named_by_its_rows(tmp_path: Path, broker: RunningBroker) -> None:
    limits = "gap = 0.3"
    with start_bridge(tmp_path / "b", bridge_toml(broker.url, limits=limits)), Peer(broker.url) as sender:
        part = {"epoch": "e1", "accepted": 900, "kept": [[800, 899]], "dropped": []}
        tell(sender, "w1", {STREAM: [part]})
        for device in ("w1", "w2"):
            sender.publish(TOPIC % device, message(0, 200))
            sender.publish(TOPIC % device, message(300, 500))
        until(lambda: all(line["dropped"] for line in ledger("--url", broker.url, code=1)["series"]), 10, "the gap")
        found = ledger("--url", broker.url, code=1)
        why = "accepted, not dropped by rule, no longer waited for by the bridge"
        assert found["problems"] == [f"{SITE}/w1/{STREAM} e1: agent: rows 200–299: {why}"]
        w1, w2 = lines(found)["w1"], lines(found)["w2"]
        assert (w1["accepted"], w1["safe"], w1["in_flight"], w1["adds_up"]) == (900, 700, 100, False)
        assert (w2["dropped"], w2["adds_up"]) == ([[200, 299, "gap"]], True)
        said = run_command("inference-bridge", "ledger", "--url", broker.url, timeout=40)
        assert said.returncode == 1
        assert "DOES NOT ADD UP" in said.stdout
        assert f"dropped  {SITE}/w2/{STREAM} e1: rows 200–299 (gap)" in said.stdout


def whole_window(number: int) -> bytes:
    rows = rows_of(0, (number + 1) * WINDOW)[number * WINDOW :]
    return encode_observation(Observation(rows, seq=number * WINDOW, epoch="e1", receipt=True), Format.CBOR)


def test_whole_windows_over_kill_9_and_with_the_bridge_stopped(tmp_path: Path, broker: RunningBroker) -> None:
    def told() -> dict[str, Any]:
        ended = run_command("inference-bridge", "ledger", "--json", "--config", config_of(bridge), timeout=40)
        return lines(json.loads(ended.stdout))["w1"]

    config = bridge_toml(broker.url, windows="whole")
    with start_bridge(tmp_path / "b", config) as bridge, Peer(broker.url) as sender, Listener(broker.url) as ears:
        tell(sender, "w1", {STREAM: [{"epoch": "e1", "accepted": 4 * WINDOW, "kept": 0, "dropped": []}]})
        for number in (0, 1, 3):
            sender.publish(TOPIC % "w1", whole_window(number))
        until(lambda: len(ears.ids) == 3 and told()["safe"] == 3 * WINDOW, 20, "Results")
        missing = [[2 * WINDOW, 3 * WINDOW - 1]]
        for life in (bridge.restart, bridge.kill):
            life()
            until(lambda: told()["checks"][0]["holds"] is False, 20, "what it answered is read")
            assert (told()["safe"], told()["checks"][0]["rows"]) == (3 * WINDOW, missing)
        bridge.start()
        sender.publish(TOPIC % "w1", whole_window(2))
        until(lambda: told()["adds_up"] is True, 20, "it adds up")


def test_the_real_agent(tmp_path: Path, broker: RunningBroker) -> None:
    np.savez(tmp_path / "r.npz", values=rows_of(0, ROWS), t=np.arange(ROWS) / 50)
    with start_bridge(tmp_path / "b", bridge_toml(broker.url)):
        who = ["--site", SITE, "--device", "d1", "--stream", STREAM, "--url", broker.url, "--speed", "0"]
        assert run_command("edge-agent", "replay", str(tmp_path / "r.npz"), *who, cwd=tmp_path).returncode == 0
        found = quiet(broker.url)
        (line,) = found["series"]
        assert (line["safe"], line["bridges"]["gw-1"]["windows"], line["bridges"]["gw-1"]["answered"]) == (ROWS, 19, 19)
        assert not found["problems"]
        assert [one["device"] for one in found["agents"]] == ["d1"]
        assert line["accepted"] in {None, ROWS}


def test_duplicates_late_rows_and_refusals(tmp_path: Path, broker: RunningBroker) -> None:
    with start_bridge(tmp_path / "b", bridge_toml(broker.url, limits="gap = 0.2")), Peer(broker.url) as sender:
        sender.publish(TOPIC % "w1", message(0, 200))
        sender.publish(TOPIC % "w1", message(0, 200))
        sender.publish(TOPIC % "w1", b"{}")
        sender.publish(TOPIC % "w1", message(300, 200))
        until(lambda: ledger("--url", broker.url)["series"][0]["dropped"], 10, "the gap is given up")
        sender.publish(TOPIC % "w1", message(250, 30))
        until(lambda: "stale" in ledger("--url", broker.url)["streams"][0]["account"]["refused"], 10, "it is late")
        (stream,) = ledger("--url", broker.url)["streams"]
        assert stream["account"]["duplicates"] == 1
        assert stream["account"]["refused"] == {"missing_key": 1, "stale": 1}
        with Peer(broker.url, "edge/v1/_bridge/+/status") as operator:
            until(lambda: _totals(operator).get("late") == 1, 10, "the status tells the totals")
            assert _totals(operator)["duplicates"] == 1


def _totals(operator: Peer) -> dict[str, Any]:
    statuses = operator.received("edge/v1/_bridge/gw-1/status")
    found = statuses[-1].json["ledger"] if statuses else {}
    assert isinstance(found, dict)
    return found


def test_open_questions_are_in_flight_through_kill_9(tmp_path: Path, broker: RunningBroker) -> None:
    toml = bridge_toml(broker.url, cloud=broker.url, place="cloud", deadline=8.0)
    with StandInCloud(broker.url, lambda: "never") as cloud, start_bridge(tmp_path / "b", toml) as bridge:
        with Peer(broker.url) as sender:
            sender.publish(TOPIC % "w1", message(0, WINDOW + 4 * HOP))
        until(lambda: len(cloud.asked) == 5, 10, lambda: f"asked: {cloud.asked}")
        for _ in range(2):
            (line,) = ledger("--url", broker.url)["series"]
            assert (line["bridges"]["gw-1"]["waiting"], line["adds_up"]) == (5, True)
            bridge.restart()
        cloud.deed = lambda: "answer"
        bridge.restart()
        (line,) = quiet(broker.url)["series"]
        assert (line["bridges"]["gw-1"]["answered"], line["adds_up"]) == (5, True)


def test_whole_windows_are_counted_by_stream(tmp_path: Path, broker: RunningBroker) -> None:
    with start_bridge(tmp_path / "b", bridge_toml(broker.url, windows="whole")), Listener(broker.url) as ears:
        with Peer(broker.url) as sender:
            for first in (0, WINDOW, 0):
                sender.publish(TOPIC % "w1", message(first, WINDOW))
        until(lambda: len(ears.ids) == 2, 10, "Results")
        found = ledger("--url", broker.url)
        (stream,) = found["streams"]
        assert (stream["account"]["whole"]["answered"], stream["account"]["duplicates"]) == (2, 1)
        assert (found["series"], found["adds_up"]) == ([], True)


def test_a_bridge_with_its_own_broker(tmp_path: Path) -> None:
    pytest.importorskip("iotcore")
    route = f'[[routes]]\nstream = "{STREAM}"\nmodel = "activity"\n'
    toml = f'[bridge]\nid = "gw-1"\n[mqtt]\nport = 0\nport5 = 0\n[coap]\nenabled = false\n{route}'
    with start_bridge(tmp_path / "b", toml) as bridge:
        with Peer(bridge.ready["mqtt5"]) as sender:
            sender.publish(TOPIC % "w1", message(0, 200))
        found = quiet(bridge.ready["mqtt5"])
        assert (found["adds_up"], found["series"][0]["safe"]) == (True, 200)


def test_a_bridge_s_own_user_may_ask_by_the_shipped_acl(tmp_path: Path) -> None:
    acl = (ROOT / "config" / "mosquitto" / "acl.conf").read_text()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "password").write_text("secret")
    with start_mosquitto(tmp_path / "m", password=("gw-1", "secret"), acl=acl) as broker:
        login = f'url = "{broker.url}"\nusername = "gw-1"\npassword_file = "password"'
        with start_bridge(tmp_path / "b", bridge_toml("X").replace('url = "X"', login)) as bridge:
            assert ledger("--config", config_of(bridge))["bridges"].keys() == {"gw-1"}


def test_nobody_there(tmp_path: Path, broker: RunningBroker) -> None:
    ended = run_command("inference-bridge", "ledger", "--url", broker.url)
    assert ended.returncode == 1
    assert "no bridge answers; --config" in ended.stderr
    ended = run_command("inference-bridge", "ledger", "--url", "mqtt://127.0.0.1:1")
    assert ended.returncode == 1
    assert "mqtt://127.0.0.1:1: " in ended.stderr
    ended = run_command("inference-bridge", "ledger", "--device", "a/b")
    assert ended.returncode == 2
    assert "--device" in ended.stderr
    bridge = prepare_bridge(tmp_path / "b", bridge_toml("mqtt://127.0.0.1:1"))
    ended = run_command("inference-bridge", "ledger", "--config", config_of(bridge))
    assert ended.returncode == 1
    assert "journal.db: there is none" in ended.stderr
    assert not (bridge.directory / "state").exists()


def test_a_state_folder_is_left_as_it_is(tmp_path: Path, broker: RunningBroker) -> None:
    with start_bridge(tmp_path / "b", bridge_toml(broker.url)) as bridge:
        journal = bridge.directory / "state" / "journal.db"
        elsewhere = prepare_bridge(tmp_path / "c", bridge_toml("mqtt://127.0.0.1:1"))
        (elsewhere.directory / "state").symlink_to(bridge.directory / "state")
        ended = run_command("inference-bridge", "ledger", "--config", config_of(elsewhere))
        assert ended.returncode == 1
        assert "in use by another process" in ended.stderr
        assert bridge.terminate() == 0
        damaged = secrets.token_bytes(8_192)
        journal.write_bytes(damaged)
        ended = run_command("inference-bridge", "ledger", "--config", config_of(elsewhere))
        assert ended.returncode == 1
        assert "journal.db" in ended.stderr
        assert journal.read_bytes() == damaged
        assert [one.name for one in journal.parent.glob("journal.db*broken*")] == []
