"""What a session is subscribed to: asked for on each connection, ended for good (MQTT 5 sections 3.8 to 3.11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.errors import ConnectionRefusedByPeer
from bridge.mqtt import codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.mqtt.messages import Settings


class Subscriptions:
    """The subscriptions of one session.

    Args:
        settings: what to ask of the broker.
        out: takes the packets to write.
        free_id: gives a packet id that nothing under way uses.

    Attributes:
        under_way: filters of each SUBSCRIBE and UNSUBSCRIBE that the broker has not answered, by packet id.
    """

    def __init__(self, settings: Settings, out: list[bytes], free_id: Callable[[], int]) -> None:
        self._settings = settings
        self._out = out
        self._free_id = free_id
        self._wanted = settings.subscriptions
        self._ended: tuple[str, ...] = ()
        self.under_way: dict[int, tuple[str, ...]] = {}

    def begin(self) -> None:
        """A new connection: ask again, which is harmless, and heals a broker that kept the session without them."""
        if self._wanted:
            packet_id = self._free_id()
            self.under_way[packet_id] = self._wanted
            self._out.append(codec.SubscribePacket(packet_id, [self._filter(text) for text in self._wanted]).write())
        if self._ended:
            self._unsubscribe(self._ended)

    def lost(self) -> None:
        """The connection is gone."""
        self.under_way.clear()

    def end(self, filters: Iterable[str], *, now: bool) -> None:
        """End subscriptions for good: on a later connection they are not asked for, but ended again.

        Args:
            filters: theirs.
            now: there is a connection.
        """
        ended = tuple(filters)
        self._wanted = tuple(text for text in self._wanted if text not in ended)
        self._ended += ended
        if now:
            self._unsubscribe(ended)

    def ended(self, packet: codec.UnsubAckPacket) -> None:
        """Take an UNSUBACK; a refusal changes nothing: messages go on to come."""
        del self.under_way[packet.packet_id]

    def granted(self, packet: codec.SubAckPacket) -> None:
        """Take a SUBACK.

        Raises:
            ConnectionRefusedByPeer: it says no, or grants a lower QoS.
        """
        needed = self._settings.qos
        filters = self.under_way.pop(packet.packet_id, ())
        for text, code in zip(filters, map(int, packet.reason_codes), strict=False):
            if code >= 0x80:
                detail = f"the broker refused the subscription {text!r}: {codec.in_words(code)}"
                raise ConnectionRefusedByPeer(detail, code=code)
            if code < needed:
                detail = f"the broker grants the subscription {text!r} QoS {code} only; QoS {needed} is needed"
                raise ConnectionRefusedByPeer(detail, code=codec.QOS_NOT_SUPPORTED)

    def _unsubscribe(self, filters: tuple[str, ...]) -> None:
        packet_id = self._free_id()
        self.under_way[packet_id] = filters
        self._out.append(codec.UnsubscribePacket(packet_id, list(filters)).write())

    def _filter(self, text: str) -> codec.TopicFilter:
        handling = codec.RetainHandling.SEND_ALWAYS
        if text in self._settings.retained_once:
            handling = codec.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS
        # Retain As Published off: then the flag tells what was kept from before the subscription (section 3.3.1.3).
        return codec.TopicFilter(
            text, max_qos=codec.QoS(self._settings.qos), retain_handling=handling, retain_as_published=False
        )
