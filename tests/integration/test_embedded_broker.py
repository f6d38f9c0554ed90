"""The embedded broker as the bridge runs it: both protocols, its watchdog, its end, and what it survives."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from bridge.errors import ConfigError, LocalProtocolError
from bridge.mqtt import embedded, rumqttd
from bridge.mqtt.embedded import EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytest.importorskip("iotcore")

MAX_PAYLOAD = 1 << 20
TOPIC = "edge/v1/plant/wrist-8/data/wrist"


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[EmbeddedBroker]:
    broker = EmbeddedBroker(port=0, port5=0, directory=tmp_path, max_payload=MAX_PAYLOAD)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


async def until(true: Callable[[], object], timeout: float = 10) -> None:  # noqa: ASYNC109 - how long a test waits
    async with asyncio.timeout(timeout):
        while not true():  # noqa: ASYNC110 - what is awaited happens in threads and other processes
            await asyncio.sleep(0.01)


class Client:
    """A connected paho client that keeps what it receives and counts its connections' ends."""

    def __init__(self, url: str, version: MQTTProtocolVersion, name: str) -> None:
        self.received: list[bytes] = []
        self.subscribed = 0
        self.lost = 0
        self.paho = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=version)
        self.paho.on_message = lambda _c, _u, message: self.received.append(bytes(message.payload))
        self.paho.on_connect = lambda client, *_: client.subscribe(TOPIC, 1)
        self.paho.on_subscribe = self._count_subscribed
        self.paho.on_disconnect = self._count_lost
        self.paho.reconnect_delay_set(1, 1)
        host, port = url.removeprefix("mqtt://").rsplit(":", 1)
        self.paho.connect(host, int(port))

    def _count_subscribed(self, *_: object) -> None:
        self.subscribed += 1

    def _count_lost(self, *_: object) -> None:
        self.lost += 1

    def publish(self, payload: bytes) -> None:
        self.paho.publish(TOPIC, payload, qos=1)


@contextmanager
def client(url: str, version: MQTTProtocolVersion, name: str) -> Iterator[Client]:
    it = Client(url, version, name)
    it.paho.loop_start()
    try:
        yield it
    finally:
        it.paho.disconnect()
        it.paho.loop_stop()


async def test_both_protocols_pass_messages_to_each_other(broker: EmbeddedBroker) -> None:
    with (
        client(broker.url, MQTTProtocolVersion.MQTTv311, "old") as old,
        client(broker.url5, MQTTProtocolVersion.MQTTv5, "new") as new,
    ):
        await until(lambda: old.subscribed and new.subscribed)
        old.publish(b"from 3.1.1")
        new.publish(b"from 5")
        await until(lambda: len(old.received) == len(new.received) == 2)
        assert set(old.received) == set(new.received) == {b"from 3.1.1", b"from 5"}


async def test_a_killed_child_is_replaced_and_told(tmp_path: Path) -> None:
    told: list[str] = []
    broker = EmbeddedBroker(port=0, port5=0, directory=tmp_path, max_payload=MAX_PAYLOAD, on_restart=told.append)
    await broker.start()
    try:
        first, urls = broker.pid, (broker.url, broker.url5)
        assert first is not None
        with client(broker.url5, MQTTProtocolVersion.MQTTv5, "survivor") as survivor:
            await until(lambda: survivor.subscribed == 1)
            os.kill(first, signal.SIGKILL)
            await until(lambda: told)
            assert "-9" in told[0]
            assert broker.pid != first
            assert (broker.url, broker.url5) == urls
            await until(lambda: survivor.subscribed == 2)
            survivor.publish(b"again")
            await until(lambda: survivor.received == [b"again"])
    finally:
        await broker.stop()


async def test_a_child_that_hangs_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "PROBE_INTERVAL", 0.1)
    monkeypatch.setattr(embedded, "PROBE_TIMEOUT", 0.3)
    told: list[str] = []
    broker = EmbeddedBroker(port=0, port5=0, directory=tmp_path, max_payload=MAX_PAYLOAD, on_restart=told.append)
    await broker.start()
    try:
        first = broker.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)  # its kernel still accepts connections: only a CONNACK tells
        await until(lambda: told)
        assert "no CONNACK 2 times" in told[0]
        assert broker.pid != first
    finally:
        await broker.stop()


async def test_a_port_in_use_is_told_with_the_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        broker = EmbeddedBroker(port=0, port5=port, directory=tmp_path, max_payload=MAX_PAYLOAD)
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}.*in use.*\[mqtt\] url"):
            await broker.start()
        await broker.stop()
    assert broker.pid is None


