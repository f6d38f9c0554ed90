"""The agent as a process against a real Mosquitto; a stand-in for the bridge sends receipts as a test wants."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from bridge import topics
from bridge.messages import Error, Observation, Receipt
from bridge.store.outbox import Limits, Outbox
from bridge.wire.answers import encode_answer
from bridge.wire.formats import of_payload
from bridge.wire.observation import decode_observation
from tests.support.brokers import RunningBroker, TlsFiles, start_mosquitto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[2]
ROWS = 600


class Bridge:
    """Takes rows and vouches for them as `answer` says: the ranges of receipts to publish for a message."""

    def __init__(
        self,
        port: int,
        answer: Callable[[Observation], list[tuple[int, int]] | Error] = lambda o: [covers(o)],
        protocol: MQTTProtocolVersion = paho.MQTTv311,
    ) -> None:
        self.answer = answer
        self.rows: dict[tuple[str, str, int], list[float]] = {}
        self.messages: list[tuple[str, Observation]] = []
        self.statuses: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        clean = None if protocol == paho.MQTTv5 else False
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "stand-in", clean, protocol=protocol)
        self._client.on_message = self._hear
        self._client.on_connect = self._connected
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port, clean_start=False if protocol == paho.MQTTv5 else 3)
        self._client.loop_start()

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: paho.Client, *_: object) -> None:
        client.subscribe([(topics.DATA_FILTER, 1), ("edge/v1/+/+/status", 1)])

    def _hear(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        if message.topic.endswith("/status"):
            self.statuses.append(json.loads(message.payload))
            return
        payload = bytes(message.payload)
        observation = decode_observation(payload, of_payload(payload))
        assert observation.seq is not None
        assert observation.receipt
        names = topics.parse_data(message.topic)
        assert names is not None
        with self._lock:
            self.messages.append((names.stream, observation))
            for i, row in enumerate(observation.values.tolist()):
                found = self.rows.setdefault((names.stream, observation.epoch, observation.seq + i), row)
                assert found == row, "the same number for another row"
        answer = self.answer(observation)
        if isinstance(answer, Error):
            self._client.publish(topics.error(names.site, names.device), encode_answer(answer), 1)
        elif answer:
            receipt = encode_answer(Receipt(observation.epoch, answer))
            self._client.publish(topics.receipt(names.site, names.device, names.stream), receipt, 1)

    def firsts(self) -> list[float]:
        """First channel of all rows received, in order of their numbers."""
        with self._lock:
            return [row[0] for _, row in sorted(self.rows.items())]


def covers(observation: Observation) -> tuple[int, int]:
    assert observation.seq is not None
    return (observation.seq, observation.seq + len(observation.values) - 1)


@pytest.fixture
def bridge(mosquitto: RunningBroker) -> Iterator[Bridge]:
    bridge = Bridge(mosquitto.port)
    yield bridge
    bridge.stop()


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    values = np.arange(ROWS * 3, dtype=np.float32).reshape(ROWS, 3)
    np.savez(tmp_path / "a.npz", values=values, rate=50.0)
    return tmp_path / "a.npz"


EXPECTED = [3.0 * i for i in range(ROWS)]


def agent(tmp_path: Path, *args: str, **extra: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edge_agent.cli", *args]
    pipe = subprocess.PIPE
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    given = {"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe, **extra}
    return subprocess.Popen(command, cwd=tmp_path, env=env, text=True, **given)


def replay(tmp_path: Path, file: Path, url: str, *args: str) -> subprocess.Popen[str]:
    return agent(tmp_path, "replay", str(file), "--device", "d1", "--stream", "wrist", "--url", url, *args)


def ended(process: subprocess.Popen[str], timeout: float = 20) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def report(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.rpartition("replayed ")[2])
    return found


def wait_until(true: Callable[[], bool], timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "options", [("--protocol", "3.1.1"), ("--encoding", "json"), ("--rows-per-message", "7"), ("--speed", "20")]
)
def test_every_row_arrives_once(
    tmp_path: Path, mosquitto: RunningBroker, bridge: Bridge, recording: Path, options: tuple[str, ...]
) -> None:
    code, out, err = ended(replay(tmp_path, recording, mosquitto.url, "--speed", "0", *options))
    assert code == 0, err
    assert bridge.firsts() == EXPECTED
    assert sum(len(o.values) for _, o in bridge.messages) == ROWS
    assert report(out)["missing"] == []
    assert list((tmp_path / "state").iterdir()) == []
    assert {o.dt for _, o in bridge.messages} == {0.02}
    wait_until(lambda: len(bridge.statuses) >= 2)
    assert [status["online"] for status in bridge.statuses] == [True, False]


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_every_row_arrives_through_the_embedded_broker(
    tmp_path: Path, embedded: RunningBroker, recording: Path, protocol: str
) -> None:
    # rumqttd 0.20 kills its 3.1.1 listener when it hands a message with properties to a 3.1.1 subscriber.
    bridge = Bridge(embedded.port, protocol=paho.MQTTv5)
    url = embedded.url311 if protocol == "3.1.1" else embedded.url
    code, _, err = ended(replay(tmp_path, recording, url, "--speed", "0", "--protocol", protocol))
    bridge.stop()
    assert code == 0, err
    assert bridge.firsts() == EXPECTED


def test_receipts_withheld_doubled_and_in_pieces(
    tmp_path: Path, mosquitto: RunningBroker, bridge: Bridge, recording: Path
) -> None:
    heard: dict[int, int] = {}

    def answer(observation: Observation) -> list[tuple[int, int]]:
        first, last = covers(observation)
        heard[first] = heard.get(first, 0) + 1
        if first % 100 == 25 and heard[first] == 1:
            return []
        if first % 100 == 50 and heard[first] == 1:
            return [(first + 3, first + 5), (first + 5, last - 2), (first + 3, first + 5)]
        return [(first, last), (first, last)]

    bridge.answer = answer
    code, _, err = ended(replay(tmp_path, recording, mosquitto.url, "--speed", "0", "--receipt-timeout", "0.5"))
    assert code == 0, err
    assert bridge.firsts() == EXPECTED
    assert heard[25] == 2
    assert heard[0] == 1


def test_without_receipts_it_gives_up_saying_what_is_missing_and_goes_on_later(
    tmp_path: Path, mosquitto: RunningBroker, bridge: Bridge, recording: Path
) -> None:
    bridge.answer = lambda o: [covers(o)] if o.seq is not None and o.seq < 500 else []
    args = ("--speed", "0", "--epoch", "e1", "--receipt-timeout", "0.3", "--timeout", "1")
    code, out, err = ended(replay(tmp_path, recording, mosquitto.url, *args))
    assert code == 1
    assert report(out)["missing"] == [[500, 599]]
    assert "missing: rows 500–599" in err
    bridge.answer = lambda o: [covers(o)]
    bridge.messages.clear()
    code, out, err = ended(replay(tmp_path, recording, mosquitto.url, *args))
    assert code == 0, err
    assert sum(len(o.values) for _, o in bridge.messages) == 100
    assert bridge.firsts() == EXPECTED


def test_refused_rows_are_dropped_and_told(
    tmp_path: Path, mosquitto: RunningBroker, bridge: Bridge, recording: Path
) -> None:
    busy: set[int] = set()

    def answer(observation: Observation) -> list[tuple[int, int]] | Error:
        first, _ = covers(observation)
        if first == 100:
            return Error("shape", "no", "wrist", first)
        if first == 200 and first not in busy:
            busy.add(first)
            return Error("overload", "later", "wrist", first)
        return [covers(observation)]

    bridge.answer = answer
    code, out, err = ended(replay(tmp_path, recording, mosquitto.url, "--speed", "0"))
    assert code == 1
    assert report(out)["refused"] == [[100, 124]]
    assert "the bridge refused rows 100–124: shape: no" in err
    assert bridge.firsts() == EXPECTED
    assert sum(o.seq == 200 for _, o in bridge.messages) == 2


def test_the_broker_is_killed_and_comes_back(
    tmp_path: Path, mosquitto: RunningBroker, bridge: Bridge, recording: Path
) -> None:
    process = replay(tmp_path, recording, mosquitto.url, "--speed", "5", "--receipt-timeout", "1")
    for _ in range(2):
        seen = len(bridge.messages)
        wait_until(lambda seen=seen: len(bridge.messages) > seen + 3)  # type: ignore[misc] # mypy cannot type a default
        mosquitto.kill()
        time.sleep(0.3)
        mosquitto.start()
    code, _, err = ended(process)
    assert code == 0, err
    assert bridge.firsts() == EXPECTED
    assert "trying again in" in err


def test_the_broker_is_absent_at_the_start(tmp_path: Path, mosquitto: RunningBroker, recording: Path) -> None:
    mosquitto.kill()
    process = replay(tmp_path, recording, mosquitto.url, "--speed", "0")
    time.sleep(1.2)
    mosquitto.start()
    bridge = Bridge(mosquitto.port)
    code, _, err = ended(process)
    bridge.stop()
    assert code == 0, err
    assert "cannot connect" in err
    assert bridge.firsts() == EXPECTED


def config(tmp_path: Path, url: str, stream: str, agent_keys: str = "") -> Path:
    file = tmp_path / "agent.toml"
    file.write_text(
        f'[agent]\nsite = "s"\ndevice = "d1"\nurl = "{url}"\nreceipt_timeout = 0.5\n{agent_keys}\n'
        f'[[streams]]\nname = "wrist"\n{stream}\n'
    )
    return file


def test_kill_9_of_the_agent_mid_replay_loses_nothing(
    tmp_path: Path, mosquitto: RunningBroker, bridge: Bridge, recording: Path
) -> None:
    file = config(tmp_path, mosquitto.url, f'source = "replay"\nfiles = ["{recording.name}", "a.npz"]\nspeed = 10')
    for _ in range(3):
        seen = len(bridge.messages)
        process = agent(tmp_path, "run", "--config", str(file))
        wait_until(lambda seen=seen: len(bridge.messages) > seen + 4)  # type: ignore[misc] # mypy cannot type a default
        process.send_signal(signal.SIGKILL)
        ended(process)
    wait_until(lambda: bool(bridge.statuses) and not bridge.statuses[-1]["online"])  # the will
    code, out, err = ended(agent(tmp_path, "run", "--config", str(file)))
    assert code == 0, err
    assert json.loads(out.removeprefix("ready "))["streams"] == ["wrist"]
    epochs = {epoch for _, epoch, _ in bridge.rows}
    assert len(epochs) == 2
    for epoch in epochs:
        assert [row[0] for key, row in sorted(bridge.rows.items()) if key[1] == epoch] == EXPECTED
    box = Outbox(tmp_path / "state" / "agent-s-d1.db", Limits(), tell=pytest.fail)
    assert box.rows() == 0
    assert [(one.next, one.ended) for one in box.series()] == [(ROWS, True), (ROWS, True)]
    box.close()


def test_stdin_confirms_skips_bad_lines_and_stops_at_once(
    tmp_path: Path, mosquitto: RunningBroker, bridge: Bridge
) -> None:
    file = config(tmp_path, mosquitto.url, 'source = "stdin"\nrate = 50\nconfirm = true\nlongest_wait = 0.2')
    process = agent(tmp_path, "run", "--config", str(file), stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ready {")
    process.stdin.write('[0, 1]\nnonsense\n[1e999, 1]\n[1, 1]\n[1]\n{"values": [2, 1], "t": 1700000000}\n')
    process.stdin.flush()
    confirmed: list[int] = []
    while 2 not in confirmed:
        first, last = json.loads(process.stdout.readline())["accepted"]
        confirmed += range(first, last + 1)
    wait_until(lambda: len(bridge.rows) == 3)
    process.stdin.write("[3, 1]\n")
    process.stdin.flush()
    json.loads(process.stdout.readline())
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert code == 0
    assert time.monotonic() - began < 3
    for line in (2, 3, 5):
        assert f"stdin: line {line}: " in err
    wait_until(lambda: not bridge.statuses[-1]["online"])
    again = agent(tmp_path, "run", "--config", str(file), stdin=subprocess.PIPE)
    code, _, err = ended(again)  # takes up what is left, and ends with its stdin
    assert code == 0, err
    assert bridge.firsts() == [0.0, 1.0, 2.0, 3.0]


def test_a_whole_window_begun_as_stdin_ends_is_completed_after_the_next_start(
    tmp_path: Path, mosquitto: RunningBroker, bridge: Bridge
) -> None:
    file = config(tmp_path, mosquitto.url, 'source = "stdin"\nrate = 50\nrows_per_message = 8\nwindows = "whole"')
    bridge.answer = lambda o: (
        [covers(o)] if len(o.values) == 8 else Error("shape", "a window has 8 rows", "wrist", o.seq)
    )
    said = ""
    for first, stop in ((0, 13), (13, 13), (13, 24)):
        process = agent(tmp_path, "run", "--config", str(file), stdin=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write("".join(f"[{i}, 1]\n" for i in range(first, stop)))
        code, _, err = ended_with_eof(process)
        assert code == 0, err
        said += err
    assert bridge.firsts() == [float(i) for i in range(24)]
    assert said.count("rows 8–12 are no whole window yet") == 2
    assert "refused" not in said


def test_a_full_outbox_holds_the_source_back(tmp_path: Path, mosquitto: RunningBroker, bridge: Bridge) -> None:
    file = config(
        tmp_path,
        mosquitto.url,
        'source = "stdin"\nrate = 50\nconfirm = true\nrows_per_message = 10',
        "max_bytes = 4000",
    )
    bridge.answer = lambda _: []
    process = agent(tmp_path, "run", "--config", str(file), stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write("".join(f"[{i}, 1]\n" for i in range(200)))
    process.stdin.flush()
    wait_until(lambda: len(bridge.messages) >= 5)
    process.stdin.write("".join(f"[{i}, 1]\n" for i in range(200, 1000)))
    process.stdin.flush()
    time.sleep(1)
    assert len(bridge.rows) < 1000
    bridge.answer = lambda o: [covers(o)]
    code, _, err = ended_with_eof(process)
    assert code == 0, err
    assert "the outbox is full" in err
    assert bridge.firsts() == [float(i) for i in range(1000)]


def ended_with_eof(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None
    return ended(process)


def test_tls_and_password_and_no_secret_in_the_log(tmp_path: Path, tls_files: TlsFiles, recording: Path) -> None:
    acl = "user d1\ntopic readwrite edge/v1/#\n"
    with start_mosquitto(tmp_path / "m", tls=tls_files, password=("d1", "hush-hush"), acl=acl) as broker:
        (tmp_path / "password").write_text("hush-hush\n")
        args = ("--speed", "0", "--username", "d1", "--ca", str(tls_files.ca), "--timeout", "1", "--log", "debug")
        url = broker.url
        code, out, err = ended(replay(tmp_path, recording, url, *args, "--password-file", "password"))
        assert code == 1  # nobody sends receipts
        assert "connected, mqtt5" in err
        assert "hush" not in out + err
        (tmp_path / "password").write_text("wrong\n")
        code, _, err = ended(replay(tmp_path, recording, url, *args, "--password-file", "password"))
        assert code == 1
        assert "the broker refused: Not authorized" in err
        code, _, err = ended(replay(tmp_path, recording, url, "--speed", "0", "--timeout", "1"))
        assert code == 1
        assert "certificate verify failed" in err


@pytest.mark.parametrize(
    ("name", "content", "args", "says"),
    [
        ("none.csv", None, (), "no such file"),
        ("a.txt", "x", (), "must end with .csv or .npz"),
        ("a.npz", "x", (), "not a readable npz"),
        ("a.csv", "1,2\n3,4\n", (), "needs a header"),
        ("a.csv", "a,b\n1,2\n3,x\n", (), "a.csv:3: column 'b': 'x' is no number"),
        ("a.csv", "a,b\n1\n", (), "a.csv:2: 1 cells, the header has 2"),
        ("a.csv", "a,b\n", (), "no rows"),
        ("a.csv", "a,b\n1,2\n", ("--columns", "c"), "no column 'c'; there are a, b"),
        ("a.csv", "a,b\n1,2\n", ("--url", "http://x"), "agent.url: must be mqtt://"),
        ("a.csv", "a,b\n1,2\n", ("--url", "mqtt://u:p@x"), "agent.url: must not hold credentials"),
        ("a.csv", "a,b\n1,2\n", ("--device", "a b"), "agent.device: 'a b' is no name"),
        ("a.csv", "a,b\n1,2\n", ("--ca", "/no/ca", "--url", "mqtts://x"), "ca /no/ca: "),
        ("a.csv", "a,b\n1,2\n", ("--rate", "0"), "rate: Expected `float` > 0"),
    ],
)
def test_what_cannot_be_used_exits_2_with_why(
    tmp_path: Path, name: str, content: str | None, args: tuple[str, ...], says: str
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_text(content)
    code, out, err = ended(replay(tmp_path, file, "mqtt://127.0.0.1:1", *args))
    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err


def test_a_twin_is_told(tmp_path: Path, recording: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # a broker that accepts us, and then another one for us
        process = replay(tmp_path, recording, f"mqtt://127.0.0.1:{server.getsockname()[1]}")
        with server.accept()[0] as broker:
            assert broker.recv(1000)[:1] == b"\x10"
            broker.sendall(b"\x20\x03\x00\x00\x00" + b"\xe0\x02\x8e\x00")  # CONNACK, DISCONNECT: taken over
            code, _, err = ended(process)
    assert code == 1
    assert "another client uses our client id" in err


def test_a_twin_with_a_lasting_session_is_suspected(tmp_path: Path, mosquitto: RunningBroker) -> None:
    processes = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        file = config(tmp_path / name, mosquitto.url, 'source = "stdin"\nrate = 50')
        processes.append(agent(tmp_path, "run", "--config", str(file), stdin=subprocess.PIPE))
    time.sleep(6)
    for process in processes:
        process.terminate()
    found = [ended(process) for process in processes]
    assert [code for code, _, _ in found] == [0, 0]
    assert any("does a second agent use client id agent-s-d1?" in err for _, _, err in found)


def test_resident_memory_stays_small(tmp_path: Path, mosquitto: RunningBroker, bridge: Bridge) -> None:
    values = np.zeros((200_000, 6), dtype=np.float32)
    np.savez(tmp_path / "b.npz", values=values, rate=50.0)
    process = replay(tmp_path, tmp_path / "b.npz", mosquitto.url, "--speed", "0", "--rows-per-message", "128")
    assert process.stdout is not None
    assert process.stderr is not None
    peak = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status")
        if not status.exists():
            pytest.skip("no /proc")
        words = status.read_text().split()
        peak = max(peak, int(words[words.index("VmHWM:") + 1]) if "VmHWM:" in words else 0)
        time.sleep(0.02)
    ended(process)
    assert process.returncode == 0
    assert peak < 60 * 1024
    assert len(bridge.rows) == 200_000
