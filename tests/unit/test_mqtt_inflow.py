"""The buffer that sockets are read into: whatever the pieces, the same packets; it grows for one packet and shrinks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.errors import RemoteProtocolError
from bridge.mqtt.inflow import READ, Inflow
from bridge.mqtt.messages import Delivery
from tests.support.mqtt_packets import incoming

if TYPE_CHECKING:
    from bridge.mqtt.codec import Received


def put(inflow: Inflow, data: bytes) -> list[Received]:
    inflow.space(len(data))[: len(data)] = data
    return inflow.filled(len(data))


def ids(packets: list[Received]) -> list[int | None]:
    return [packet.packet_id for packet in packets if isinstance(packet, Delivery)]


@pytest.mark.parametrize("piece", [1, 2, 7, 50, 1_000])
def test_pieces_make_packets(piece: int) -> None:
    data = b"".join(incoming(n, payload=b"x" * n) for n in range(1, 40))
    inflow = Inflow(1 << 20)
    got = [packet for at in range(0, len(data), piece) for packet in put(inflow, data[at : at + piece])]
    assert ids(got) == list(range(1, 40))


def test_a_packet_beyond_the_buffer_passes_and_the_room_is_given_back() -> None:
    inflow = Inflow(4 * READ)
    data = incoming(1, payload=b"x" * 3 * READ) + incoming(2)[:3]
    got: list[Received] = []
    for at in range(0, len(data), 100_000):
        got += put(inflow, data[at : at + 100_000])
    assert ids(got) == [1]
    assert len(inflow.space()) == READ - 3
    assert ids(put(inflow, incoming(2)[3:])) == [2]


def test_the_buffer_is_bounded_by_the_largest_packet() -> None:
    inflow = Inflow(2 * READ)
    with pytest.raises(RemoteProtocolError):
        put(inflow, incoming(1, payload=b"x" * 3 * READ)[:100])


def test_half_a_packet_is_forgotten_with_its_connection() -> None:
    inflow = Inflow(1 << 20)
    put(inflow, incoming(1)[:4])
    inflow.clear()
    assert ids(put(inflow, incoming(2))) == [2]
