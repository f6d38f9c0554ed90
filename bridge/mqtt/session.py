"""An MQTT 5 client session without I/O: bytes in → messages, messages in → bytes to write.

It outlives connections: what was published and not acknowledged is sent again on the next one (section 4.4), what was
received and not acknowledged comes again from the broker. Acknowledgements leave in the order in which the messages
arrived, whatever the order in which they were settled ([MQTT-4.6.0-2], [MQTT-4.6.0-3]). Time comes in as an argument.
QoS 0 and 1 both ways, QoS 2 towards us; Topic Aliases both ways where asked for.

::

    DISCONNECTED ──connect()──▶ CONNECTING ──CONNACK 0──▶ CONNECTED
         ▲                          │                         │
         └────── lost(), DISCONNECT, CONNACK ≥ 0x80 ──────────┘

`Receiver` keeps what arrived, `Sender` what leaves, `Subscriptions` what was asked for; `Liveness` asks whether the
broker is there.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from bridge.errors import (
    BridgeError,
    ConnectionRefusedByPeer,
    LinkError,
    LocalProtocolError,
    RemoteProtocolError,
    TakenOver,
)
from bridge.mqtt import codec
from bridge.mqtt.inflow import Inflow
from bridge.mqtt.liveness import Liveness
from bridge.mqtt.messages import Acked, Delivery, Publish, Settings
from bridge.mqtt.receiver import Receiver
from bridge.mqtt.sender import Sender
from bridge.mqtt.subscriptions import Subscriptions

if TYPE_CHECKING:
    from collections.abc import Iterable

NO_MATCHING_SUBSCRIBERS = 0x10
SESSION_TAKEN_OVER = 0x8E


class State(Enum):
    """Where a session is."""

    DISCONNECTED = auto()
    CONNECTING = auto()
    CONNECTED = auto()


class Session:
    """One MQTT 5 session. Not thread-safe; does no I/O.

    Args:
        settings: what to ask of the broker.
        timing: keep what PUBACKs tell of the link, for `take_acked`.

    Attributes:
        state: where it is.
        session_present: whether the broker still knew us at the last CONNACK.
        connects: connections that succeeded so far.
        established: number of the last of them on which every subscription was confirmed, too; 0 before any.
        begun: number of the one on which the broker's present session began; 0 where it had one from before us.
    """

    def __init__(self, settings: Settings, *, timing: bool = False) -> None:
        self.settings = settings
        self.state = State.DISCONNECTED
        self.session_present = False
        self.connects = 0
        self.established = 0
        self.begun = 0
        self._inflow = Inflow(settings.maximum_packet)
        self._out: list[bytes] = []
        self._receiver = Receiver(settings, self._out)
        self._sender = Sender(settings, self._out)
        if timing:
            self._sender.acked = []
        self._live = Liveness(settings.keep_alive, settings.pong_within)
        self._subscriptions = Subscriptions(settings, self._out, self._sender.free_id)

    # ---- what the owner asks

    @property
    def ready(self) -> bool:
        """Connected, and every subscription confirmed, as its end."""
        return self.state is State.CONNECTED and not self._subscriptions.under_way

    @property
    def waiting(self) -> int:
        """Messages handed to `publish` and not acknowledged by the broker."""
        return self._sender.waiting

    @property
    def queued(self) -> int:
        """Messages of these that the broker's Receive Maximum still holds back."""
        return self._sender.queued

    @property
    def receive_maximum(self) -> int:
        """Messages of QoS 1 that the broker lets us have under way."""
        return self._sender.receive_maximum

    @property
    def maximum_packet(self) -> int | None:
        """Bytes of the largest packet that the broker takes; None: it did not say."""
        return self._sender.maximum_packet

    @property
    def heard_at(self) -> float:
        """Monotonic seconds at which the broker's last bytes came; of the connection's beginning before any."""
        return self._live.received

    @property
    def tick_after(self) -> float:
        """Seconds after which `tick` is to be called again."""
        return min(1.0, self._live.keep_alive / 4) if self._live.keep_alive else 1.0

    @property
    def unacknowledged(self) -> int:
        """Messages received and not acknowledged by us."""
        return len(self._receiver.unacked)

    @property
    def bytes_in_flight(self) -> int:
        """Bytes of the PUBLISH packets of QoS 1 written on this connection and not acknowledged by the broker."""
        return self._sender.bytes_in_flight

    @property
    def pending(self) -> bool:
        """Whether `outgoing` has bytes."""
        return bool(self._out)

    def connect(self, now: float) -> None:
        """Begin on a new transport: everything half-done on the old one is forgotten by protocol."""
        if self.state is not State.DISCONNECTED:
            raise LocalProtocolError(f"connect() in state {self.state.name}")
        self.lost()
        self.state = State.CONNECTING
        self._live.begin(now)
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
            topic_alias_max=asked.topic_alias_maximum,
            max_packet_size=asked.maximum_packet,
        )
        self._out.append(packet.write())

    def lost(self) -> None:
        """The transport is gone."""
        self.state = State.DISCONNECTED
        self._inflow.clear()
        self._out.clear()
        self._receiver.lost()
        self._sender.lost()
        self._subscriptions.lost()

    def publish(self, messages: Iterable[Publish]) -> None:
        """Queue messages; they leave as the broker's Receive Maximum allows, also on a later connection."""
        self._sender.publish(messages)

    def acknowledge(self, delivery: Delivery, code: int = 0) -> None:
        """Settle a delivery. Its PUBACK or PUBREC leaves once all earlier ones are settled; a stale one is no error.

        A QoS 2 message that is settled while the connection is away gets its PUBREC when the broker sends it again.
        """
        delivery.settled = code
        self._receiver.write_settled()

    def acknowledge_all(self, deliveries: Iterable[Delivery]) -> None:
        """Settle deliveries with success; one of QoS 0 needs nothing."""
        for delivery in deliveries:
            if delivery.qos:
                delivery.settled = 0
        self._receiver.write_settled()

    def unsubscribe(self, filters: Iterable[str]) -> None:
        """End subscriptions for good: on a later connection they are not asked for, but ended again."""
        self._subscriptions.end(filters, now=self.state is State.CONNECTED)

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
        self._live.sent = now
        self._sender.departed(now)
        return data

    def take_acked(self) -> list[Acked]:
        """What PUBACKs told since the last call; nothing unless `timing` was asked for."""
        acked = self._sender.acked
        if not acked:
            return []
        self._sender.acked = []
        return acked

    def tick(self, now: float, *, listening: bool = True) -> None:
        """Keep-alive. Call each `tick_after` seconds.

        Args:
            now: monotonic seconds.
            listening: whether the owner reads the socket; while it does not, silence proves nothing.

        Raises:
            LinkError: the broker is not there any more, or does not go on.
        """
        if self.state is State.DISCONNECTED:
            return
        if listening:
            self._live.check(now)
        else:
            self._live.deaf(now)
        if self.state is State.CONNECTED and self._live.asks(now, self._sender.oldest, self._sender.acknowledgements):
            self._out.append(codec.PingReqPacket().write())

    # ---- what the peer sends

    def receive(self, data: bytes, now: float) -> list[Delivery]:
        """Take bytes from the transport: `buffer` and `received` in one, for a copy."""
        self.buffer(len(data))[: len(data)] = data
        return self.received(len(data), now)

    def buffer(self, wanted: int = 1) -> memoryview:
        """Where at least so many bytes from the transport are to be put; then call `received`."""
        return self._inflow.space(wanted)

    def received(self, count: int, now: float) -> list[Delivery]:
        """Go on with so many bytes that were put into `buffer`.

        Returns:
            The messages that became complete.

        Raises:
            RemoteProtocolError: the bytes are not MQTT 5, or break its rules.
            ConnectionRefusedByPeer: CONNACK or SUBACK said no.
            TakenOver: another client has our client id.
            LinkError: the broker ended the connection.
        """
        self._live.received = now
        deliveries: list[Delivery] = []
        take, acknowledged = self._receiver.take, self._sender.acknowledged
        connected = self.state is State.CONNECTED
        try:
            for packet in self._inflow.filled(count):
                if not connected and not isinstance(packet, codec.ConnAckPacket | codec.DisconnectPacket):
                    raise RemoteProtocolError(f"{_name(packet)} before CONNACK")
                if type(packet) is Delivery:
                    if take(packet):
                        deliveries.append(packet)
                elif type(packet) is int:
                    acknowledged(packet, 0, now)
                else:
                    self._on_control(packet, now)
                    connected = self.state is State.CONNECTED
                    if self.established != self.connects and self.ready:
                        self.established = self.connects
        except BridgeError:
            self._receiver.unseen(deliveries)
            raise
        self._sender.fill()
        return deliveries

    def _on_control(self, packet: codec.Received, now: float) -> None:
        if isinstance(packet, codec.PubAckPacket):
            self._sender.acknowledged(packet.packet_id, int(packet.reason_code), now)
        elif isinstance(packet, codec.PubRelPacket):
            self._receiver.release(packet.packet_id)
        elif isinstance(packet, codec.ConnAckPacket):
            self._on_connack(packet)
        elif isinstance(packet, codec.SubAckPacket):
            self._on_suback(packet)
        elif isinstance(packet, codec.UnsubAckPacket) and packet.packet_id in self._subscriptions.under_way:
            self._subscriptions.ended(packet)
        elif isinstance(packet, codec.DisconnectPacket):
            self._on_disconnect(packet)
        elif not isinstance(packet, codec.PingRespPacket):
            raise RemoteProtocolError(f"{_name(packet)} from a broker, unasked")

    def _on_disconnect(self, packet: codec.DisconnectPacket) -> None:
        code = int(packet.reason_code)
        self.state = State.DISCONNECTED
        if code == SESSION_TAKEN_OVER:
            raise TakenOver(f"another client connected as {self.settings.client_id!r}; give each its own id")
        self._sender.blamed(code)
        detail = f" ({packet.reason_str})" if packet.reason_str else ""
        raise LinkError(f"the broker ended the connection: {codec.in_words(code)}{detail}")

    def _on_connack(self, packet: codec.ConnAckPacket) -> None:
        if self.state is not State.CONNECTING:
            raise RemoteProtocolError("a second CONNACK")
        code = int(packet.reason_code)
        if code:
            detail = f" ({packet.reason_str})" if packet.reason_str else ""
            raise self._refused(f"the broker refused us: {codec.in_words(code)}{detail}", code)
        if packet.max_qos == codec.QoS.AT_MOST_ONCE:
            raise self._refused(
                "the broker offers QoS 0 only; QoS 1 is needed to lose nothing", codec.QOS_NOT_SUPPORTED
            )
        self.state = State.CONNECTED
        self.connects += 1
        self.session_present = packet.session_present
        if not packet.session_present:
            self.begun = self.connects
            self._receiver.forget()
        # A Server Keep Alive of 0 says that the broker asks for no pings; we still want to know whether it is there.
        self._live.keep_alive = packet.server_keep_alive or self.settings.keep_alive
        self._sender.begin(packet, self._subscriptions.under_way)
        self._subscriptions.begin()

    def _on_suback(self, packet: codec.SubAckPacket) -> None:
        try:
            self._subscriptions.granted(packet)
        except ConnectionRefusedByPeer:
            self.state = State.DISCONNECTED
            raise

    def _refused(self, detail: str, code: int) -> ConnectionRefusedByPeer:
        self.state = State.DISCONNECTED
        return ConnectionRefusedByPeer(detail, code=code)


def _name(packet: codec.Received) -> str:
    if isinstance(packet, Delivery):
        return "PUBLISH"
    return "PUBACK" if isinstance(packet, int) else type(packet).__name__.removesuffix("Packet").upper()
