"""What Linux knows of a TCP connection, and how it is to treat it. What a kernel does not know is left out."""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress
from typing import Final

import msgspec

from bridge.link.events import TcpInfo

if sys.platform != "win32":
    import fcntl
    import termios

_TCP_RTO_MAX_MS: Final = 44  # linux/tcp.h, since Linux 6.15; the module socket does not name it
_TCP_INFO: Final = 11
_LENGTH: Final = 256
_HEARD, _RTT, _TOTAL_RETRANS, _DATA_SEGS_OUT = 56, 68, 100, 156  # offsets in struct tcp_info
_MICRO, _MILLI = 1e-6, 1e-3
PROBES: Final = 3  # of the kernel's keep-alive until it gives up, where there is no user time-out


class Told(msgspec.Struct, frozen=True):
    """TCP_INFO.

    Attributes:
        info: round trip and repetitions, for an estimator.
        heard_ago: seconds since the peer's kernel last acknowledged something (`tcpi_last_ack_recv`).
        held: bytes that were written and that the peer's kernel did not acknowledge (tcp(7), SIOCOUTQ).
    """

    info: TcpInfo
    heard_ago: float
    held: int


def told(sock: socket.socket, at: float) -> Told | None:
    """What the kernel knows at `at`; None where it does not tell."""
    if sys.platform == "win32":
        return None
    try:
        raw = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LENGTH)
        (heard,) = struct.unpack_from("=I", raw, _HEARD)
        rtt, rttvar = struct.unpack_from("=II", raw, _RTT)
        (repeated,) = struct.unpack_from("=I", raw, _TOTAL_RETRANS)
        (segments,) = struct.unpack_from("=I", raw, _DATA_SEGS_OUT)
        (held,) = struct.unpack("=i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    except (OSError, struct.error):
        return None
    return Told(TcpInfo(at, rtt * _MICRO, rttvar * _MICRO, segments, repeated), heard * _MILLI, held)


def follow(sock: socket.socket, *, idle: float, apart: float, give_up: float, longest: float) -> None:
    """Set the kernel's timers of a connection.

    Args:
        sock: the connection's.
        idle: seconds of silence after which the kernel asks whether the peer is there.
        apart: seconds between two such questions.
        give_up: seconds without an acknowledgement after which it ends the connection (TCP_USER_TIMEOUT, RFC 5482).
        longest: seconds between two repetitions at most; Linux would back off to 2 minutes.
    """
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", max(1, round(idle))),
        ("TCP_KEEPINTVL", max(1, round(apart))),
        ("TCP_KEEPCNT", PROBES),
        ("TCP_USER_TIMEOUT", round(give_up / _MILLI)),
    ):
        with suppress(OSError, AttributeError):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_RTO_MAX_MS, round(longest / _MILLI))
