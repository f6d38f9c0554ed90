"""The independent subscriber: a plain paho client with a session of its own, QoS 1, that keeps what it hears."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge import topics
from tests.faults.campaign.evidence import Heard, Span
from tests.support.fleet import until

if TYPE_CHECKING:
    from tests.faults.campaign.plan import Plan

REPLIES = f"{topics.REPLY_ROOT}/campaign"
FILTERS = (
    topics.RESULT_FILTER, "edge/v1/+/+/error", "edge/v1/+/+/receipt/+", "edge/v1/+/+/status", REPLIES,
)  # fmt: skip


class Ear:
    """Hears everything at one broker, for as long as it takes.

    Attributes:
        session: counts the sessions: the broker forgot us in between.
        back: monotonic seconds of the latest confirmed subscription of a new session.
        online: whether they are there, as programs last said, by topic.
    """

    def __init__(self, port: int) -> None:
        self.session = 0
        self.back = 0.0
        self.online: dict[str, bool] = {}
        self._heard: dict[str, list[Heard]] = defaultdict(list)
        self._errors: dict[str, list[str]] = defaultdict(list)
        self._receipts: dict[tuple[str, str], list[Span]] = defaultdict(list)
        self._streams: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self._replies: dict[bytes, bytes] = {}
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "campaign", protocol=MQTTProtocolVersion.MQTTv5)
        self._client.reconnect_delay_set(0.1, 0.1)  # type: ignore[arg-type] # it takes parts of a second
        self._client.on_connect = self._connected
        self._client.on_disconnect = lambda *_: self._subscribed.clear()
        self._client.on_subscribe = self._confirmed
        self._client.on_message = self._hear
        self._port = port
        self._dial()
        self._client.loop_start()

    def __enter__(self) -> Self:
        until(self._subscribed.is_set, 10, "the subscriber could not subscribe")
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def heard(self, device: str) -> list[Heard]:
        """Results of a device so far, in order of arrival."""
        return list(self._heard[device])

    def errors(self, device: str) -> list[str]:
        """Errors of a device so far."""
        return list(self._errors[device])

    def receipts(self, device: str) -> dict[str, list[Span]]:
        """Ranges of rows receipted so far, by epoch."""
        return {epoch: list(rows) for (name, epoch), rows in list(self._receipts.items()) if name == device}

    def given_up(self, device: str, stream: str) -> dict[str, list[Span]]:
        """Rows that the agent says it gave up by a rule, by epoch, in what it last told."""
        parts = self._streams.get(device, {}).get(stream, [])
        return {part["epoch"]: [(one[0], one[1]) for one in part.get("dropped", [])] for part in parts}

    @property
    def subscribed(self) -> bool:
        """Whether it hears now."""
        return self._subscribed.is_set()

    def fence(self, timeout: float = 5.0) -> None:
        """Returns once all that the broker had taken before has been heard."""
        self.ask(REPLIES, b"", timeout)

    def ask(self, topic: str, payload: bytes, timeout: float) -> bytes | None:
        """Publishes with Response Topic and Correlation Data; the reply, None if there is none in time."""
        token = secrets.token_bytes(8)
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho's
        properties.ResponseTopic = REPLIES
        properties.CorrelationData = token
        deadline = time.monotonic() + timeout
        self._client.publish(topic, payload, 1, properties=properties)
        while token not in self._replies and time.monotonic() < deadline:
            time.sleep(0.005)
        return self._replies.pop(token, None)

    def ask_for_replay(self, bridge: str, plan: Plan, since: float) -> str:
        """What an operator does who was away; the bridge's reply, in words."""
        payload = json.dumps({"since": since, "device": plan.device}).encode()
        reply = self.ask(f"edge/v1/_bridge/{bridge}/replay", payload, 1.5)
        return "no reply" if reply is None else reply.decode(errors="replace")[:100]

    def _dial(self) -> None:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's
        properties.SessionExpiryInterval = 3_600
        self._client.connect("127.0.0.1", self._port, properties=properties, clean_start=False)

    def _connected(self, client: paho.Client, _data: object, flags: Any, *_: object) -> None:
        if flags.session_present:
            self._subscribed.set()
        else:
            self.session += 1
            self.online.clear()
            client.subscribe([(text, 1) for text in FILTERS])

    def _confirmed(self, *_: object) -> None:
        self.back = time.monotonic()
        self._subscribed.set()

    def _hear(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        if message.topic == REPLIES:
            self._replies[getattr(message.properties, "CorrelationData", b"")] = bytes(message.payload)
            return
        parts, said = message.topic.split("/"), json.loads(message.payload)
        if parts[-1] == "status":
            self.online[message.topic] = said["online"]
            self._streams[parts[3]] = said.get("streams", self._streams.get(parts[3], {}))
        elif parts[4] == "error":
            self._errors[parts[3]].append(json.dumps(said))
        elif parts[4] == "receipt":
            self._receipts[parts[3], said["epoch"]] += [(low, high) for low, high in said["safe"]]
        else:
            self._heard[parts[3]].append(_result(said, self.session))


def _result(said: dict[str, Any], session: int) -> Heard:
    names = ("id", "stream", "epoch", "seq", "lane", "label", "score", "tier", "provisional", "reason", "rev")
    return Heard(time.monotonic(), session, **{name: said[name] for name in names})
