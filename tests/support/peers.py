"""What outsiders use to talk to a bridge: an MQTT client that remembers, and CoAP by the datagram. Both synchronous."""

# aiocoap ships no py.typed; only its message encoding is used here
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import paho.mqtt.client as paho
from aiocoap import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.types import ACK, CON, NON
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TIMEOUT = 10.0


def wait_for(true: Callable[[], object], what: str, timeout: float = TIMEOUT) -> None:
    """Returns once the condition holds; AssertionError if it does not in time."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(0.005)


class Received(NamedTuple):
    """A message as it came.

    Attributes:
        topic: its topic.
        payload: its bytes.
        retain: whether the broker had kept it.
        correlation: MQTT 5 Correlation Data, if any.
        at: monotonic seconds.
    """

    topic: str
    payload: bytes
    retain: bool
    correlation: bytes | None
    at: float

    @property
    def json(self) -> dict[str, Any]:
        value = json.loads(self.payload)
        assert isinstance(value, dict)
        return value


class Peer:
    """A connected MQTT client that keeps what it receives. As a context manager it leaves at the end."""

    def __init__(
        self, url: str, *filters: str, version: int = 5, user: tuple[str, str] | None = None, ca: str | None = None
    ) -> None:
        self.messages: list[Received] = []
        self._granted = threading.Event()
        protocol = MQTTProtocolVersion.MQTTv5 if version == 5 else MQTTProtocolVersion.MQTTv311
        self._five = version == 5
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, f"peer-{secrets.token_hex(4)}", protocol=protocol, transport="tcp"
        )
        if user is not None:
            self._client.username_pw_set(*user)
        if ca is not None:
            self._client.tls_set(ca)
        self._filters = filters
        self._client.on_connect = self._connected
        self._client.on_subscribe = lambda *_: self._granted.set()
        self._client.on_message = self._keep
        host, port = url.partition("://")[2].rsplit(":", 1)
        self._client.connect(host, int(port))
        self._client.loop_start()
        assert self._granted.wait(TIMEOUT), f"{url} did not confirm {filters}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes | str, *, qos: int = 1, **properties: Any) -> None:
        """Publishes; with QoS 1 returns once the broker has it. Properties by paho's names, for MQTT 5."""
        with_these = None
        if properties:
            assert self._five, "properties need MQTT 5"
            with_these = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it so
            for name, value in properties.items():
                setattr(with_these, name, value)
        self._client.publish(topic, payload, qos, properties=with_these).wait_for_publish(TIMEOUT)

    def received(self, topic: str) -> list[Received]:
        """Everything that came on that topic so far."""
        return [message for message in list(self.messages) if message.topic == topic]

    def expect(self, topic: str, count: int = 1, timeout: float = TIMEOUT) -> list[Received]:
        """The messages of a topic, once there are so many."""
        wait_for(lambda: len(self.received(topic)) >= count, f"{count} messages on {topic}", timeout)
        return self.received(topic)

    def _connected(self, client: paho.Client, *_: object) -> None:
        if self._filters:
            client.subscribe([(text, 1) for text in self._filters])
        else:
            self._granted.set()

    def _keep(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        correlation = getattr(message.properties, "CorrelationData", None) if self._five else None
        self.messages.append(
            Received(message.topic, bytes(message.payload), message.retain, correlation, time.monotonic())
        )


class Answer(NamedTuple):
    """A CoAP answer.

    Attributes:
        code: as "2.05".
        payload: its bytes.
        message: all of it.
    """

    code: str
    payload: bytes
    message: Any


class Coap:
    """A CoAP client made of a UDP socket: it sends what well-behaved libraries would not."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("coap://").rsplit(":", 1)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((host, int(port)))
        self._mid = secrets.randbelow(65_536)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def post(self, path: str, payload: bytes, *, query: Sequence[str] = (), block: int = 6, **options: Any) -> Answer:
        """POSTs a body, block-wise if it is longer than a block of 16 << `block` bytes."""
        size = 16 << block
        if len(payload) <= size:
            return self.request("POST", path, payload, query=query, **options)
        parts = range(0, len(payload), size)
        for number, at in enumerate(parts):
            more = at + size < len(payload)
            answer = self.request(
                "POST", path, payload[at : at + size], query=query, block1=(number, more, block), **options
            )
            if answer.code != "2.31":
                return answer
        raise AssertionError("the last block was answered by 2.31 Continue")

    def request(
        self,
        method: str,
        path: str,
        payload: bytes = b"",
        *,
        query: Sequence[str] = (),
        timeout: float = TIMEOUT,
        **options: Any,
    ) -> Answer:
        """One confirmable request, and its answer."""
        token = secrets.token_bytes(4)
        self._mid = (self._mid + 1) % 65_536
        message = Message(
            code=getattr(Code, method),
            _mtype=CON,
            _mid=self._mid,
            _token=token,
            payload=payload,
            uri_path=path.split("/"),
            uri_query=query,
            **options,
        )
        self._socket.send(message.encode())
        return self.next(token, timeout)

    def next(self, token: bytes | None = None, timeout: float = TIMEOUT) -> Answer:
        """The next answer or notification; confirmable ones are acknowledged."""
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            assert left > 0, f"no CoAP answer within {timeout:g} s"
            self._socket.settimeout(left)
            try:
                message = Message.decode(self._socket.recv(65_536))
            except TimeoutError:
                continue
            if message.mtype is CON:
                self._socket.send(Message(code=Code.EMPTY, _mtype=ACK, _mid=message.mid, _token=b"").encode())
            if message.code is Code.EMPTY or (token is not None and message.token != token):
                continue
            assert message.mtype in (CON, NON, ACK)
            return Answer(message.code.dotted, bytes(message.payload), message)
