"""The relay's sockets: UDP and TCP through a link that loses nothing, and what CoAP's payload is."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from bridge.demo.link import Link
from bridge.demo.linkmodel import Conditions, Stage
from bridge.demo.relay_tcp import HOST, TcpRelay
from bridge.demo.relay_udp import UdpRelay, coap_payload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DELAY = 0.01


def quick_link() -> Link:
    both = Conditions(delay=DELAY)
    return Link([Stage(0.0, both, both)], 1, asyncio.get_running_loop())


class Echo(asyncio.DatagramProtocol):
    """Sends back what it gets."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override] # it is one
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data.upper(), addr)


class Client(asyncio.DatagramProtocol):
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert addr
        self.got.put_nowait(data)


@pytest.fixture
async def echo_udp() -> AsyncIterator[int]:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=(HOST, 0))
    yield transport.get_extra_info("sockname")[1]
    transport.close()


@pytest.fixture
async def echo_tcp() -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, HOST, 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_each_udp_client_gets_its_own_answers_a_round_trip_later(echo_udp: int) -> None:
    loop = asyncio.get_running_loop()
    relay = UdpRelay(quick_link(), echo_udp)
    where = (HOST, relay.start())
    clients = [await loop.create_datagram_endpoint(Client, remote_addr=where) for _ in range(3)]
    began = loop.time()
    for number, (transport, _) in enumerate(clients):
        transport.sendto(b"client %d" % number)
    for number, (_, client) in enumerate(clients):
        assert await client.got.get() == b"CLIENT %d" % number
    assert loop.time() - began >= 2 * DELAY - 1e-3
    relay.close()
    for transport, _ in clients:
        transport.close()


async def test_a_repeated_coap_message_counts_once(echo_udp: int) -> None:
    relay = UdpRelay(quick_link(), echo_udp)
    where = (HOST, relay.start())
    transport, client = await asyncio.get_running_loop().create_datagram_endpoint(Client, remote_addr=where)
    for number in (1, 1, 2):
        transport.sendto(bytes((0x40, 2, 0, number, 0xFF)) + b"rows")
        await client.got.get()
    assert relay.payload == 2 * len(b"rows")
    relay.close()
    transport.close()


@pytest.mark.parametrize(
    ("datagram", "payload"),
    [
        (b"", b""),
        (bytes.fromhex("40000001"), b""),
        (bytes.fromhex("42020001 abcd ff 0102"), b"\x01\x02"),
        (bytes.fromhex("40020001 b3 ff6162 ff 07"), b"\x07"),  # an option that holds the marker's byte
        (bytes.fromhex("40020001 bd 01") + b"u" * 14 + bytes.fromhex("11 3c ff 07"), b"\x07"),
        (bytes.fromhex("40020001 de 05 0001") + b"u" * 270 + bytes.fromhex("ff 07"), b"\x07"),
        (bytes.fromhex("40020001 bf"), b""),
    ],
)
def test_the_payload_of_a_coap_message_is_what_follows_its_options(datagram: bytes, payload: bytes) -> None:
    assert coap_payload(datagram) == payload


async def test_a_tcp_stream_passes_whole_and_its_end_too(echo_tcp: int) -> None:
    relay = TcpRelay(quick_link(), echo_tcp)
    reader, writer = await asyncio.open_connection(HOST, await relay.start())
    sent = bytes(range(256)) * 1_000
    writer.write(sent)
    assert await reader.readexactly(len(sent)) == sent
    writer.close()
    await writer.wait_closed()
    relay.close()


async def test_a_server_that_closes_is_heard_of() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), HOST, 0)
    relay = TcpRelay(quick_link(), server.sockets[0].getsockname()[1])
    reader, writer = await asyncio.open_connection(HOST, await relay.start())
    assert await reader.read() == b""
    writer.close()
    relay.close()
    server.close()


async def test_where_no_server_is_the_client_is_disconnected() -> None:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    relay = TcpRelay(quick_link(), port)
    reader, writer = await asyncio.open_connection(HOST, await relay.start())
    assert await reader.read() == b""
    writer.close()
    relay.close()


async def test_closing_the_relay_ends_its_connections(echo_tcp: int) -> None:
    relay = TcpRelay(quick_link(), echo_tcp)
    reader, writer = await asyncio.open_connection(HOST, await relay.start())
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"
    relay.close()
    with suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()


async def test_a_server_that_said_nothing_yet_does_not_hear_that_its_client_left() -> None:
    got: asyncio.Queue[bytes] = asyncio.Queue()
    may_speak = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.put_nowait(await reader.read(10))
        await may_speak.wait()
        assert not reader.at_eof()
        writer.write(b"CONNACK")
        got.put_nowait(await reader.read(10))
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    relay = TcpRelay(quick_link(), server.sockets[0].getsockname()[1])
    _, writer = await asyncio.open_connection(HOST, await relay.start())
    writer.write(b"CONNECT")
    assert await got.get() == b"CONNECT"
    writer.close()
    await writer.wait_closed()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(got.get(), 10 * DELAY)
    may_speak.set()
    assert await got.get() == b""
    relay.close()
    server.close()
