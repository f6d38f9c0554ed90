"""The shipped Mosquitto files, run as they are (only ports and paths replaced), allow what they say and no more."""

from __future__ import annotations

import os
import socket
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.support.brokers import HOST, RunningBroker, TlsFiles, free_port, make_passwords, run_mosquitto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

pytestmark = pytest.mark.real

SHIPPED = Path(__file__).parents[2] / "config" / "mosquitto"
USERS = ("gw-1", "gpu-1", "operator", "wrist-8", "wrist-9")
NOT_AUTHORIZED = 0x87


def install(directory: Path, tls: TlsFiles | None = None) -> tuple[Path, int]:
    """The shipped files with this test's ports and paths; returns mosquitto.conf and the port to use."""
    directory.mkdir()
    port, tls_port = free_port(), free_port()
    replaced = {
        "listener 1883 127.0.0.1": f"listener {port} {HOST}",
        "listener 8883": f"listener {tls_port} {HOST}",
        "persistence_location /var/lib/mosquitto/": f"persistence_location {directory}/",
        "/etc/mosquitto/certs/server.pem": str(tls.cert) if tls else "",
        "/etc/mosquitto/certs/server.key": str(tls.key) if tls else "",
        "/etc/mosquitto/": f"{directory}/",
    }
    if tls is not None:
        replaced["#include_dir"] = "include_dir"
    (directory / "conf.d").mkdir()
    for source, target in (("mosquitto.conf", "."), ("acl.conf", "."), ("tls.conf", "conf.d")):
        text = (SHIPPED / source).read_text()
        for old, new in replaced.items():
            text = text.replace(old, new)
        (directory / target / source).write_text(text)
    make_passwords(directory / "passwords", *((user, f"secret of {user}") for user in USERS))
    config = directory / "mosquitto.conf"
    if os.geteuid() == 0:
        config.write_text(f"{config.read_text()}\nuser root\n")
    return config, port if tls is None else tls_port


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    config, port = install(tmp_path_factory.mktemp("shipped") / "etc")
    with run_mosquitto(config, port=port) as broker:
        yield broker


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, tls_files: TlsFiles) -> Iterator[RunningBroker]:
    config, port = install(tmp_path_factory.mktemp("shipped-tls") / "etc", tls_files)
    with run_mosquitto(config, port=port, tls=tls_files) as broker:
        yield broker


