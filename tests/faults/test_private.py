"""`kill -9` of the bridge: what a route calls private never leaves, though another of the same stream name has nothing
private. Whoever listens to all questions is the judge."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge import topics
from bridge.messages import Observation
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from bridge.wire.offload import Question, decode_asking
from tests.support.brokers import start_mosquitto
from tests.support.fleet import KEPT, MODEL, WINDOW, Listener, rows_of, until
from tests.support.programs import start_bridge
from tests.support.standin import StandInCloud

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.messages import Rows
    from tests.support.programs import RunningProgram

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]
GYRO = slice(3, 6)
ROUTE = f'[[routes]]\nmodel = "{MODEL}"\nbelow = 1.0\ndeadline = 8.0\n'
PUBLIC = f'{ROUTE}stream = "imu"\n'
PRIVATE = f'{ROUTE}device = "{{1}}"\nprivate = ["gyro_x", "gyro_y", "gyro_z"]\n'
MASK = 'private_rule = "mask"\n'


def config(url: str, *routes: str) -> str:
    return "\n".join(
        (f'[bridge]\nid = "gw-1"\n[mqtt]\nurl = "{url}"\n[coap]\nenabled = false\n[cloud]\nurl = "{url}"', *routes)
    )


class Watcher:
    """Hears every question that leaves, and sends as a device does.

    Attributes:
        left: what the questions showed of their windows, in order.
    """

    def __init__(self, url: str) -> None:
        self.left: list[Rows] = []
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "watcher", protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._hear
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        host, port = url.removeprefix("mqtt://").rsplit(":", 1)
        self._client.connect(host, int(port))
        self._client.subscribe("edge/v1/_escalate/#", 1)
        self._client.loop_start()
        assert self._subscribed.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _hear(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        questions, _ = decode_asking(bytes(message.payload))
        self.left += [one.values for one in questions if isinstance(one, Question)]

    def send(self, topic: str, values: Rows, seq: int, *, receipt: bool = False) -> None:
        properties = None
        if topics.parse_infer(topic) is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho has no types here
            properties.ResponseTopic = "edge/v1/_reply/asker"
        seen = Observation(values, seq=seq, epoch="e", receipt=receipt)
        self._client.publish(topic, encode_observation(seen, Format.CBOR), qos=1, properties=properties)

    def until_left(self, count: int, bridge: RunningProgram) -> list[Rows]:
        """The next so many windows that leave, the first ones taken off."""
        until(lambda: len(self.left) >= count, 10, lambda: f"{len(self.left)} left\n{bridge.stderr}")
        found, self.left = self.left, []
        return found


def control(watcher: Watcher, bridge: RunningProgram, topic: str) -> None:
    """Whatever left before this window of a public route was heard before it: it alone was."""
    values = rows_of(3, WINDOW)
    watcher.send(topic, values, 0)
    (seen,) = watcher.until_left(1, bridge)
    assert np.ptp(seen[:, GYRO], axis=0).min() > 0.1


def masked(values: Rows) -> bool:
    assert np.ptp(values[:, :3], axis=0).min() > 0.01, "nothing of the window left at all: the test tests nothing"
    return not np.ptp(values[:, GYRO], axis=0).any()


def safe(listener: Listener) -> set[int]:
    """Last rows of what was receipted."""
    return {last for _, receipt in listener.receipts for _, last in receipt["safe"]}


@pytest.mark.parametrize(
    ("windows", "stream", "topic"),
    [("whole", "{2}", "acme/d1/imu"), ("rows", "imu", "acme/d1/imu"), ("whole", "", f"edge/v1/_infer/{MODEL}")],
    ids=["whole", "rows", "infer"],
)
def test_an_open_question_is_asked_again_without_what_is_private(
    tmp_path: Path, windows: str, stream: str, topic: str
) -> None:
    form = f'windows = "{windows}"\n'
    hidden = f'{PRIVATE}{MASK}{form}filter = "acme/+/+"\nstream = "{stream or "{2}"}"\n'
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        StandInCloud(broker.url, lambda: "never"),
        Watcher(broker.url) as watcher,
        start_bridge(tmp_path, config(broker.url, PUBLIC + form, hidden)) as bridge,
    ):
        bridge.says("cloud agent gpu-1 serves")
        values = rows_of(1, 400)
        watcher.send(topic, values[:WINDOW], 0)
        assert all(map(masked, watcher.until_left(1, bridge)))
        bridge.kill()
        bridge.start()
        assert all(map(masked, watcher.until_left(1, bridge)))
        if windows == "rows":  # the rows of the journal are this window's first half
            watcher.send(topic, values[WINDOW : WINDOW + 64], WINDOW)
            assert all(map(masked, watcher.until_left(1, bridge)))
        control(watcher, bridge, "edge/v1/local/other/data/imu")


def test_a_question_whose_route_is_gone_is_not_asked_again(tmp_path: Path) -> None:
    hidden = f'{PRIVATE}{MASK}windows = "whole"\nstream = "imu"\n'
    public = f'{PUBLIC}windows = "whole"\n'
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        StandInCloud(broker.url, lambda: "never"),
        Watcher(broker.url) as watcher,
        start_bridge(tmp_path, config(broker.url, public, f'{hidden}filter = "acme/+/imu"\n')) as bridge,
        Listener(broker.url) as listener,
    ):
        bridge.says("cloud agent gpu-1 serves")
        watcher.send("acme/d1/imu", rows_of(1, WINDOW), 0)
        watcher.until_left(1, bridge)
        bridge.kill()
        (tmp_path / "bridge.toml").write_text(config(broker.url, public, f'{hidden}filter = "acme/+/moved"\n'))
        bridge.start()
        until(lambda: listener.results, 10, lambda: bridge.stderr)
        assert listener.results[0]["reason"].endswith("but private: gyro_x, gyro_y, gyro_z never leave")
        control(watcher, bridge, "edge/v1/local/other/data/imu")


def test_a_series_is_cut_on_by_its_own_route(tmp_path: Path) -> None:
    """Rows before and beyond a gap are journalled; the next process gives it up and cuts what follows."""
    hidden = f'{PRIVATE}filter = "acme/+/imu"\nstream = "imu"\n'
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        StandInCloud(broker.url, lambda: "never"),
        Watcher(broker.url) as watcher,
        start_bridge(tmp_path, config(broker.url, PUBLIC, hidden)) as bridge,
        Listener(broker.url) as listener,
    ):
        bridge.says("cloud agent gpu-1 serves")
        values = rows_of(1, 500)
        watcher.send("acme/d1/imu", values[:60], 0, receipt=True)
        watcher.send("acme/d1/imu", values[70:400], 70, receipt=True)
        until(lambda: {59, 399} <= safe(listener), 10, lambda: bridge.stderr)
        assert listener.results == []
        bridge.kill()
        (tmp_path / "bridge.toml").write_text(config(broker.url, PUBLIC, hidden, "[limits]\ngap_receipts = 0.1"))
        bridge.start()
        until(lambda: len(listener.results) == 3, 10, lambda: bridge.stderr)
        watcher.send("acme/d1/imu", values[400:470], 400)
        until(lambda: len(listener.results) == 4, 10, lambda: bridge.stderr)
        for result in listener.results:
            assert result["reason"].endswith("but private: gyro_x, gyro_y, gyro_z never leave")
        control(watcher, bridge, "edge/v1/local/other/data/imu")
