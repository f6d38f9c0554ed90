"""What a profile puts on the wire when nothing is lost: bytes and messages."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from bridge.link.profiles import Profile

if TYPE_CHECKING:
    from bridge.link.profiles import Limits, Stream, Transport

# Bytes a message besides payload and name: (up, down). IP and UDP 28, IP and TCP with timestamps 52; CoAP header,
# token, Content-Format and payload marker 11, its empty answer 4; PUBLISH header, id and property length 8, PUBACK 4;
# half of the PUBACKs cost a TCP ACK of their own. Measured: 371 (CON), 412 (QoS 0), 437–470 (QoS 1) for 300, both ways.
OVERHEAD: dict[Transport, tuple[int, int]] = {
    "coap-con": (39, 32),
    "coap-non": (39, 32),
    "mqtt-0": (60, 52),
    "mqtt-1": (86, 56),
}
RECEIPT = (56, 120)  # a PUBACK up; down a PUBLISH of about 60 bytes
BLOCK_OPTION = 4  # bytes, RFC 7959


class Traffic(msgspec.Struct, frozen=True):
    """One profile's traffic, whatever the path.

    Attributes:
        profile: the profile.
        coap: over CoAP; else over MQTT.
        messages: a second.
        blocks: CoAP exchanges a message.
        once: bytes of a message with all its blocks.
        offered: bytes a second up, nothing lost, all copies.
        beside: bytes a second up that are not of messages: PUBACKs of receipts.
        down: bytes a second of answers.
    """

    profile: Profile
    coap: bool
    messages: float
    blocks: int
    once: float
    offered: float
    beside: float
    down: float

    @property
    def bytes_s(self) -> float:
        """Bytes a second, both ways, nothing lost, one copy."""
        return self.messages * self.once + self.beside + self.down


def traffic(profile: Profile, stream: Stream, limits: Limits) -> Traffic:
    """What the profile puts on the wire for this stream."""
    coap = profile.protocol == "coap"
    messages = stream.rate_hz / profile.rows
    blocks = max(1, math.ceil(profile.payload / limits.block_size)) if coap else 1
    up, down = OVERHEAD[profile.transport]
    receipts = 0.0 if coap else stream.receipts * messages
    once = profile.payload + blocks * (up + stream.name_bytes) + (BLOCK_OPTION * blocks if blocks > 1 else 0)
    return Traffic(
        profile,
        coap=coap,
        messages=messages,
        blocks=blocks,
        once=once,
        offered=messages * once * profile.copies,
        beside=receipts * RECEIPT[0],
        down=messages * blocks * down + receipts * RECEIPT[1],
    )