class Client:
    """An MQTT 5 client that keeps its CONNACK, PUBACK codes and messages."""

    def __init__(
        self, broker: RunningBroker, user: str | None, password: str | None = None, ca: Path | None = None
    ) -> None:
        self.connack: int | None = None
        self.properties: Properties | None = None
        self.pubacks: dict[int, int] = {}
        self.granted = 0
        self.topics: list[str] = []
        self.paho = paho.Client(CallbackAPIVersion.VERSION2, f"test-{user}", protocol=MQTTProtocolVersion.MQTTv5)
        self.paho.on_connect = self._on_connect
        self.paho.on_publish = self._on_publish
        self.paho.on_subscribe = self._on_subscribe
        self.paho.on_message = lambda _c, _u, message: self.topics.append(message.topic)
        if user is not None:
            self.paho.username_pw_set(user, f"secret of {user}" if password is None else password)
        if ca is not None:
            self.paho.tls_set_context(ssl.create_default_context(cafile=ca))
        self._port = broker.port

    def __enter__(self) -> Self:
        self.paho.connect(HOST, self._port)
        self.wait(lambda: self.connack is not None)
        return self

    def __exit__(self, *exc: object) -> None:
        self.paho.disconnect()
        self.paho.loop(0.01)

    def wait(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 5
        while not true():
            assert time.monotonic() < deadline, "the broker did not answer"
            assert self.paho.loop(0.05) == MQTTErrorCode.MQTT_ERR_SUCCESS or true()

    def publish(self, topic: str, *, retain: bool = False) -> int:
        """Publishes at QoS 1; the PUBACK's reason code."""
        mid = self.paho.publish(topic, b"{}", qos=1, retain=retain).mid
        self.wait(lambda: mid in self.pubacks)
        return self.pubacks[mid]

    def subscribe(self, *filters: str) -> None:
        self.paho.subscribe([(each, SubscribeOptions(qos=1)) for each in filters])
        self.wait(lambda: self.granted > 0)

    def _on_connect(self, _c: object, _u: object, _f: object, code: ReasonCode, properties: Properties | None) -> None:
        self.connack, self.properties = code.value, properties

    def _on_publish(self, _c: object, _u: object, mid: int, code: ReasonCode, _p: object) -> None:
        self.pubacks[mid] = code.value

    def _on_subscribe(self, *_: object) -> None:
        self.granted += 1


# Topics below edge/v1/, by who publishes them.
ALLOWED = {
    "wrist-8": "plant/wrist-8/data/wrist plant/wrist-8/status",
    "gw-1": (
        "plant/wrist-8/result/activity plant/wrist-8/receipt/wrist plant/wrist-8/error "
        "_bridge/gw-1/status _escalate/activity _escalate/activity/gpu-1 _reply/operator/1"
    ),
    "gpu-1": "_reply/gw-1/cloud _cloud/gpu-1/status",
    "operator": "_bridge/gw-1/replay _infer/activity",
}
# `_bridge/wrist-8` and its like: the + of a device's own patterns would reach them, but for the ACL's `deny` lines.
FORBIDDEN = {
    "wrist-8": (
        "plant/wrist-9/data/wrist plant/wrist-9/status plant/wrist-8/receipt/wrist "
        "plant/wrist-8/result/activity plant/wrist-8/error _bridge/gw-1/status _bridge/wrist-8/status "
        "_cloud/wrist-8/status _reply/wrist-8/data/x _reply/gw-1/cloud _escalate/activity _escalate/activity/gpu-1 "
        "_infer/activity _bridge/gw-1/replay anything/else"
    ),
    "gpu-1": "plant/wrist-8/result/activity plant/wrist-8/receipt/wrist _bridge/gw-1/status",
    "operator": (
        "plant/wrist-8/result/activity plant/wrist-8/data/wrist plant/wrist-8/receipt/wrist _bridge/gw-1/status"
    ),
    "gw-1": "plant/wrist-8/data/wrist",
}


def _each(table: dict[str, str]) -> list[tuple[str, str]]:
    return [(user, f"edge/v1/{topic}") for user, topics in table.items() for topic in topics.split()]


@pytest.mark.parametrize(("user", "topic"), _each(ALLOWED))
def test_may_write(plain: RunningBroker, user: str, topic: str) -> None:
    with Client(plain, user) as client:
        assert client.publish(topic) < 0x80


@pytest.mark.parametrize(("user", "topic"), _each(FORBIDDEN))
def test_may_not_write(plain: RunningBroker, user: str, topic: str) -> None:
    with Client(plain, user) as client:
        assert client.publish(topic) == NOT_AUTHORIZED


# Who publishes, to which topics, who subscribes to all of it with which filter, and which topics arrive. The last topic
# published always arrives, so that the others are known to have been withheld and not merely late.
READS = [
    ("gw-1", "plant/wrist-8/result/a plant/wrist-9/receipt/w plant/wrist-8/receipt/w", "wrist-8", "edge/v1/#", [2]),
    (
        "gw-1",
        "_escalate/a plant/wrist-8/receipt/w plant/wrist-8/error plant/w/result/a",
        "operator",
        "edge/v1/#",
        [2, 3],
    ),
    ("gw-1", "plant/w/result/a _reply/operator/1", "operator", "edge/v1/#", [0, 1]),
    ("gw-1", "plant/w/result/a _escalate/a", "gpu-1", "edge/v1/#", [1]),
    ("gw-1", "_escalate/a", "gpu-1", "$share/gpus/edge/v1/_escalate/+", [0]),
    ("gw-1", "_escalate/a/gpu-2 _escalate/a/gpu-1", "gpu-1", "edge/v1/#", [1]),
    ("wrist-8", "plant/wrist-8/status plant/wrist-8/data/w", "gw-1", "edge/v1/#", [0, 1]),
    ("wrist-8", "plant/wrist-8/data/w plant/wrist-8/status", "operator", "edge/v1/#", [1]),
    ("gpu-1", "_cloud/gpu-1/status _reply/gw-1/cloud", "gw-1", "edge/v1/#", [0, 1]),
    ("operator", "_bridge/gw-2/replay _bridge/gw-1/replay _infer/a", "gw-1", "edge/v1/#", [1, 2]),
]


@pytest.mark.parametrize(("writer", "topics", "reader", "pattern", "arrive"), READS)
def test_reads_only_what_is_its_own(
    plain: RunningBroker, writer: str, topics: str, reader: str, pattern: str, arrive: list[int]
) -> None:
    with Client(plain, reader) as reading, Client(plain, writer) as writing:
        reading.subscribe(pattern)
        full = [f"edge/v1/{topic}" for topic in topics.split()]
        for topic in full:
            assert writing.publish(topic) < 0x80
        reading.wait(lambda: full[-1] in reading.topics)
        assert reading.topics == [full[index] for index in arrive]


def test_a_cloud_agent_sees_what_is_said_in_its_name(plain: RunningBroker) -> None:
    own = "edge/v1/_cloud/gpu-1/status"
    with Client(plain, "gpu-1") as agent:
        agent.subscribe(own)
        assert agent.publish(own) < 0x80
        agent.wait(lambda: agent.topics == [own])


def test_only_a_bridge_can_make_an_agent_forget(plain: RunningBroker) -> None:
    """A receipt by anybody else is refused and does not arrive; that it is not merely late, the bridge's own shows."""
    receipts = "edge/v1/plant/wrist-8/receipt/wrist"
    with Client(plain, "wrist-8") as agent:
        agent.subscribe("edge/v1/+/wrist-8/receipt/+")
        for foreign in ("wrist-9", "operator", "gpu-1"):
            with Client(plain, foreign) as client:
                assert client.publish(receipts) == NOT_AUTHORIZED
        assert agent.publish(receipts) == NOT_AUTHORIZED
        with Client(plain, "gw-1") as bridge:
            assert bridge.publish(receipts) < 0x80
        agent.wait(lambda: agent.topics == [receipts])


def test_the_window_is_wide(plain: RunningBroker) -> None:
    with Client(plain, "gw-1") as client:
        assert client.properties is not None
        told = client.properties.json()  # type: ignore[no-untyped-call] # paho ships it without types
        assert (told["ReceiveMaximum"], told["MaximumPacketSize"]) == (200, 4194304)


@pytest.mark.parametrize(("user", "password"), [("wrist-8", "wrong"), ("nobody", "x"), (None, None)])
@pytest.mark.parametrize("listener", ["plain", "secured"])
def test_a_stranger_is_refused(
    request: pytest.FixtureRequest, tls_files: TlsFiles, listener: str, user: str | None, password: str | None
) -> None:
    ca = tls_files.ca if listener == "secured" else None
    with Client(request.getfixturevalue(listener), user, password, ca) as client:
        assert client.connack == NOT_AUTHORIZED


def test_tls_with_a_password(secured: RunningBroker, tls_files: TlsFiles) -> None:
    with Client(secured, "wrist-8", ca=tls_files.ca) as client:
        assert client.publish("edge/v1/plant/wrist-8/data/wrist") < 0x80
        assert client.publish("edge/v1/plant/wrist-9/data/wrist") == NOT_AUTHORIZED


def test_tls_from_another_authority_is_not_trusted(secured: RunningBroker, tmp_path: Path) -> None:
    other = ssl.create_default_context(cafile=TlsFiles.make(tmp_path / "other").ca)
    with (
        socket.create_connection((HOST, secured.port)) as sock,
        pytest.raises(ssl.SSLCertVerificationError),
        other.wrap_socket(sock, server_hostname=HOST),
    ):
        pass


def test_a_retained_status_survives_a_restart(tmp_path: Path) -> None:
    config, port = install(tmp_path / "etc")
    with run_mosquitto(config, port=port) as broker:
        with Client(broker, "wrist-8") as device:
            assert device.publish("edge/v1/plant/wrist-8/status", retain=True) < 0x80
        broker.stop()
        broker.start()
        with Client(broker, "operator") as operator:
            operator.subscribe("edge/v1/+/+/status")
            operator.wait(lambda: operator.topics == ["edge/v1/plant/wrist-8/status"])
