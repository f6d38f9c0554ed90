"""What Linux knows of a TCP connection, and how it is to treat it. What a kernel does not know is left out.

The edge agent uses it too. Any socket will do: the standard library's, TLS around it, or what uvloop shows of its own.
"""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress
from typing import Any, Final

import msgspec

from bridge.link.events import TcpInfo

if sys.platform != "win32":
    import fcntl
    import termios

LONGEST_RTO: Final = 1.0
"""Seconds between two retransmissions, of a SYN too; Linux backs off to 2 minutes, and learns of the link's return so
late. A second is the least that it takes."""
LONGEST_RTT: Final = 10.0  # seconds that a round trip is believed
PROBES: Final = 3  # of the kernel's keep-alive until it gives up, where there is no user time-out

_TCP_RTO_MAX_MS, _TCP_RTO_MIN_US = 44, 45  # linux/tcp.h, since Linux 6.15; the module socket does not name them
_TCP_THIN_LINEAR_TIMEOUTS: Final = 16
_TCP_INFO: Final = 11
_LENGTH: Final = 256
_HEARD, _RTT, _TOTAL_RETRANS, _ACKED = 56, 68, 100, 120  # offsets in struct tcp_info
_SEGS_OUT, _MIN_RTT = 136, 148  # tcpi_segs_in; tcpi_data_segs_in and tcpi_data_segs_out follow
_BYTES_RETRANS = 208
_HEADERS: Final = 52  # bytes of IP and TCP, with timestamps
_MICRO, _MILLI = 1e-6, 1e-3
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST, and what is unacknowledged is thrown away


class Look(msgspec.Struct, frozen=True):
    """One look at a connection.

    Attributes:
        info: round trip and retransmissions, for an estimator.
        least: `tcpi_min_rtt`, seconds; of the last 5 minutes (sysctl tcp_min_rtt_wlen).
        heard_ago: `tcpi_last_ack_recv`, seconds since the peer's kernel last acknowledged something.
        segments_in: `tcpi_segs_in`, bare acknowledgements included.
        data_in: `tcpi_data_segs_in`, also those out of order.
        acked: `tcpi_bytes_acked`, of ours by the peer's kernel.
        held: bytes that were written and that the peer's kernel did not acknowledge (tcp(7), SIOCOUTQ).
        on_wire: IP bytes of ours so far, repetitions and bare acknowledgements among them, and what is about to leave.
    """

    info: TcpInfo
    least: float
    heard_ago: float
    segments_in: int
    data_in: int
    acked: int
    held: int
    on_wire: int = 0

    @property
    def written(self) -> int:
        """Bytes that we handed to the kernel so far."""
        return self.acked + self.held


def look(sock: Any, at: float) -> Look | None:
    """What the kernel knows at `at`; None where it does not tell."""
    if sys.platform == "win32":
        return None
    try:
        # first: what is acknowledged meanwhile counts twice, and `written` is too much rather than too little
        (held,) = struct.unpack("=i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))  # SIOCOUTQ's other name
        raw = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LENGTH)
        (heard,) = struct.unpack_from("=I", raw, _HEARD)
        rtt, rttvar = struct.unpack_from("=II", raw, _RTT)
        (repeated,) = struct.unpack_from("=I", raw, _TOTAL_RETRANS)
        (acked,) = struct.unpack_from("=Q", raw, _ACKED)
        segments_out, segments_in = struct.unpack_from("=II", raw, _SEGS_OUT)
        least, data_in, data_out = struct.unpack_from("=III", raw, _MIN_RTT)
        (again,) = struct.unpack_from("=Q", raw, _BYTES_RETRANS)
    except (OSError, AttributeError, ValueError, struct.error):
        return None
    info = TcpInfo(at, rtt * _MICRO, rttvar * _MICRO, data_out, repeated)
    on_wire = acked + held + again + _HEADERS * segments_out
    return Look(info, least * _MICRO, heard * _MILLI, segments_in, data_in, acked, held, on_wire)


def tune(sock: Any, *, patience_s: float) -> None:
    """Sends at once, retransmits at least each second, gives up after `patience_s` without an acknowledgement.

    With fewer than four segments under way, the first six retransmissions come without back-off (Linux'
    Documentation/networking/tcp-thin.rst): what a sensor sends is no load that a queue would have to be spared.
    With a cap on its retransmission timer alone, Linux would count to its 15 retries and drop the connection after
    some 12 s (RFC 5482 describes the user time-out). To be called before `connect`, so that SYNs are repeated as often.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wait(sock, patience_s)
    cap(sock)
    _set(sock, _TCP_THIN_LINEAR_TIMEOUTS, 1)


def repeat_within(rtt: float, rttvar: float) -> float:
    """Seconds between two retransmissions, at most: 1, or RFC 6298's RTO and half a round trip more.

    A cap below the round trip has all sent twice and thrice: at 2 s and 20 kbit/s each PINGREQ and each status was.

    Args:
        rtt: seconds, smoothed.
        rttvar: its mean deviation.
    """
    return min(LONGEST_RTT, max(LONGEST_RTO, 1.5 * rtt + 4 * rttvar))


def follow(sock: Any, *, idle: float, apart: float, give_up: float, repeat: float = LONGEST_RTO) -> None:
    """Keeps asking a silent peer whether it is there, gives up in the end.

    Args:
        sock: the connection's.
        idle: seconds of silence after which the kernel asks.
        apart: seconds between two such questions.
        give_up: seconds without an acknowledgement after which it ends the connection.
        repeat: seconds after which it retransmits at the latest.
    """
    _set(sock, socket.SO_KEEPALIVE, 1, socket.SOL_SOCKET)
    _set(sock, "TCP_KEEPIDLE", max(1, round(idle)))
    _set(sock, "TCP_KEEPINTVL", max(1, round(apart)))
    _set(sock, "TCP_KEEPCNT", PROBES)
    wait(sock, give_up)
    cap(sock, repeat)


def wait(sock: Any, patience_s: float) -> None:
    """Gives up so many seconds after the last acknowledgement; takes effect at the next retransmission.

    TCP_USER_TIMEOUT, RFC 5482.
    """
    _set(sock, "TCP_USER_TIMEOUT", round(patience_s / _MILLI))


def margin(sock: Any, seconds: float) -> None:
    """Waits for so much longer than the smoothed round trip, at least, until it retransmits (0.2 s by default)."""
    _set(sock, _TCP_RTO_MIN_US, round(seconds / _MICRO))


def forget(sock: Any) -> None:
    """Closing will reset the connection: nothing is repeated for a peer that does not answer."""
    _set(sock, socket.SO_LINGER, _RESET, socket.SOL_SOCKET)


def sever(sock: Any) -> None:
    """Ends both directions at once: whoever waits to read or to write is woken. TLS is not told: it has its thread."""
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def cap(sock: Any, seconds: float = LONGEST_RTO) -> None:
    """Retransmits after so many seconds at the latest; where an answer takes longer, all is sent twice."""
    _set(sock, _TCP_RTO_MAX_MS, round(seconds / _MILLI))


def _set(sock: Any, option: int | str, value: int | bytes, level: int = socket.IPPROTO_TCP) -> None:
    """Where this system has the option: some are not named on every one, and older kernels know fewer."""
    with suppress(OSError, AttributeError):
        sock.setsockopt(level, getattr(socket, option) if isinstance(option, str) else option, value)
