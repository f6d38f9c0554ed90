"""MQTT 3.1.1 by hand: the few packets that the load generator and the bare-socket ceiling need, and nothing else."""

from __future__ import annotations

import socket
import struct

HOST = "127.0.0.1"
CONNACK, PUBLISH, PUBACK, SUBACK = 0x20, 0x30, 0x40, 0x90
READ = 1 << 20
_puback = struct.Struct(">BBH").pack


def _length(number: int) -> bytes:
    """A Variable Byte Integer (MQTT 3.1.1 section 2.2.3)."""
    out = bytearray()
    while True:
        number, digit = number >> 7, number & 0x7F
        out.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(out)


def _text(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw


def connect(client_id: str) -> bytes:
    """CONNECT: clean session, no keep-alive."""
    body = _text("MQTT") + bytes([4, 2, 0, 0]) + _text(client_id)
    return b"\x10" + _length(len(body)) + body


def subscribe(text: str, *, qos: int) -> bytes:
    """SUBSCRIBE to one filter, packet id 1."""
    body = b"\0\1" + _text(text) + bytes([qos])
    return b"\x82" + _length(len(body)) + body


def publish_head(topic: str, payload_size: int) -> bytes:
    """A QoS 1 PUBLISH up to its packet id, which the payload follows."""
    named = _text(topic)
    return b"\x32" + _length(len(named) + 2 + payload_size) + named


def puback(packet_id: int) -> bytes:
    """PUBACK."""
    return _puback(PUBACK, 2, packet_id)


def split(data: bytes | bytearray | memoryview) -> tuple[list[tuple[int, int, int]], int]:
    """Complete packets at the head of a buffer.

    Returns:
        First byte, start and end of the body of each; and how many bytes they took.
    """
    found: list[tuple[int, int, int]] = []
    used, size = 0, len(data)
    while used + 2 <= size:
        at, length, shift = used + 1, 0, 0
        while at < size:
            digit = data[at]
            at += 1
            length |= (digit & 0x7F) << shift
            shift += 7
            if digit < 0x80:
                break
        else:
            break
        if at + length > size:
            break
        found.append((data[used], at, at + length))
        used = at + length
    return found, used


def topic_end(data: bytes | bytearray | memoryview, start: int) -> int:
    """Where the topic of a PUBLISH ends whose body begins at `start`."""
    return start + 2 + (data[start] << 8 | data[start + 1])


def message(data: bytes | bytearray, first: int, start: int, end: int) -> tuple[str, int, bytes]:
    """Topic, packet id (0 at QoS 0) and payload of a PUBLISH."""
    at = topic_end(data, start)
    topic = data[start + 2 : at].decode()
    if not first & 0x06:
        return topic, 0, bytes(data[at:end])
    return topic, data[at] << 8 | data[at + 1], bytes(data[at + 2 : end])


class Reader:
    """Packets from a socket, without a copy.

    Args:
        sock: connected.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = memoryview(bytearray(READ))
        self._begin = self._end = 0  # of what is no whole packet yet

    def read(self) -> list[tuple[int, memoryview]]:
        """First byte and body of each packet that is whole after one `recv`; the bodies hold until the next call.

        Raises:
            ConnectionError: the other side closed the connection.
        """
        left = self._end - self._begin
        self._buffer[:left] = self._buffer[self._begin : self._end]
        got = self._sock.recv_into(self._buffer[left:])
        if not got:
            raise ConnectionError("the broker closed the connection")
        self._end = left + got
        packets, self._begin = split(self._buffer[: self._end])
        return [(first, self._buffer[start:end]) for first, start, end in packets]


def dial(broker: int | str, client_id: str, *, listen: str | None = None, qos: int = 0) -> socket.socket:
    """A connected socket, subscribed if asked; blocking.

    Args:
        broker: its port, with TCP_NODELAY then, or the path of its Unix socket.
        client_id: of the session, a clean one.
        listen: a topic filter to subscribe to.
        qos: of the subscription.

    Raises:
        ConnectionError: the broker refused.
    """
    if isinstance(broker, int):
        sock = socket.create_connection((HOST, broker), timeout=5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(5)
        sock.connect(broker)
    sock.sendall(connect(client_id))
    _expect(sock, CONNACK, 4)
    if listen is not None:
        sock.sendall(subscribe(listen, qos=qos))
        _expect(sock, SUBACK, 5)
    sock.settimeout(None)
    return sock


def _expect(sock: socket.socket, kind: int, size: int) -> None:
    answer = sock.recv(size, socket.MSG_WAITALL)
    if len(answer) < size or answer[0] != kind or answer[-1] >= 0x80 or (kind == CONNACK and answer[3]):
        raise ConnectionError(f"the broker answered {answer.hex()} where {kind:#x} was due")