@pytest.mark.parametrize(("host", "port"), [("no such host", 0), ("192.0.2.1", 0), ("127.0.0.1", 21999)])
async def test_an_address_that_cannot_be_used_is_a_config_error(tmp_path: Path, host: str, port: int) -> None:
    broker = EmbeddedBroker(host=host, port=port, port5=port, directory=tmp_path, max_payload=MAX_PAYLOAD)
    with pytest.raises(ConfigError, match="embedded broker"):
        await broker.start()


async def test_without_iotcore_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    broker = EmbeddedBroker(port=0, port5=0, directory=tmp_path, max_payload=MAX_PAYLOAD)
    with pytest.raises(ConfigError, match=r"\[embedded\].*\[mqtt\] url"):
        await broker.start()


async def test_a_second_start_is_our_bug_and_a_second_stop_is_none(broker: EmbeddedBroker) -> None:
    with pytest.raises(LocalProtocolError):
        await broker.start()
    await broker.stop()
    await broker.stop()
    assert broker.pid is None


async def test_it_runs_in_its_own_session_and_is_silent(tmp_path: Path, broker: EmbeddedBroker) -> None:
    assert broker.pid is not None
    assert os.getsid(broker.pid) == os.getpgid(broker.pid) == broker.pid
    with client(broker.url5, MQTTProtocolVersion.MQTTv5, "talker") as talker:
        await until(lambda: talker.subscribed)
        talker.publish(b"x")
        await until(lambda: talker.received)
    assert (tmp_path / rumqttd.LOG_NAME).read_bytes() == b""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/net/tcp")
async def test_it_opens_no_port_but_its_two(broker: EmbeddedBroker) -> None:
    assert broker.pid is not None
    assert _listening(broker.pid) == {int(url.rsplit(":", 1)[1]) for url in (broker.url, broker.url5)}


@pytest.mark.parametrize("version", [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5])
async def test_an_oversize_payload_costs_only_its_sender(broker: EmbeddedBroker, version: MQTTProtocolVersion) -> None:
    old = version == MQTTProtocolVersion.MQTTv311
    with (
        client(broker.url5, MQTTProtocolVersion.MQTTv5, "bystander") as bystander,
        client(broker.url if old else broker.url5, version, "glutton") as glutton,
    ):
        await until(lambda: bystander.subscribed and glutton.subscribed)
        first = broker.pid
        bystander.publish(b"m" * MAX_PAYLOAD)  # the greatest that must pass
        await until(lambda: bystander.received)
        glutton.paho.publish(TOPIC, b"g" * 10_000_000, qos=0)
        await until(lambda: glutton.lost)
        bystander.publish(b"still here")
        await until(lambda: len(bystander.received) == 2)
        assert [len(payload) for payload in bystander.received] == [MAX_PAYLOAD, len(b"still here")]
        assert bystander.lost == 0
        assert broker.pid == first


async def test_a_burst_is_not_slowed_by_nagle(broker: EmbeddedBroker) -> None:
    """Ten publishes at once: without TCP_NODELAY at the broker the last PUBACK comes 40 ms after the first."""
    host, port = broker.url5.removeprefix("mqtt://").rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    topic = TOPIC.encode()
    body = len(topic).to_bytes(2, "big") + topic + b"\x00\x07\x00" + b"x" * 50
    loop = asyncio.get_running_loop()
    try:
        writer.write(rumqttd.CONNECT5.replace(b"_health5", b"_burster"))
        head = await reader.readexactly(2)
        await reader.readexactly(head[1])
        took = []
        for _ in range(21):
            begun = loop.time()
            writer.write((b"\x32" + bytes([len(body)]) + body) * 50)
            await reader.readexactly(50 * 4)
            took.append(loop.time() - begun)
        assert sorted(took)[10] < 0.03
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_the_child_dies_with_a_killed_parent(tmp_path: Path) -> None:
    script = f"""
        import asyncio
        from pathlib import Path
        from bridge.mqtt.embedded import EmbeddedBroker

        async def main():
            broker = EmbeddedBroker(port=0, port5=0, directory=Path({str(tmp_path)!r}), max_payload={MAX_PAYLOAD})
            await broker.start()
            print(broker.pid, flush=True)
            await asyncio.Event().wait()

        asyncio.run(main())
    """
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(script), stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        assert parent.stdout is not None
        child = int(await parent.stdout.readline())
        assert _alive(child)
    finally:
        parent.kill()
        await parent.wait()
    await until(lambda: not _alive(child), timeout=5)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _listening(pid: int) -> set[int]:
    sockets = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {name.removeprefix("socket:[").removesuffix("]") for name in sockets if name.startswith("socket:")}
    tables = [Path(f"/proc/net/{table}").read_text() for table in ("tcp", "tcp6")]
    rows = [row.split() for table in tables for row in table.splitlines()[1:]]
    return {int(row[1].rsplit(":", 1)[1], 16) for row in rows if row[3] == "0A" and row[9] in inodes}
