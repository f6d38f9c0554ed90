"""MQTT 5 packets ↔ bytes: the only importer of `mqtt5`, and the place that closes its gaps.

The library raises a Rust panic (a BaseException) on invalid UTF-8, lets NUL in topics and packet id 0 pass, and calls a
header that claims 256 MB merely incomplete. Here every byte string parses, is incomplete below the Maximum Packet
Size, or raises `RemoteProtocolError`. What comes and goes for every message is turned into our own messages at once, or
read or written by hand where that is faster: tests/property/test_codec.py holds both to the library's bytes.
"""

from __future__ import annotations

import re
from operator import itemgetter
from struct import Struct
from typing import TYPE_CHECKING, Final, TypeAlias

import mqtt5
from mqtt5 import (
    ConnAckPacket,
    ConnAckReasonCode,
    ConnectPacket,
    DisconnectPacket,
    DisconnectReasonCode,
    PingReqPacket,
    PingRespPacket,
    PubAckPacket,
    PubAckReasonCode,
    PubCompPacket,
    PubCompReasonCode,
    PublishPacket,
    PubRecPacket,
    PubRecReasonCode,
    PubRelPacket,
    QoS,
    RetainHandling,
    SubAckPacket,
    SubscribePacket,
    TopicFilter,
    UnsubAckPacket,
    UnsubscribePacket,
    Will,
)

from bridge.errors import RemoteProtocolError
from bridge.mqtt.messages import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.mqtt.messages import Publish

__all__ = [
    "ConnAckPacket",
    "ConnAckReasonCode",
    "ConnectPacket",
    "DisconnectPacket",
    "DisconnectReasonCode",
    "Packet",
    "PingReqPacket",
    "PingRespPacket",
    "PubAckPacket",
    "PubAckReasonCode",
    "PubRelPacket",
    "QoS",
    "Received",
    "RetainHandling",
    "SubAckPacket",
    "SubscribePacket",
    "TopicFilter",
    "UnsubAckPacket",
    "UnsubscribePacket",
    "Will",
    "in_words",
    "puback",
    "pubcomp",
    "publish",
    "publish_in_full",
    "pubrec",
    "read_packets",
]

Packet: TypeAlias = mqtt5.Packet
Received: TypeAlias = Packet | Delivery | int

MALFORMED, PROTOCOL_ERROR, TOPIC_NAME_INVALID, PACKET_TOO_LARGE = 0x81, 0x82, 0x90, 0x95
QOS_NOT_SUPPORTED = 0x9B
_PUBACK: Final = 0x40
# In a row, of success, which is said by saying nothing; an id is not 0.
_PUBACKS = re.compile(rb"(?:@\x02(?:[^\0].|\0[^\0]))++", re.DOTALL)
_first_of = itemgetter(0)
_LONGEST: Final = 16_384  # a remaining length from here on has three bytes and is written by the library
_read: Callable[[memoryview], tuple[Packet, int]] = mqtt5.read
_packet_ids: Callable[[memoryview], Iterator[tuple[int]]] = Struct(">xxH").iter_unpack
_ack: Callable[[int, int, int], bytes] = Struct(">BBH").pack
_head1: Callable[[int, int, int], bytes] = Struct(">BBH").pack
_head2: Callable[[int, int, int, int], bytes] = Struct(">BBBH").pack
_plain: Callable[[int, int], bytes] = Struct(">HB").pack  # packet id, no properties


def read_packets(buffer: bytes | bytearray, maximum: int, end: int | None = None) -> tuple[list[Received], int]:
    """All complete packets at the head of a buffer.

    Args:
        buffer: bytes received and not yet consumed.
        maximum: our Maximum Packet Size in bytes; a packet that claims more is refused before it is buffered.
        end: how much of the buffer was received; all of it when None.

    Returns:
        The packets, and how many bytes they took. A PUBLISH is a `Delivery`, a PUBACK of success its packet id.

    Raises:
        RemoteProtocolError: the bytes are not MQTT 5, or a packet is above the maximum. The packets before it are lost
            with the connection; the peer sends again what we did not acknowledge.
    """
    packets: list[Received] = []
    with memoryview(buffer)[:end] as view:
        try:
            used = _read_all(buffer, view, maximum, packets)
        except ValueError as why:
            raise RemoteProtocolError(f"not MQTT 5: {why}", code=MALFORMED) from why
        except BaseException as why:
            if type(why).__name__ != "PanicException":
                raise
            raise RemoteProtocolError("not MQTT 5: a string is not UTF-8", code=MALFORMED) from None
        if used < len(view) and (claimed := _claimed_size(view, used)) > maximum:
            raise _too_large(claimed, maximum)
    return packets, used


def _read_all(buffer: bytes | bytearray, view: memoryview, maximum: int, packets: list[Received]) -> int:
    used, end = 0, len(view)
    while used < end:
        first = buffer[used]
        if first == _PUBACK and (run := _PUBACKS.match(buffer, used, end)) is not None:
            after = run.end()
            packets += map(_first_of, _packet_ids(view[used:after]))
            used = after
            continue
        try:
            packet, size = _read(view[used:])
        except IndexError:  # not all of it is here
            break
        if size > maximum:
            raise _too_large(size, maximum)
        packets.append(_delivery(packet, first) if type(packet) is PublishPacket else _checked(packet))
        used += size
    return used


