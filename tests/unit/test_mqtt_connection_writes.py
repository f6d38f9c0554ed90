"""How many writes it takes: one for all that a read brings about, and at once when nobody else has a say in it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from bridge.mqtt.connection import Connection
from bridge.mqtt.endpoint import Endpoint
from bridge.mqtt.messages import Delivery, Publish, Settings
from bridge.mqtt.wire import SMALL, Wire
from tests.support.mqtt_packets import connack, incoming, puback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Pipe(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False


def arrive(wire: Wire, data: bytes) -> None:
    room = wire.get_buffer(-1)
    room[: len(data)] = data[: len(room)]
    wire.buffer_updated(len(data))


def opened(on_deliveries: Callable[[list[Delivery]], None]) -> tuple[Connection, Wire, Pipe]:
    connection = Connection(Endpoint("127.0.0.1", 1), Settings("me"), on_deliveries)
    pipe = Pipe()
    wire = Wire(
        connection._opened, connection.session.buffer, connection._received, connection._closed, connection._choke
    )
    wire.connection_made(pipe)
    arrive(wire, connack(receive_max=1))
    assert connection.connected
    pipe.writes.clear()
    return connection, wire, pipe


async def test_a_read_of_acknowledgements_is_answered_at_once() -> None:
    connection, wire, pipe = opened(lambda _deliveries: None)
    connection.publish([Publish("t", b"1"), Publish("t", b"2")])
    await asyncio.sleep(0)
    assert len(pipe.writes) == 1
    arrive(wire, puback(1))
    assert len(pipe.writes) == 2


async def test_what_the_owner_does_before_the_loop_turn_ends_leaves_in_one_write() -> None:
    def work(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            connection.acknowledge([delivery])
        connection.publish([Publish("t", b"result")])

    def later(deliveries: list[Delivery]) -> None:
        asyncio.get_running_loop().call_soon(work, deliveries)

    connection, wire, pipe = opened(later)
    arrive(wire, incoming(1) + incoming(2))
    assert pipe.writes == []
    await asyncio.sleep(0)
    assert len(pipe.writes) == 1
    assert pipe.writes[0].startswith(puback(1) + puback(2) + b"\x32")


async def test_an_owner_that_fails_does_not_silence_the_connection() -> None:
    def fail(_deliveries: list[Delivery]) -> None:
        raise RuntimeError("a bug")

    connection, wire, pipe = opened(fail)
    with pytest.raises(RuntimeError):
        arrive(wire, incoming(1))
    connection.publish([Publish("t", b"1")])
    await asyncio.sleep(0)
    assert len(pipe.writes) == 1


async def test_nothing_is_written_for_an_acknowledgement_that_has_to_wait() -> None:
    got: list[Delivery] = []
    connection, wire, pipe = opened(got.extend)
    arrive(wire, incoming(1) + incoming(2))
    connection.acknowledge([got[1]])
    await asyncio.sleep(0)
    assert pipe.writes == []
    connection.acknowledge([got[0]])
    await asyncio.sleep(0)
    assert pipe.writes == [puback(1) + puback(2)]


async def test_a_wire_that_was_cut_passes_nothing_on() -> None:
    got: list[Delivery] = []
    connection, wire, pipe = opened(got.extend)
    wire.cut()
    arrive(wire, incoming(1))
    wire.pause_writing()
    wire.connection_lost(None)
    assert (got, connection.connected) == ([], True)
    connection.publish([Publish("t", b"1")])
    await asyncio.sleep(0)
    assert len(pipe.writes) == 1


async def test_while_the_kernel_takes_nothing_publishes_wait_in_the_session() -> None:
    connection, wire, pipe = opened(lambda _deliveries: None)
    wire.pause_writing()
    connection.publish([Publish("t", b"1")])
    await asyncio.sleep(0)
    assert pipe.writes == []
    wire.resume_writing()
    await asyncio.sleep(0)
    assert len(pipe.writes) == 1


class Plain(Pipe):
    """A transport of a real socket, that of one end of a pair."""

    def __init__(self, end: socket.socket, *, waiting: int = 0, closing: bool = False, tls: object = None) -> None:
        super().__init__()
        self._told = {"socket": end, "sslcontext": tls}
        self._waiting, self._closing = waiting, closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._told.get(name, default)

    def get_write_buffer_size(self) -> int:
        return self._waiting

    def is_closing(self) -> bool:
        return self._closing


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    listener = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(listener.getsockname())
    theirs, _ = listener.accept()
    ours.setblocking(False)
    theirs.settimeout(5.0)
    with listener, ours, theirs:
        yield ours, theirs


def wired(transport: Plain) -> Wire:
    def nothing(*_: object) -> None:
        pass

    wire = Wire(nothing, lambda: memoryview(bytearray(1)), nothing, nothing, nothing)
    wire.connection_made(transport)
    return wire


def test_little_goes_to_the_kernel_at_once(pair: tuple[socket.socket, socket.socket]) -> None:
    transport = Plain(pair[0])
    wired(transport).write(b"a Result")
    assert (pair[1].recv(64), transport.writes) == (b"a Result", [])


@pytest.mark.parametrize(
    "state", [{"waiting": 1}, {"closing": True}, {"tls": object()}], ids=["behind other bytes", "closing", "TLS"]
)
def test_the_transport_writes_what_must_not_pass_it_by(
    pair: tuple[socket.socket, socket.socket], state: dict[str, Any]
) -> None:
    transport = Plain(pair[0], **state)
    wired(transport).write(b"a Result")
    assert transport.writes == [b"a Result"]
    pair[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        pair[1].recv(64)


def test_what_the_kernel_does_not_take_is_left_to_the_transport(pair: tuple[socket.socket, socket.socket]) -> None:
    transport = Plain(pair[0])
    wire = wired(transport)
    sent = received = b""
    while not transport.writes:
        wire.write(bytes(SMALL))
        sent += bytes(SMALL)
    pair[1].setblocking(False)
    with suppress(BlockingIOError):
        while data := pair[1].recv(1 << 20):
            received += data
    assert len(received) + len(b"".join(transport.writes)) == len(sent)
