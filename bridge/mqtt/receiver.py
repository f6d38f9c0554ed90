"""The receiving side of a session: what arrived and waits for its acknowledgement (MQTT 5 section 4.3).

At QoS 2 the packet id is stored from the first PUBLISH until PUBREL (figure 4.3): the message is handed over once, its
PUBREC is the acknowledgement, and a second copy only brings the PUBREC again. The ids live as long as the session in
this process and at the broker; a restarted process knows none, and gets the message again. Do not ask rumqttd 0.20 for
it: that numbers anew at a reconnect, so messages come twice, and one equal to another under its id passes for a copy.

What comes beyond our Receive Maximum is taken: Mosquitto 2.0.11 heeds it only until the first PUBACK, and would do the
same after a DISCONNECT 0x93.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from bridge.errors import RemoteProtocolError
from bridge.mqtt.aliases import TheirAliases
from bridge.mqtt.codec import QOS_NOT_SUPPORTED, puback, pubcomp, pubrec

if TYPE_CHECKING:
    from bridge.mqtt.messages import Delivery, Settings


class Receiver:
    """Deliveries of one session.

    Args:
        settings: what was asked of the broker.
        out: takes the packets to write.
    """

    def __init__(self, settings: Settings, out: list[bytes]) -> None:
        self._qos = settings.qos
        self._out = out
        self._aliases = TheirAliases(settings.topic_alias_maximum)
        self.unacked: deque[Delivery] = deque()  # of this connection, in the order of arrival
        self._held: dict[int, Delivery] = {}  # QoS 2, from PUBLISH to PUBREL; also across connections
        self._owed: set[int] = set()  # those of them in `unacked`: their PUBREC is still to come

    def lost(self) -> None:
        """The connection is gone: the broker sends again what we did not acknowledge."""
        self.unacked.clear()
        self._owed.clear()
        self._aliases.clear()

    def forget(self) -> None:
        """The broker does not know our session any more: its packet ids begin anew."""
        self._held.clear()

    def unseen(self, deliveries: list[Delivery]) -> None:
        """These were taken, and are not handed over after all: when they come again they are new."""
        for delivery in deliveries:
            if delivery.qos == 2 and delivery.packet_id is not None:
                self._held.pop(delivery.packet_id, None)

    def take(self, delivery: Delivery) -> bool:
        """Note what arrived; it waits until it is `settled`.

        Returns:
            Whether it is new: not a further copy of a QoS 2 message.

        Raises:
            RemoteProtocolError: QoS 2 unasked, an alias that stands for nothing, or a packet id that is in use.
        """
        if delivery.alias is not None:
            delivery.topic = self._aliases.resolve(delivery.topic, delivery.alias)
        if delivery.qos == 2:
            return self._take_once(delivery)
        if delivery.qos:
            self.unacked.append(delivery)
        return True

    def _take_once(self, delivery: Delivery) -> bool:
        if self._qos < 2:
            raise RemoteProtocolError(f"QoS 2, and we subscribed at QoS {self._qos}", code=QOS_NOT_SUPPORTED)
        packet_id = delivery.packet_id
        assert packet_id is not None  # noqa: S101 # the codec gives each QoS 2 message one
        first = self._held.get(packet_id)
        # Another message under an id we hold: the broker lost the session, and the CONNACK that said so was lost too.
        # DUP would not tell: rumqttd never sets it.
        if first is None or first.payload != delivery.payload or first.topic != delivery.topic:
            if packet_id in self._owed:
                raise RemoteProtocolError(f"packet id {packet_id} for another message before our PUBREC")
            first = self._held[packet_id] = delivery
        if packet_id not in self._owed:
            self._owed.add(packet_id)
            self.unacked.append(first)
            if first.settled is not None:
                self.write_settled()
        return first is delivery

    def write_settled(self) -> None:
        """Acknowledge what is settled at the head of the line, in the order of arrival."""
        unacked, out = self.unacked, self._out
        while unacked and (code := unacked[0].settled) is not None:
            head = unacked.popleft()
            packet_id = head.packet_id
            assert packet_id is not None  # noqa: S101 # QoS 0 is not in the queue
            if head.qos == 1:
                out.append(puback(packet_id, code))
                continue
            out.append(pubrec(packet_id, code))
            self._owed.discard(packet_id)
            if code >= 0x80:  # the end of this message; a PUBLISH with the id is a new one ([MQTT-4.3.3-9])
                del self._held[packet_id]

    def release(self, packet_id: int) -> None:
        """Answer a PUBREL: the broker has dropped its copy, and the id is free.

        Raises:
            RemoteProtocolError: it answers a PUBREC that we have not sent.
        """
        held = self._held.get(packet_id)
        if held is not None and (packet_id in self._owed or held.settled is None):
            raise RemoteProtocolError(f"PUBREL {packet_id} before our PUBREC")
        self._held.pop(packet_id, None)
        self._out.append(pubcomp(packet_id, found=held is not None))