def _delivery(packet: PublishPacket, first: int) -> Delivery:
    """The message of a PUBLISH; `first` is the first byte of its header, which has QoS and RETAIN."""
    topic, response_topic, packet_id = packet.topic, packet.response_topic, packet.packet_id
    if "\0" in topic or "+" in topic or "#" in topic:
        raise RemoteProtocolError("a topic name with NUL or a wildcard", code=TOPIC_NAME_INVALID)
    if response_topic is not None and "\0" in response_topic:
        raise RemoteProtocolError("a Response Topic with NUL", code=TOPIC_NAME_INVALID)
    if packet_id == 0:
        raise _no_id()
    return Delivery(
        topic,
        packet.payload,
        first >> 1 & 3,
        first & 1 == 1,
        packet.content_type,
        response_topic,
        packet.correlation_data,
        packet_id,
        None,
        packet.topic_alias,
    )


def _checked(packet: Packet) -> Packet:
    if getattr(packet, "packet_id", None) == 0:
        raise _no_id()
    return packet


def _no_id() -> RemoteProtocolError:
    return RemoteProtocolError("packet identifier 0", code=PROTOCOL_ERROR)


def _too_large(size: int, maximum: int) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"a packet of {size} bytes, above our Maximum Packet Size {maximum}", code=PACKET_TOO_LARGE
    )


def _claimed_size(view: memoryview, at: int) -> int:
    """Bytes of the packet there by its fixed header (MQTT 5 section 2.1.4); 0 while the header is incomplete."""
    length = 0
    for i in range(1, min(len(view) - at, 5)):
        length |= (view[at + i] & 0x7F) << 7 * (i - 1)
        if view[at + i] < 0x80:
            return length + i + 1
    return 0


def publish(message: Publish, packet_id: int | None, *, duplicate: bool = False) -> bytes:
    """Bytes of a PUBLISH (section 3.3); one of QoS 1 without properties is put together without the library.

    Args:
        message: what to publish.
        packet_id: for QoS 1; None for QoS 0.
        duplicate: the DUP flag.

    Raises:
        ValueError: the topic is empty, or longer than 65,535 bytes.
    """
    if (
        packet_id is None
        or message.content_type is not None
        or message.response_topic is not None
        or message.correlation is not None
        or message.expiry is not None
    ):
        return publish_in_full(message, packet_id, duplicate=duplicate)
    topic, payload = message.topic.encode(), message.payload
    size = len(topic)
    if not 0 < size < 0x10000:
        raise ValueError(f"a topic of {size} bytes: 1 to 65,535 can be written")
    length = size + len(payload) + 5
    if length >= _LONGEST:
        return publish_in_full(message, packet_id, duplicate=duplicate)
    first = 0x33 if message.retain else 0x32
    if duplicate:
        first |= 0x08
    head = _head1(first, length, size) if length < 0x80 else _head2(first, length & 0x7F | 0x80, length >> 7, size)
    return b"".join((head, topic, _plain(packet_id, 0), payload))


def publish_in_full(
    message: Publish, packet_id: int | None, *, duplicate: bool = False, alias: int | None = None, known: bool = False
) -> bytes:
    """Bytes of a PUBLISH as the library writes them.

    Args:
        message: what to publish.
        packet_id: for QoS 1; None for QoS 0.
        duplicate: the DUP flag.
        alias: Topic Alias to give.
        known: whether the peer knows the alias, so that the topic is left out.

    Raises:
        ValueError: the topic is empty, or longer than 65,535 bytes.
    """
    return PublishPacket(
        "" if known else message.topic,
        message.payload,
        qos=QoS.AT_MOST_ONCE if packet_id is None else QoS.AT_LEAST_ONCE,
        retain=message.retain,
        packet_id=packet_id,
        duplicate=duplicate,
        message_expiry_interval=message.expiry,
        content_type=message.content_type,
        response_topic=message.response_topic,
        correlation_data=message.correlation,
        topic_alias=alias,
    ).write()


def puback(packet_id: int, code: int) -> bytes:
    """Bytes of a PUBACK; success, sent for every message, is put together without the library (section 3.4)."""
    if code == 0:
        return _ack(_PUBACK, 2, packet_id)
    return PubAckPacket(packet_id, reason_code=PubAckReasonCode(code)).write()


def pubrec(packet_id: int, code: int) -> bytes:
    """Bytes of a PUBREC (section 3.5), whose reason codes are those of a PUBACK."""
    return PubRecPacket(packet_id, reason_code=PubRecReasonCode(code)).write()


def pubcomp(packet_id: int, *, found: bool) -> bytes:
    """Bytes of a PUBCOMP (section 3.7): done, or that there was nothing under this id."""
    code = PubCompReasonCode.SUCCESS if found else PubCompReasonCode.PACKET_ID_NOT_FOUND
    return PubCompPacket(packet_id, reason_code=code).write()


def in_words(code: int) -> str:
    """A reason code as people read it: `0x87 not authorized`."""
    for kind in (ConnAckReasonCode, DisconnectReasonCode, PubAckReasonCode, mqtt5.SubAckReasonCode):
        try:
            return f"0x{code:02X} {kind(code).name.lower().replace('_', ' ')}"
        except ValueError:
            continue
    return f"0x{code:02X}"
