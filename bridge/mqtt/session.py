"""An MQTT 5 client session without I/O: bytes in → messages, messages in → bytes to write.

It outlives connections: what was published and not acknowledged is sent again on the next one (section 4.4), what was
received and not acknowledged comes again from the broker. Acknowledgements leave in the order in which the messages
arrived, whatever the order in which they were settled ([MQTT-4.6.0-2]). Time comes in as an argument.

::

    DISCONNECTED ──connect()──▶ CONNECTING ──CONNACK 0──▶ CONNECTED
         ▲                          │                         │
         └────── lost(), DISCONNECT, CONNACK ≥ 0x80 ──────────┘
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING

from bridge.errors import ConnectionRefusedByPeer, LinkError, LocalProtocolError, RemoteProtocolError, TakenOver
from bridge.mqtt import codec
from bridge.mqtt.messages import Delivery, Publish, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

NO_MATCHING_SUBSCRIBERS = 0x10
PACKET_TOO_LARGE = 0x95
SESSION_TAKEN_OVER = 0x8E
ANSWER_WITHIN = 2.0  # seconds of silence after a publish before we ask with a PINGREQ
PONG_WITHIN = 5.0  # seconds that the PINGRESP may take; a broker that is there answers in a round trip
ACK_WITHIN = 30.0  # seconds a PUBACK may take: Mosquitto 2.0.11 loses some when it drops packets of a full queue
MOST_FLYING = 1_000  # whatever the broker allows: a reconnect sends all of them again before anything else


class State(Enum):
    """Where a session is."""

    DISCONNECTED = auto()
    CONNECTING = auto()
    CONNECTED = auto()


class Session:
    """One MQTT 5 session. Not thread-safe; does no I/O.

    Attributes:
        state: where it is.
        session_present: whether the broker still knew us at the last CONNACK.
        connects: connections that succeeded so far.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = State.DISCONNECTED
        self.session_present = False
        self.connects = 0
        self._buffer = bytearray()
        self._out: list[bytes] = []
        self._unacked: deque[Delivery] = deque()
        self._queue: deque[Publish] = deque()
        self._flying: dict[int, Publish] = {}
        self._resend: deque[int] = deque()  # of those under way, the ones not written on this connection yet
        self._next_id = 1
        self._peer_receive_maximum = 65_535
        self._peer_maximum_packet: int | None = None
        self._keep_alive = settings.keep_alive
        self._subscribing: set[int] = set()
        self._last_sent = 0.0
        self._last_received = 0.0
        self._pinged: float | None = None  # PINGREQ without an answer yet
        self._oldest: tuple[int, float] | None = None  # first message under way, and since when it is the first

    # ---- what the owner asks

    @property
    def ready(self) -> bool:
        """Connected, and every subscription confirmed."""
        return self.state is State.CONNECTED and not self._subscribing

    @property
    def waiting(self) -> int:
        """Messages handed to `publish` and not acknowledged by the broker."""
        return len(self._queue) + len(self._flying)

    @property
    def unacknowledged(self) -> int:
        """Messages received and not acknowledged by us."""
        return len(self._unacked)

    def connect(self, now: float) -> None:
        """Begin on a new transport: everything half-done on the old one is forgotten by protocol."""
        if self.state is not State.DISCONNECTED:
            raise LocalProtocolError(f"connect() in state {self.state.name}")
        self.lost()
        self.state = State.CONNECTING
        self._last_sent = self._last_received = now
        asked = self.settings
        will = None
        if asked.will is not None:
            will = codec.Will(asked.will[0], payload=asked.will[1], qos=codec.QoS.AT_LEAST_ONCE, retain=True)
        packet = codec.ConnectPacket(
            asked.client_id,
            username=asked.username,
            password=asked.password,
            clean_start=asked.clean_start,
            will=will,
            keep_alive=asked.keep_alive,
            session_expiry_interval=asked.session_expiry,
            receive_max=asked.receive_maximum,
            max_packet_size=asked.maximum_packet,
        )
        self._out.append(packet.write())

    def lost(self) -> None:
        """The transport is gone."""
        self.state = State.DISCONNECTED
        self._buffer.clear()
        self._out.clear()
        self._unacked.clear()
        self._subscribing.clear()
        self._pinged = self._oldest = None

    def publish(self, messages: Iterable[Publish]) -> None:
        """Queue messages; they leave as the broker's Receive Maximum allows, also on a later connection."""
        self._queue.extend(messages)
        self._fill()

    def acknowledge(self, delivery: Delivery, code: int = 0) -> None:
        """Settle a delivery. Its PUBACK leaves once all earlier ones are settled; a stale one is no error."""
        delivery.settled = code
        unacked = self._unacked
        while unacked and (code_ := unacked[0].settled) is not None:
            head = unacked.popleft()
            assert head.packet_id is not None  # noqa: S101 # only QoS 1 deliveries are in the queue
            self._out.append(codec.puback(head.packet_id, code_))

    def disconnect(self, code: int = 0) -> None:
        """Say goodbye; the will is not published when the code is 0."""
        if self.state is State.CONNECTED:
            self._out.append(codec.DisconnectPacket(reason_code=codec.DisconnectReasonCode(code)).write())

    def outgoing(self, now: float) -> bytes:
        """Bytes to write; each is handed out once."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        self._last_sent = now
        return data

    def tick(self, now: float, *, listening: bool = True) -> None:
        """Keep-alive (section 3.1.2.10). Call about once a second.

        Args:
            now: monotonic seconds.
            listening: whether the owner reads the socket; while it does not, silence proves nothing.

        Raises:
            LinkError: nothing came from the broker for one and a half keep-alives.
        """
        if self.state is State.DISCONNECTED or not self._keep_alive:
            return
        if not listening:
            self._last_received = now
            self._oldest = None
        elif now - self._last_received > 1.5 * self._keep_alive:
            raise LinkError(f"nothing heard from the broker for {now - self._last_received:.0f} s")
        if self.state is State.CONNECTED:
            self._look_for_life(now)

    def _look_for_life(self, now: float) -> None:
        """Ask with a PINGREQ when the broker is silent for too long; end what is half-open or stuck."""
        first = next(iter(self._flying), None)
        if first is None or self._oldest is None or self._oldest[0] != first:
            self._oldest = None if first is None else (first, now)
        elif now - self._oldest[1] > ACK_WITHIN:
            raise LinkError(f"a publish was not acknowledged for {ACK_WITHIN:.0f} s")
        silent = now - self._last_received
        if self._pinged is not None and silent < now - self._pinged:
            self._pinged = None
        if self._pinged is not None:
            if now - self._pinged > PONG_WITHIN:
                raise LinkError(f"no answer to a ping for {PONG_WITHIN:.0f} s")
            return
        patience = ANSWER_WITHIN if first is not None else 0.75 * self._keep_alive
        if silent >= min(patience, 0.75 * self._keep_alive) or now - self._last_sent >= 0.75 * self._keep_alive:
            self._pinged = now
            self._out.append(codec.PingReqPacket().write())

    # ---- what the peer sends

    def receive(self, data: bytes, now: float) -> list[Delivery]:
        """Take bytes from the transport.

        Returns:
            The messages that became complete.

        Raises:
            RemoteProtocolError: the bytes are not MQTT 5, or break its rules.
            ConnectionRefusedByPeer: CONNACK or SUBACK said no.
            TakenOver: another client has our client id.
            LinkError: the broker ended the connection.
        """
        self._last_received = now
        buffer: bytes | bytearray = data
        if self._buffer:
            self._buffer += data
            buffer = self._buffer
        packets, used = codec.read_packets(buffer, self.settings.maximum_packet)
        if buffer is self._buffer:
            del self._buffer[:used]
        elif used < len(data):
            self._buffer += memoryview(data)[used:]
        deliveries: list[Delivery] = []
        for packet in packets:
            if self.state is not State.CONNECTED and not isinstance(
                packet, codec.ConnAckPacket | codec.DisconnectPacket
            ):
                raise RemoteProtocolError(f"{type(packet).__name__} before CONNACK")
            if isinstance(packet, codec.PublishPacket):
                deliveries.append(self._on_publish(packet))
            elif isinstance(packet, codec.PubAckPacket):
                self._on_puback(packet)
            else:
                self._on_control(packet)
        self._fill()
        return deliveries

    def _on_publish(self, packet: codec.PublishPacket) -> Delivery:
        if not packet.topic:
            raise RemoteProtocolError("a topic alias, and we allowed none", code=0x94)
        delivery = Delivery(
            packet.topic,
            packet.payload,
            int(packet.qos),
            packet.retain,
            packet.content_type,
            packet.response_topic,
            packet.correlation_data,
            packet.packet_id,
        )
        if delivery.qos == 2:
            raise RemoteProtocolError("QoS 2, and we subscribed at QoS 1", code=0x9B)
        if delivery.qos:
            self._unacked.append(delivery)
        return delivery

    def _on_puback(self, packet: codec.PubAckPacket) -> None:
        message = self._flying.pop(packet.packet_id, None)
        if message is not None:
            if packet.packet_id in self._resend:  # it answers the copy of the last connection
                self._resend.remove(packet.packet_id)
            self._done(message, int(packet.reason_code))

    def _on_control(self, packet: codec.Packet) -> None:
        if isinstance(packet, codec.ConnAckPacket):
            self._on_connack(packet)
        elif isinstance(packet, codec.SubAckPacket):
            self._on_suback(packet)
        elif isinstance(packet, codec.DisconnectPacket):
            code = int(packet.reason_code)
            self.state = State.DISCONNECTED
            if code == SESSION_TAKEN_OVER:
                raise TakenOver(f"another client connected as {self.settings.client_id!r}; give each its own id")
            detail = f" ({packet.reason_str})" if packet.reason_str else ""
            raise LinkError(f"the broker ended the connection: {codec.in_words(code)}{detail}")
        elif not isinstance(packet, codec.PingRespPacket):
            raise RemoteProtocolError(f"{type(packet).__name__} from a broker, unasked")

    def _on_connack(self, packet: codec.ConnAckPacket) -> None:
        if self.state is not State.CONNECTING:
            raise RemoteProtocolError("a second CONNACK")
        code = int(packet.reason_code)
        if code:
            self.state = State.DISCONNECTED
            detail = f" ({packet.reason_str})" if packet.reason_str else ""
            raise ConnectionRefusedByPeer(f"the broker refused us: {codec.in_words(code)}{detail}", code=code)
        self.state = State.CONNECTED
        self.connects += 1
        self.session_present = packet.session_present
        self._peer_receive_maximum = min(packet.receive_max, MOST_FLYING)
        self._peer_maximum_packet = packet.max_packet_size
        self._keep_alive = self.settings.keep_alive if packet.server_keep_alive is None else packet.server_keep_alive
        # What was under way leaves before anything new and in its old order (`_fill`).
        self._resend = deque(self._flying)
        # Subscribing again is harmless, and heals a broker that kept the session but lost its subscriptions.
        if self.settings.subscriptions:
            packet_id = self._free_id()
            filters = [self._filter(text) for text in self.settings.subscriptions]
            self._subscribing.add(packet_id)
            self._out.append(codec.SubscribePacket(packet_id, filters).write())

    def _filter(self, text: str) -> codec.TopicFilter:
        handling = codec.RetainHandling.SEND_ALWAYS
        if text in self.settings.retained_once:
            handling = codec.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS
        # Retain As Published off: then the flag tells what was kept from before the subscription (section 3.3.1.3).
        return codec.TopicFilter(
            text, max_qos=codec.QoS.AT_LEAST_ONCE, retain_handling=handling, retain_as_published=False
        )

    def _on_suback(self, packet: codec.SubAckPacket) -> None:
        self._subscribing.discard(packet.packet_id)
        for text, code in zip(self.settings.subscriptions, packet.reason_codes, strict=False):
            if int(code) >= 0x80:
                self.state = State.DISCONNECTED
                raise ConnectionRefusedByPeer(
                    f"the broker refused the subscription {text!r}: {codec.in_words(int(code))}", code=int(code)
                )

    # ---- outgoing publishes

    def _fill(self) -> None:
        """Write what is to be sent again, then queued messages, up to the broker's Receive Maximum."""
        if self.state is not State.CONNECTED:
            return
        queue, flying, resend = self._queue, self._flying, self._resend
        while (resend or queue) and len(flying) - len(resend) < self._peer_receive_maximum:
            if resend:
                packet_id = resend.popleft()
                message = flying[packet_id]
                # DUP only where the broker may know the first copy.
                if not self._write(message, packet_id, duplicate=self.session_present):
                    del flying[packet_id]
                    self._done(message, PACKET_TOO_LARGE)
                continue
            message = queue.popleft()
            if message.qos == 0:
                self._done(message, 0 if self._write(message, None) else PACKET_TOO_LARGE)
                continue
            packet_id = self._free_id()
            if self._write(message, packet_id):
                flying[packet_id] = message
            else:
                self._done(message, PACKET_TOO_LARGE)

    @staticmethod
    def _done(message: Publish, code: int) -> None:
        if message.done is not None:
            message.done(code)

    def _write(self, message: Publish, packet_id: int | None, *, duplicate: bool = False) -> bool:
        """Put a message into the way out, unless it is above the broker's Maximum Packet Size."""
        packet = codec.PublishPacket(
            message.topic,
            message.payload,
            qos=codec.QoS.AT_MOST_ONCE if packet_id is None else codec.QoS.AT_LEAST_ONCE,
            retain=message.retain,
            packet_id=packet_id,
            duplicate=duplicate,
            message_expiry_interval=message.expiry,
            content_type=message.content_type,
            response_topic=message.response_topic,
            correlation_data=message.correlation,
        ).write()
        if self._peer_maximum_packet is not None and len(packet) > self._peer_maximum_packet:
            return False
        self._out.append(packet)
        return True

    def _free_id(self) -> int:
        while True:
            candidate = self._next_id
            self._next_id = candidate % 65_535 + 1
            if candidate not in self._flying and candidate not in self._subscribing:
                return candidate
