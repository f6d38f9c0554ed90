"""Bytes are MQTT 5 packets, the beginning of one below the maximum, or a protocol error. No third outcome."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import mqtt5
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import RemoteProtocolError
from bridge.mqtt.codec import Received, puback, publish, publish_in_full, read_packets
from bridge.mqtt.messages import Delivery, Publish

if TYPE_CHECKING:
    from collections.abc import Iterator

MAXIMUM = 300
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=8)
IDS = st.integers(1, 65_535)
PUBLISHES = st.builds(
    mqtt5.PublishPacket,
    TEXT,
    st.binary(max_size=20),
    qos=st.sampled_from([mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE]),
    packet_id=IDS,
    retain=st.booleans(),
    duplicate=st.booleans(),
    topic_alias=st.none() | IDS,
    content_type=st.none() | TEXT,
    response_topic=st.none() | TEXT,
    correlation_data=st.none() | st.binary(max_size=5),
    user_properties=st.lists(st.tuples(TEXT, TEXT), max_size=2),
)
PACKETS: st.SearchStrategy[Any] = st.one_of(
    PUBLISHES,
    st.builds(
        mqtt5.PubAckPacket,
        IDS,
        reason_code=st.sampled_from([0, 0x10, 0x87]).map(mqtt5.PubAckReasonCode),
        reason_str=st.none() | TEXT,
    ),
    st.builds(
        mqtt5.SubAckPacket,
        IDS,
        st.lists(st.sampled_from([0, 1, 0x87]).map(mqtt5.SubAckReasonCode), min_size=1, max_size=3),
    ),
    st.builds(mqtt5.ConnAckPacket, session_present=st.booleans(), receive_max=IDS, reason_str=st.none() | TEXT),
    st.builds(mqtt5.DisconnectPacket, reason_code=st.sampled_from([0, 0x8E]).map(mqtt5.DisconnectReasonCode)),
    st.builds(mqtt5.PingRespPacket),
    st.builds(mqtt5.PubRelPacket, IDS),
)
STREAMS = st.lists(PACKETS.map(lambda packet: packet.write()), max_size=4).map(b"".join)


pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"  # the library's panics drop the exception that caused them
)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    """The library prints each of its panics to stderr, past Python."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    yield
    os.dup2(saved, 2)
    os.close(saved)
    os.close(null)


def claimed(data: bytes) -> int | None:
    """Bytes of the first packet by MQTT 5 section 2.1.4; None while that cannot be told."""
    length = 0
    for i, byte in enumerate(data[1:5]):
        length |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return 2 + i + length
    return None


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(STREAMS))
    for _ in range(draw(st.integers(0, 3))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data) + draw(st.binary(max_size=3))


@settings(deadline=None, max_examples=1_000)
@given(st.binary(max_size=40) | damaged())
def test_any_bytes_are_packets_or_a_beginning_or_an_error(data: bytes) -> None:
    try:
        _, used = read_packets(data, MAXIMUM)
    except RemoteProtocolError as why:
        code = why.code
        used = None
    if used is None:
        assert code in {0x81, 0x82, 0x90, 0x95}
        return
    assert used <= len(data)
    size = claimed(data[used:])
    assert size is None or len(data) - used < size <= MAXIMUM


@settings(deadline=None)
@given(STREAMS, st.integers(1, 20))
def test_however_bytes_arrive_the_same_packets_come_out(stream: bytes, size: int) -> None:
    whole, used = read_packets(stream, 100_000)
    assert used == len(stream)
    buffer = bytearray()
    pieces: list[Any] = []
    for at in range(0, len(stream), size):
        buffer += stream[at : at + size]
        packets, taken = read_packets(buffer, 100_000)
        pieces += packets
        del buffer[:taken]
    assert [plain(packet) for packet in pieces] == [plain(packet) for packet in whole]
    assert not buffer


def plain(packet: Received) -> object:
    """Something that can be compared."""
    if isinstance(packet, Delivery):
        return msgspec.structs.astuple(packet)
    return packet if isinstance(packet, int) else packet.write()


@settings(deadline=None)
@given(PUBLISHES)
def test_a_delivery_says_what_the_library_reads(packet: mqtt5.PublishPacket) -> None:
    ((got,), _) = read_packets(packet.write(), 100_000)
    assert isinstance(got, Delivery)
    assert (got.topic, got.payload, got.qos) == (packet.topic, packet.payload, int(packet.qos))
    assert (got.retain, got.packet_id, got.alias) == (packet.retain, packet.packet_id, packet.topic_alias)
    assert (got.content_type, got.response_topic) == (packet.content_type, packet.response_topic)
    assert (got.correlation, got.settled) == (packet.correlation_data, None)


MESSAGES = st.builds(
    Publish,
    TEXT,
    st.binary(max_size=20) | st.sampled_from([113, 114, 120, 127, 16_370, 16_381, 16_390, 70_000]).map(bytes),
    retain=st.booleans(),
    content_type=st.none() | TEXT,
    response_topic=st.none() | TEXT,
    correlation=st.none() | st.binary(max_size=5),
    expiry=st.none() | st.integers(0, 2**32 - 1),
)


@settings(deadline=None, max_examples=500)
@given(MESSAGES | st.builds(Publish, TEXT, st.integers(0, 17_000).map(bytes)), st.none() | IDS, st.booleans())
def test_what_is_written_by_hand_is_what_the_library_writes(
    message: Publish, packet_id: int | None, duplicate: bool
) -> None:
    duplicate = duplicate and packet_id is not None
    written = publish(message, packet_id, duplicate=duplicate)
    assert written == publish_in_full(message, packet_id, duplicate=duplicate)
    ((read,), used) = read_packets(written, 1 << 20)
    assert isinstance(read, Delivery)
    assert (read.topic, read.payload, read.packet_id, used) == (
        message.topic,
        message.payload,
        packet_id,
        len(written),
    )


@settings(deadline=None)
@given(IDS, st.sampled_from([0, 0x10, 0x80]))
def test_acknowledgements_are_the_library_s(packet_id: int, code: int) -> None:
    assert puback(packet_id, code) == mqtt5.PubAckPacket(packet_id, reason_code=mqtt5.PubAckReasonCode(code)).write()


@settings(deadline=None)
@given(PUBLISHES, st.integers(1, 255))
def test_no_damaged_text_passes(packet: mqtt5.PublishPacket, byte: int) -> None:
    """A byte that UTF-8 never has, put into the topic."""
    data = bytearray(packet.write())
    at = data.index(packet.topic.encode(), 2)
    data[at] = 0xC0 | (byte & 1)
    with pytest.raises(RemoteProtocolError):
        read_packets(bytes(data), 100_000)
