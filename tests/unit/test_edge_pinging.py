"""The MQTT client's own keep-alive: only where nothing else is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.pinging import PingingClient

if TYPE_CHECKING:
    from collections.abc import Iterator

KEEP_ALIVE = 30


class Socket:
    """Takes what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def send(self, data: bytes) -> int:
        self.written.append(bytes(data))
        return len(data)

    def close(self) -> None:
        pass


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[PingingClient]:
    made = PingingClient(CallbackAPIVersion.VERSION2, "x", protocol=paho.MQTTv5)
    made._sock = cast("paho.SocketLike", Socket())
    made._state = paho._ConnectionState.MQTT_CS_CONNECTED  # type: ignore[attr-defined] # paho keeps it to itself
    made._keepalive = KEEP_ALIVE
    now = [1_000.0]  # seconds that add up without rounding
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("paho.mqtt.client.time_func", lambda: now[0])
    made._last_bytes_received = made._last_msg_out = now[0]
    made.user_data_set(now)
    yield made
    made._sock = None
    made.release()


def after(client: PingingClient, seconds: float) -> list[bytes]:
    """PINGREQs that leave in this time, looked at each second."""
    for _ in range(round(seconds)):
        client.user_data_get()[0] += 1.0
        client._check_keepalive()
        client._last_bytes_received = client.user_data_get()[0]  # the broker answers
        client._ping_t = 0.0
    return [one for one in cast("Socket", client._sock).written if one == b"\xc0\x00"]


def test_an_idle_connection_is_asked_about_each_keep_alive(client: PingingClient) -> None:
    assert len(after(client, 3 * KEEP_ALIVE)) == 3


def test_what_is_sent_puts_the_question_off(client: PingingClient) -> None:
    for _ in range(10):
        client.publish("t", b"x")
        assert after(client, KEEP_ALIVE - 1) == []
    assert len(after(client, 1)) == 1, "nothing else was sent for as long"


def test_whoever_asks_is_told_of(client: PingingClient) -> None:
    told = []
    client.on_ping = lambda: told.append(1)
    client.ping()
    after(client, KEEP_ALIVE)
    assert len(told) == 2
