"""The embedded broker as the bridge runs it: both protocols, its watchdog, its end, and what it survives."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from bridge.errors import ConfigError, LocalProtocolError
from bridge.mqtt import embedded, rumqttd
from bridge.mqtt.embedded import EmbeddedBroker
from tests.support.paho_client import client, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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


async def test_both_protocols_pass_messages_to_each_other(broker: EmbeddedBroker) -> None:
    with (
        client(TOPIC, broker.url, MQTTProtocolVersion.MQTTv311, "old") as old,
        client(TOPIC, broker.url5, MQTTProtocolVersion.MQTTv5, "new") as new,
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
        with client(TOPIC, broker.url5, MQTTProtocolVersion.MQTTv5, "survivor") as survivor:
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
    with client(TOPIC, broker.url5, MQTTProtocolVersion.MQTTv5, "talker") as talker:
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
        client(TOPIC, broker.url5, MQTTProtocolVersion.MQTTv5, "bystander") as bystander,
        client(TOPIC, broker.url if old else broker.url5, version, "glutton") as glutton,
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


async def test_a_client_that_makes_rumqttd_panic_is_survived(broker: EmbeddedBroker) -> None:
    host, port = broker.url5.removeprefix("mqtt://").rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(rumqttd.probe(5, "client") + b"\x20\x03\x00\x00\x00")  # a CONNACK, from a client
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    assert await rumqttd.answers(host, int(port), 5, "other", 1)


@pytest.mark.parametrize("version", [4, 5])
async def test_a_listener_that_refuses_everybody_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """Twice CONNECT and away before the CONNACK, under one id: the listener is dead though its port accepts."""
    monkeypatch.setattr(embedded, "PROBE_INTERVAL", 0.1)
    told: list[str] = []
    broker = EmbeddedBroker(port=0, port5=0, directory=tmp_path, max_payload=MAX_PAYLOAD, on_restart=told.append)
    await broker.start()
    try:
        port, first = int((broker.url if version == 4 else broker.url5).rsplit(":", 1)[1]), broker.pid
        connect = rumqttd.probe(version, "client")
        async with asyncio.timeout(10):
            while not told:
                if broker.pid == first:  # its successor is left in peace
                    _come_and_go(port, connect)
                await asyncio.sleep(0.01)
        assert "no CONNACK 2 times" in told[0]
        assert await rumqttd.answers("127.0.0.1", port, version, "other", 1)
    finally:
        await broker.stop()


def _come_and_go(port: int, connect: bytes) -> None:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with RST
        sock.sendall(connect)


async def test_a_burst_is_not_slowed_by_nagle(broker: EmbeddedBroker) -> None:
    """Ten publishes at once: without TCP_NODELAY at the broker the last PUBACK comes 40 ms after the first."""
    host, port = broker.url5.removeprefix("mqtt://").rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    topic = TOPIC.encode()
    body = len(topic).to_bytes(2, "big") + topic + b"\x00\x07\x00" + b"x" * 50
    loop = asyncio.get_running_loop()
    try:
        writer.write(rumqttd.probe(5, "client"))
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
    sockets = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the watchdog's connections come and go
            sockets.append(str(link.readlink()))
    inodes = {name.removeprefix("socket:[").removesuffix("]") for name in sockets if name.startswith("socket:")}
    tables = [Path(f"/proc/net/{table}").read_text() for table in ("tcp", "tcp6")]
    rows = [row.split() for table in tables for row in table.splitlines()[1:]]
    return {int(row[1].rsplit(":", 1)[1], 16) for row in rows if row[3] == "0A" and row[9] in inodes}
