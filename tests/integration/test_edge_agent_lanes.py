"""The agent as a process against a real Mosquitto across outages; a stand-in for the bridge sends receipts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from bridge import topics
from bridge.messages import Observation, Receipt, Skip
from bridge.wire.answers import encode_answer
from bridge.wire.data import decode_data
from bridge.wire.formats import of_payload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.brokers import RunningBroker

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[2]


class Bridge:
    """Vouches for all it hears while `vouches`."""

    def __init__(self, port: int) -> None:
        self.vouches = True
        self.messages: list[Observation] = []
        self.skips: list[Skip] = []
        self.statuses: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "stand-in", clean_session=False)
        self._client.on_message = self._hear
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(topics.DATA_FILTER, 1), ("edge/v1/+/+/status", 1)]
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _hear(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        payload = bytes(message.payload)
        if message.topic.endswith("/status"):
            self.statuses.append(json.loads(payload))
            return
        names = topics.parse_data(message.topic)
        assert names is not None
        found = decode_data(payload, of_payload(payload))
        assert found.receipt
        with self.lock:
            if isinstance(found, Skip):
                self.skips.append(found)
                safe = found.ranges
            else:
                assert found.seq is not None
                self.messages.append(found)
                safe = [(found.seq, found.seq + len(found.values) - 1)]
        if self.vouches:
            receipt = encode_answer(Receipt(found.epoch, safe))
            self._client.publish(topics.receipt(names.site, names.device, names.stream), receipt, 1)

    def numbers(self) -> set[int]:
        """Rows heard; the first channel of row n is n."""
        with self.lock:
            found: set[int] = set()
            for one in self.messages:
                assert one.seq is not None
                rows = range(one.seq, one.seq + len(one.values))
                assert one.values[:, 0].tolist() == list(rows)
                found |= set(rows)
            return found


class Agent:
    """An agent whose stdin is fed with row after row."""

    def __init__(self, folder: Path, url: str, keys: str = "") -> None:
        file = folder / "agent.toml"
        file.write_text(
            f'[agent]\nsite = "s"\ndevice = "d1"\nurl = "{url}"\nreceipt_timeout = 1.0\n{keys}\n'
            '[[streams]]\nname = "wrist"\nsource = "stdin"\nrate = 50\nconfirm = true\nrows_per_message = 10\n'
            "longest_wait = 0.2\n"
        )
        self._file, self._folder = file, folder
        self.given = 0
        self.accepted = 0
        self.start()

    def start(self) -> None:
        with (self._folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edge_agent.cli", "run", "--config", str(self._file)],
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("ready {")

    def give(self, count: int) -> None:
        """Rows that are accepted when it returns."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("".join(f"[{self.given + i}, 1]\n" for i in range(count)))
        self.process.stdin.flush()
        self.given += count
        while self.accepted < self.given:
            self.accepted = json.loads(self.process.stdout.readline())["accepted"][1] + 1

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self._close()

    def end(self) -> int:
        """No more rows come: it ends by itself once all are receipted."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(25)
        self._close()
        return code

    def _close(self) -> None:
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def bridge(mosquitto: RunningBroker) -> Iterator[Bridge]:
    bridge = Bridge(mosquitto.port)
    yield bridge
    bridge.stop()


def wait_until(true: Callable[[], bool], timeout: float = 15) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_a_broker_that_was_gone_leaves_a_backlog_beside_live_rows(
    tmp_path: Path, mosquitto: RunningBroker, bridge: Bridge
) -> None:
    agent = Agent(tmp_path, mosquitto.url, "backlog_after = 0.2")
    agent.give(50)
    wait_until(lambda: len(bridge.numbers()) == 50)
    mosquitto.kill()
    agent.give(200)
    time.sleep(0.5)  # the outage: longer than backlog_after
    mosquitto.start()
    wait_until(lambda: any(one.lane == "backlog" for one in bridge.messages))
    agent.give(100)
    assert agent.end() == 0, (tmp_path / "log").read_text()
    assert bridge.numbers() == set(range(350))
    live = [one for one in bridge.messages if one.live_from is not None]
    assert live
    for one in live:
        assert one.seq is not None
        assert one.live_from is not None
        assert one.lane == "live"
        assert one.seq >= one.live_from >= 250
    wait_until(lambda: not bridge.statuses[-1]["online"])
    (told,) = bridge.statuses[-1]["streams"]["wrist"]
    assert (told["accepted"], told["kept"], told["dropped"]) == (350, 0, [])


def test_a_killed_agent_sends_what_it_had_as_backlog(tmp_path: Path, mosquitto: RunningBroker, bridge: Bridge) -> None:
    bridge.vouches = False
    agent = Agent(tmp_path, mosquitto.url)
    agent.give(100)
    wait_until(lambda: len(bridge.numbers()) == 100)
    agent.kill()
    bridge.vouches = True
    agent.start()
    agent.give(50)
    assert agent.end() == 0, (tmp_path / "log").read_text()
    assert bridge.numbers() == set(range(150))
    assert {one.live_from for one in bridge.messages} >= {100}
    assert sum(len(one.values) for one in bridge.messages if one.lane == "backlog") >= 100


def test_rows_dropped_by_rule_are_told_by_skip_until_receipted(
    tmp_path: Path, mosquitto: RunningBroker, bridge: Bridge
) -> None:
    mosquitto.kill()
    agent = Agent(tmp_path, mosquitto.url, 'max_bytes = 4000\nwhen_full = "thin_out"\nthin_rows = 20')
    for _ in range(10):
        agent.give(100)
    agent.kill()
    agent.start()
    mosquitto.start()
    assert agent.end() == 0, (tmp_path / "log").read_text()
    skipped = {row for skip in bridge.skips for first, last in skip.ranges for row in range(first, last + 1)}
    assert skipped | bridge.numbers() == set(range(1000))
    assert not skipped & bridge.numbers()
    assert {skip.why for skip in bridge.skips} == {"thin_out"}
    wait_until(lambda: bool(bridge.statuses) and not bridge.statuses[-1]["online"])
    (told,) = bridge.statuses[-1]["streams"]["wrist"]
    assert told["kept"] == 0
    assert told["dropped_rows"] == len(skipped)


@pytest.mark.parametrize("damage", ["page", "truncated"])
def test_a_damaged_outbox_is_recovered_and_what_is_lost_is_told(
    tmp_path: Path, mosquitto: RunningBroker, bridge: Bridge, damage: str
) -> None:
    bridge.vouches = False
    agent = Agent(tmp_path, mosquitto.url)
    agent.give(3000)
    agent.process.terminate()
    agent._close()
    store = tmp_path / "state" / "agent-s-d1.db"
    data = bytearray(store.read_bytes())
    if damage == "page":
        data[4096 * 12 : 4096 * 13] = os.urandom(4096)
    else:
        del data[len(data) * 3 // 4 :]
    store.write_bytes(data)
    with bridge.lock:
        bridge.messages.clear()
    bridge.vouches = True
    agent.start()
    agent.give(50)
    assert agent.end() == 0, (tmp_path / "log").read_text()
    log = (tmp_path / "log").read_text()
    assert "set aside as agent-s-d1.db.broken-" in log
    assert "recovered" in log
    heard = bridge.numbers()
    assert set(range(3000, 3050)) <= heard, "the numbering goes on"
    skipped = {row for skip in bridge.skips for first, last in skip.ranges for row in range(first, last + 1)}
    assert heard | skipped == set(range(3050))
