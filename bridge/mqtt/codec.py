"""MQTT 5 packets ↔ bytes: the only importer of `mqtt5`, and the place that closes its gaps.

The library raises a Rust panic (a BaseException) on invalid UTF-8, lets NUL in topics and packet id 0 pass, and calls a
header that claims 256 MB merely incomplete. Here every byte string parses, is incomplete below the Maximum Packet
Size, or raises `RemoteProtocolError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

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
    PublishPacket,
    QoS,
    RetainHandling,
    SubAckPacket,
    SubscribePacket,
    TopicFilter,
    Will,
)

from bridge.errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

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
    "PublishPacket",
    "QoS",
    "RetainHandling",
    "SubAckPacket",
    "SubscribePacket",
    "TopicFilter",
    "Will",
    "in_words",
    "puback",
    "read_packets",
]

Packet: TypeAlias = mqtt5.Packet

MALFORMED, PROTOCOL_ERROR, TOPIC_NAME_INVALID, PACKET_TOO_LARGE = 0x81, 0x82, 0x90, 0x95
_read: Callable[[memoryview], tuple[Packet, int]] = mqtt5.read


def read_packets(buffer: bytes | bytearray, maximum: int) -> tuple[list[Packet], int]:
    """All complete packets at the head of a buffer.

    Args:
        buffer: bytes received and not yet consumed.
        maximum: our Maximum Packet Size in bytes; a packet that claims more is refused before it is buffered.

    Returns:
        The packets, and how many bytes they took.

    Raises:
        RemoteProtocolError: the bytes are not MQTT 5, or a packet is above the maximum. The packets before it are lost
            with the connection; the peer sends again what we did not acknowledge.
    """
    packets: list[Packet] = []
    used = 0
    with memoryview(buffer) as view:
        while used < len(view):
            with view[used:] as rest:
                taken = _read_one(rest, maximum)
            if taken is None:
                break
            packet, size = taken
            _check(packet)
            packets.append(packet)
            used += size
    return packets, used


def _read_one(rest: memoryview, maximum: int) -> tuple[Packet, int] | None:
    try:
        packet, size = _read(rest)
    except IndexError as why:
        if (claimed := _claimed_size(rest)) > maximum:
            raise _too_large(claimed, maximum) from why
        return None
    except ValueError as why:
        raise RemoteProtocolError(f"not MQTT 5: {why}", code=MALFORMED) from why
    except BaseException as why:
        if type(why).__name__ != "PanicException":
            raise
        raise RemoteProtocolError("not MQTT 5: a string is not UTF-8", code=MALFORMED) from None
    if size > maximum:
        raise _too_large(size, maximum)
    return packet, size


def _too_large(size: int, maximum: int) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"a packet of {size} bytes, above our Maximum Packet Size {maximum}", code=PACKET_TOO_LARGE
    )


def _claimed_size(rest: memoryview) -> int:
    """Bytes of the first packet by its fixed header (MQTT 5 section 2.1.4); 0 while the header is incomplete."""
    length, shift = 0, 0
    for i in range(1, min(len(rest), 5)):
        length |= (rest[i] & 0x7F) << shift
        if rest[i] < 0x80:
            return length + i + 1
        shift += 7
    return 0


def _check(packet: Any) -> None:
    if isinstance(packet, PublishPacket):
        topic = packet.topic
        if "\0" in topic or "+" in topic or "#" in topic:
            raise RemoteProtocolError("a topic name with NUL or a wildcard", code=TOPIC_NAME_INVALID)
        if packet.response_topic is not None and "\0" in packet.response_topic:
            raise RemoteProtocolError("a Response Topic with NUL", code=TOPIC_NAME_INVALID)
    if getattr(packet, "packet_id", None) == 0:
        raise RemoteProtocolError("packet identifier 0", code=PROTOCOL_ERROR)


def puback(packet_id: int, code: int) -> bytes:
    """Bytes of a PUBACK; success, sent for every message, is put together without the library (section 3.4)."""
    if code == 0:
        return b"\x40\x02" + packet_id.to_bytes(2, "big")
    return PubAckPacket(packet_id, reason_code=PubAckReasonCode(code)).write()


def in_words(code: int) -> str:
    """A reason code as people read it: `0x87 not authorized`."""
    for kind in (ConnAckReasonCode, DisconnectReasonCode, PubAckReasonCode, mqtt5.SubAckReasonCode):
        try:
            return f"0x{code:02X} {kind(code).name.lower().replace('_', ' ')}"
        except ValueError:
            continue
    return f"0x{code:02X}"
