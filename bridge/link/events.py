"""What the traffic tells of the path, whichever the protocol. `at` is the adapter's monotonic clock, in seconds.

A message is one datagram, one MQTT PUBLISH, or one probe (CoAP ping, PINGREQ); what is sent anew under another id, or
over the other protocol, is another message.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Protocol: TypeAlias = Literal["mqtt", "coap"]
PROTOCOLS: tuple[Protocol, ...] = ("mqtt", "coap")
MessageId: TypeAlias = int | str


class Sent(msgspec.Struct, frozen=True):
    """A message left for the first time.

    Attributes:
        message: its id, unique among those under way.
        at: seconds.
        protocol: how.
        size: bytes on the wire, headers included.
        probe: it carries no rows, and is answered by the peer's stack.
    """

    message: MessageId
    at: float
    protocol: Protocol
    size: int
    probe: bool = False


class Resent(msgspec.Struct, frozen=True):
    """The same message left once more: its timer ran out, or it is a copy sent on purpose."""

    message: MessageId
    at: float


class Acked(msgspec.Struct, frozen=True):
    """The peer has it (PUBACK, CoAP ACK or response, PINGRESP, Reset to a ping).

    Attributes:
        message: its id.
        at: seconds.
        transmission: which transmission was answered, from 1, where the protocol tells.
    """

    message: MessageId
    at: float
    transmission: int | None = None


class GivenUp(msgspec.Struct, frozen=True):
    """Nobody waits for its answer any longer."""

    message: MessageId
    at: float


class Connected(msgspec.Struct, frozen=True):
    """The peer took the connection (CONNACK)."""

    protocol: Protocol
    at: float


class Disconnected(msgspec.Struct, frozen=True):
    """The connection is gone, and what was under way on it with it."""

    protocol: Protocol
    at: float


class TcpInfo(msgspec.Struct, frozen=True):
    """Linux `TCP_INFO` of the MQTT connection (linux/tcp.h, `struct tcp_info`).

    Attributes:
        at: seconds.
        rtt: `tcpi_rtt`, seconds.
        rttvar: `tcpi_rttvar`, seconds.
        segments: `tcpi_data_segs_out` since the connection began, retransmissions included.
        retransmitted: `tcpi_total_retrans` since the connection began.
    """

    at: float
    rtt: float
    rttvar: float
    segments: int
    retransmitted: int


Event: TypeAlias = Sent | Resent | Acked | GivenUp | Connected | Disconnected | TcpInfo
