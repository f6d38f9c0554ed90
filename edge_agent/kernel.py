"""What Linux knows of a TCP connection, and how it is to treat it."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import Any

from bridge.link.events import TcpInfo

LONGEST_RTO_MS = 1_000
"""Longest wait between two retransmissions; Linux backs off to 2 minutes, and learns of the link's return so late."""

_TCP_RTO_MAX_MS = 44  # linux/tcp.h, since Linux 6.15; the module socket does not name it
_TCP_INFO = 11
_LENGTH = 256
_RTT, _TOTAL_RETRANS, _DATA_SEGS_OUT = 68, 100, 156  # offsets in struct tcp_info
_MICROSECONDS = 1e-6


def tune(sock: Any, *, patience_s: float) -> None:
    """Sends at once, retransmits at least each second, gives up after `patience_s` without an acknowledgement.

    With a cap on its retransmission timer alone, Linux would count to its 15 retries and drop the connection after
    some 12 s (RFC 5482 describes the user time-out). What a kernel does not know is left out.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(OSError, AttributeError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1e3 * patience_s))
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_RTO_MAX_MS, LONGEST_RTO_MS)


def info(sock: Any, at: float) -> TcpInfo | None:
    """The connection's round trip and retransmissions at `at`; None where the kernel does not tell."""
    try:
        told = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LENGTH)
        rtt, rttvar = struct.unpack_from("=II", told, _RTT)
        (retransmitted,) = struct.unpack_from("=I", told, _TOTAL_RETRANS)
        (segments,) = struct.unpack_from("=I", told, _DATA_SEGS_OUT)
    except (OSError, AttributeError, struct.error):
        return None
    return TcpInfo(at, rtt * _MICROSECONDS, rttvar * _MICROSECONDS, segments, retransmitted)
