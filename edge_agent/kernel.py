"""What Linux knows of a TCP connection, and how it is to treat it."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
import termios
from contextlib import suppress
from typing import Any

import msgspec

from bridge.link.events import TcpInfo

LONGEST_RTO_MS = 1_000
"""Longest wait between two retransmissions, of a SYN too; Linux backs off to 2 minutes, and learns of the link's return
so late. A second is the least that it takes."""

_TCP_RTO_MAX_MS, _TCP_RTO_MIN_US = 44, 45  # linux/tcp.h, since Linux 6.15; the module socket does not name them
_TCP_THIN_LINEAR_TIMEOUTS = 16
_TCP_INFO = 11
_LENGTH = 256
_RTT, _TOTAL_RETRANS, _ACKED, _SEGS_IN = 68, 100, 120, 140  # offsets in struct tcp_info
_MIN_RTT, _DATA_SEGS_OUT = 148, 156  # tcpi_data_segs_in lies between them
_MICROSECONDS = 1e-6
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST, and what is unacknowledged is thrown away


class Look(msgspec.Struct, frozen=True):
    """One look at a connection.

    Attributes:
        rtt: `tcpi_rtt`, seconds.
        rttvar: `tcpi_rttvar`, seconds.
        least: `tcpi_min_rtt`, seconds; of the last 5 minutes (sysctl tcp_min_rtt_wlen).
        segments_in: `tcpi_segs_in`, bare acknowledgements included.
        data_in: `tcpi_data_segs_in`, also those out of order.
        acked: `tcpi_bytes_acked`, of ours by the other end's kernel.
        written: bytes that we handed to the kernel so far: `acked` and what SIOCOUTQ says is not acknowledged.
    """

    rtt: float
    rttvar: float
    least: float
    segments_in: int
    data_in: int
    acked: int
    written: int


def tune(sock: Any, *, patience_s: float) -> None:
    """Sends at once, retransmits at least each second, gives up after `patience_s` without an acknowledgement.

    With fewer than four segments under way, the first six retransmissions come without back-off (Linux'
    Documentation/networking/tcp-thin.rst): what a sensor sends is no load that a queue would have to be spared.
    With a cap on its retransmission timer alone, Linux would count to its 15 retries and drop the connection after
    some 12 s (RFC 5482 describes the user time-out). What a kernel does not know is left out. To be called before
    `connect`, so that SYNs are repeated as often.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wait(sock, patience_s)
    for option, value in ((_TCP_RTO_MAX_MS, LONGEST_RTO_MS), (_TCP_THIN_LINEAR_TIMEOUTS, 1)):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def wait(sock: Any, patience_s: float) -> None:
    """Gives up after so many seconds from now on (TCP_USER_TIMEOUT); takes effect at the next retransmission."""
    with suppress(OSError, AttributeError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1e3 * patience_s))


def margin(sock: Any, seconds: float) -> None:
    """Waits for so much longer than the smoothed round trip, at least, until it retransmits (0.2 s by default)."""
    with suppress(OSError, AttributeError):
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_RTO_MIN_US, round(1e6 * seconds))


def forget(sock: Any) -> None:
    """Closing will reset the connection: nothing is repeated for a peer that does not answer."""
    with suppress(OSError, AttributeError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def info(sock: Any, at: float) -> TcpInfo | None:
    """The connection's round trip and retransmissions at `at`; None where the kernel does not tell."""
    try:
        told = _told(sock)
        rtt, rttvar = struct.unpack_from("=II", told, _RTT)
        (retransmitted,) = struct.unpack_from("=I", told, _TOTAL_RETRANS)
        (segments,) = struct.unpack_from("=I", told, _DATA_SEGS_OUT)
    except (OSError, AttributeError, struct.error):
        return None
    return TcpInfo(at, rtt * _MICROSECONDS, rttvar * _MICROSECONDS, segments, retransmitted)


def look(sock: Any) -> Look | None:
    """What came and what is acknowledged; None where the kernel does not tell."""
    unacknowledged = array.array("i", [0])
    try:
        fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, unacknowledged)  # SIOCOUTQ by another name
        told = _told(sock)
        rtt, rttvar = struct.unpack_from("=II", told, _RTT)
        (acked,) = struct.unpack_from("=Q", told, _ACKED)
        (segments,) = struct.unpack_from("=I", told, _SEGS_IN)
        least, data = struct.unpack_from("=II", told, _MIN_RTT)
    except (OSError, AttributeError, ValueError, struct.error):
        return None
    rtt, rttvar, least = (one * _MICROSECONDS for one in (rtt, rttvar, least))
    return Look(rtt, rttvar, least, segments, data, acked, acked + unacknowledged[0])


def _told(sock: Any) -> bytes:
    told: bytes = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LENGTH)
    return told
