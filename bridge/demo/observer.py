"""The independent subscriber: counts what devices publish and what Results come out."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from urllib.parse import urlsplit

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from bridge import topics
from bridge.errors import LinkError, Refused
from bridge.messages import Error, Result
from bridge.wire.answers import decode_answer, decode_status

BRIDGE_STATUS = f"{topics.ROOT}/_bridge/+/status"
BEFORE = 10.0  # seconds before the broker was lost of which it may have kept Results to itself
RECONNECT = 1  # seconds


class Seen(msgspec.Struct):
    """What came out for one device.

    Attributes:
        results: first final Result of each window, by recording and first row.
        at: seconds since 1970 at which each of them came.
        repeats: further Results for the same window.
        bytes_in: payload bytes of its data messages, as far as they cross the broker.
    """

    results: dict[tuple[str, int], Result] = msgspec.field(default_factory=dict)
    at: dict[tuple[str, int], float] = msgspec.field(default_factory=dict)
    repeats: int = 0
    bytes_in: int = 0


class Observer:
    """A paho client with its own MQTT 3.1.1 session.

    A broker that was restarted has forgotten what it had not handed out: the bridge is asked for its Results again.

    Attributes:
        errors: Errors of the bridge, counted by reason.
        counts: what the bridge itself counted, from its last status.
    """

    def __init__(self, url: str) -> None:
        """Connect and subscribe.

        Raises:
            LinkError: no answer within 10 s.
        """
        self._lock = threading.Lock()
        self._seen: dict[str, Seen] = {}
        self.errors: Counter[str] = Counter()
        self.counts: dict[str, int] = {}
        self._subscribed = threading.Event()
        self._heard = time.time()
        self._missed: float | None = None  # since when Results may be missing
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="observer", protocol=paho.MQTTv311)
        self._client.reconnect_delay_set(RECONNECT, RECONNECT)
        self._client.on_connect = lambda *_: self._connected()
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _client, _data, message: self._took(message)
        where = urlsplit(url)
        self._client.connect(where.hostname or "127.0.0.1", where.port or 1883)
        self._client.loop_start()
        if not self._subscribed.wait(10):
            raise LinkError("the observer could not subscribe")

    def seen(self, device: str) -> Seen:
        """A copy of what came out for a device."""
        with self._lock:
            found = self._seen.get(device, Seen())
            return Seen(dict(found.results), dict(found.at), found.repeats, found.bytes_in)

    def count(self, device: str) -> int:
        """Windows of a device that came out."""
        with self._lock:
            return len(self._seen[device].results) if device in self._seen else 0

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self) -> None:
        if self._subscribed.is_set():
            self._missed = self._heard - BEFORE
        self._client.subscribe(
            [(topics.RESULT_FILTER, 1), (topics.DATA_FILTER, 0), (f"{topics.ROOT}/+/+/error", 1), (BRIDGE_STATUS, 1)]
        )

    def _status(self, message: paho.MQTTMessage) -> None:
        status = decode_status(bytes(message.payload))
        self.counts = status.get("counts", self.counts)
        if self._missed is not None and status.get("online"):
            request = json.dumps({"since": self._missed})
            self._missed = None
            self._client.publish(message.topic.removesuffix("status") + "replay", request, qos=1)

    def _took(self, message: paho.MQTTMessage) -> None:
        data = topics.parse_data(message.topic)
        with self._lock:
            self._heard = time.time()
            if data is not None:
                self._seen.setdefault(data.device, Seen()).bytes_in += len(message.payload)
            elif message.topic.endswith("/status"):
                self._status(message)
            elif topics.parse_result(message.topic) is not None:
                self._result(bytes(message.payload))
            else:
                self.errors[decode_answer(bytes(message.payload), Error).reason] += 1

    def _result(self, payload: bytes) -> None:
        try:
            result = decode_answer(payload, Result)
        except Refused:
            self.errors["malformed result"] += 1
            return
        seen = self._seen.setdefault(result.device, Seen())
        window = (result.epoch.rsplit(".", 1)[-1], result.seq)  # an agent's epoch ends with the recording's name
        if result.provisional:
            return
        if window in seen.results:
            seen.repeats += 1
        else:
            seen.results[window] = result
            seen.at[window] = time.time()
