"""A stand-in for the cloud agent that behaves as badly as a test wants, and a tap on the wire of an MQTT 5 client."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from bridge import topics
from bridge.errors import RemoteProtocolError
from bridge.mqtt import codec
from bridge.mqtt.messages import Delivery
from bridge.wire.offload import Question, Reply, decode_asking, encode_reply
from tests.support.fleet import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

Deed = Literal["answer", "twice", "late", "never", "refuse", "garbage"]
LABELS = ("pendulum", "abduction", "forward_elevation", "internal_rotation", "external_rotation", "bent_over_row")


class StandInCloud:
    """Answers questions; each answer has another label, so that a window answered by two of them gives itself away.

    Attributes:
        given: labels given, by window.
        asked: how often each window was asked about.
        messages: topic and payload of everything it got.
        questions: questions that it could read, in the order in which they came.
        cancelled: ids that it was told to forget.
        deed: what it does with the next question.
        delay: seconds that a late answer takes.
        lies: fields of its answers that are others than they should be.
    """

    def __init__(
        self,
        url: str,
        deed: Callable[[], Deed] = lambda: "answer",
        *,
        name: str = "gpu-1",
        delay: float = 1.0,
        direct: bool = False,
        model: str = MODEL,
    ) -> None:
        self.given: dict[str, list[str]] = defaultdict(list)
        self.asked: dict[str, int] = defaultdict(int)
        self.messages: list[tuple[str, bytes]] = []
        self.questions: list[Question] = []
        self.cancelled: list[str] = []
        self.name = name
        self.deed = deed
        self.delay = delay
        self.lies: dict[str, Any] = {}
        self._direct = direct
        self._model = model
        self._count = 0
        self._ready = threading.Event()
        self._status = topics.cloud_status(name)
        self._late: list[threading.Timer] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"cloud-{name}", protocol=MQTTProtocolVersion.MQTTv5)
        self._client.will_set(self._status, json.dumps({"online": False, "t": 0.0}), qos=1, retain=True)
        self._client.on_connect = self._connected
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._question
        self._client.reconnect_delay_set(1, 1)
        host, port = url.removeprefix("mqtt://").rsplit(":", 1)
        self._client.connect(host, int(port))
        self._client.loop_start()
        assert self._ready.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Say goodbye, as an agent that stops."""
        for timer in self._late:
            timer.cancel()
        self._client.publish(self._status, json.dumps({"online": False, "t": time.time()}), qos=1, retain=True)
        self._client.disconnect()
        self._client.loop_stop()

    def die(self) -> None:
        """Vanish: the broker publishes the will."""
        sock = self._client.socket()
        self._client.on_connect = None
        self._client.on_subscribe = None
        self._client.loop_stop()
        if sock is not None:
            sock.close()

    def _connected(self, client: paho.Client, *_: object) -> None:
        shared = f"$share/cloud-agents/{topics.ESCALATE_FILTER}"
        client.subscribe([(shared, 1), (topics.escalate_filter(self.name), 1)] if self._direct else [(shared, 1)])

    def _subscribed(self, client: paho.Client, *_: object) -> None:
        facts = {"models": {self._model: "1.0.0"}, "engine": "stand-in", "direct": self._direct}
        status = {"online": True, "t": time.time(), **facts}
        client.publish(self._status, json.dumps(status), qos=1, retain=True)
        self._ready.set()

    def _question(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        self.messages.append((message.topic, bytes(message.payload)))
        questions, cancelled = decode_asking(bytes(message.payload))
        self.cancelled += cancelled
        properties: Any = message.properties
        for question in questions:
            assert isinstance(question, Question)
            self.questions.append(question)
            self.asked[question.id] += 1
            self._act(properties.ResponseTopic, question.id)

    def _act(self, topic: str, window: str) -> None:
        deed = self.deed()
        if deed == "answer":
            self._reply(topic, window)
        elif deed == "twice":
            self._reply(topic, window)
            self._reply(topic, window)
        elif deed == "late":
            timer = threading.Timer(self.delay, self._reply, (topic, window))
            timer.daemon = True
            self._late.append(timer)
            timer.start()
        elif deed == "refuse":
            self._client.publish(topic, encode_reply(Reply(window, self.name, error="the engine failed")), qos=1)
        elif deed == "garbage":
            self._client.publish(topic, b"\xff\x00garbage", qos=1)

    def _reply(self, topic: str, window: str) -> None:
        self._count += 1
        label = LABELS[self._count % len(LABELS)]
        self.given[window].append(label)
        reply = Reply(window, self.name, label, 0.9, version="1.0.0", variant="stand-in", engine="stand-in")
        self._client.publish(topic, encode_reply(msgspec.structs.replace(reply, **self.lies)), qos=1)


# ---- the wire


class Seen(NamedTuple):
    """A packet that passed, in the order in which cause and effect could see it.

    Attributes:
        kind: a message came to the bridge, the bridge acknowledged it, it sent one, the broker acknowledged that.
        topic: of the message.
        payload: of the message.
        at: monotonic seconds.
    """

    kind: Literal["came", "acked", "sent", "taken"]
    topic: str
    payload: bytes
    at: float


class Tap:
    """A TCP proxy between the bridge and its broker that reads along: who acknowledged what, and when.

    Attributes:
        seen: QoS 1 messages and their acknowledgements.
    """

    def __init__(self, upstream: int) -> None:
        self.seen: list[Seen] = []
        self._upstream = upstream
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"mqtt://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._flowing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        while self._threads:
            self.cut()
            self._threads.pop().join(5)

    def cut(self) -> None:
        """Break all connections."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for sock in pair:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def stall(self) -> None:
        """Let nothing through, and break nothing."""
        self._flowing.clear()

    def flow(self) -> None:
        """Let everything through again."""
        self._flowing.set()

    def of(self, kind: str, part: str) -> list[Seen]:
        """What was seen of that kind on topics that hold this part."""
        return [seen for seen in list(self.seen) if seen.kind == kind and part in seen.topic]

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._upstream), timeout=5)
            except OSError:
                near.close()  # as a broker that is not there
                continue
            far.settimeout(None)
            self._pairs.append((near, far))
            life = _Life(self)
            for read, write, toward in ((near, far, "broker"), (far, near, "bridge")):
                self._start(self._pump, read, write, life, toward)

    def _pump(self, read: socket.socket, write: socket.socket, life: _Life, toward: str) -> None:
        buffer = bytearray()
        try:
            while data := read.recv(65_536):
                self._flowing.wait()
                buffer += data
                packets, used = codec.read_packets(buffer, 1 << 28)
                del buffer[:used]
                with self._lock:
                    for packet in packets:
                        life.note(packet, toward)
                write.sendall(data)
        except (OSError, RemoteProtocolError):
            pass
        finally:
            for sock in (read, write):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            read.close()  # each side's socket is closed by the thread that reads it, once that is over


class _Life:
    """One connection's packet ids."""

    def __init__(self, tap: Tap) -> None:
        self._tap = tap
        self._came: dict[int, tuple[str, bytes]] = {}
        self._sent: dict[int, tuple[str, bytes]] = {}

    def note(self, packet: codec.Received, toward: str) -> None:
        mine, others = (self._sent, self._came) if toward == "broker" else (self._came, self._sent)
        if isinstance(packet, Delivery) and packet.packet_id is not None:
            mine[packet.packet_id] = (packet.topic, packet.payload)
            self._add("sent" if toward == "broker" else "came", packet.topic, packet.payload)
        elif isinstance(packet, int | codec.PubAckPacket):
            packet_id, code = (packet, 0) if isinstance(packet, int) else (packet.packet_id, int(packet.reason_code))
            found = others.pop(packet_id, None)
            if found is not None and code < 0x80:
                self._add("acked" if toward == "broker" else "taken", *found)

    def _add(self, kind: Literal["came", "acked", "sent", "taken"], topic: str, payload: bytes) -> None:
        self._tap.seen.append(Seen(kind, topic, payload, time.monotonic()))
