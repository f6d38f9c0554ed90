"""The gaps of the codec library that ours closes, one by one."""

from __future__ import annotations

import mqtt5
import pytest

from bridge.errors import RemoteProtocolError
from bridge.mqtt.codec import in_words, read_packets
from bridge.mqtt.codec import publish as write_publish
from bridge.mqtt.messages import Delivery, Publish

MAXIMUM = 1_000


def refusal(data: bytes) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        read_packets(data, MAXIMUM)
    return caught.value


def publish(topic: str, **fields: object) -> bytes:
    return mqtt5.PublishPacket(topic, b"x", **fields).write()  # type: ignore[arg-type] # by name


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # dropped by the library's panic
def test_invalid_utf_8_is_a_protocol_error(capfd: pytest.CaptureFixture[str]) -> None:
    data = publish("ab").replace(b"ab", b"\xff\xfe")
    assert refusal(data).code == 0x81
    capfd.readouterr()  # the library reports its panic on stderr by itself


@pytest.mark.parametrize("topic", ["a\0b", "a/+", "#"])
def test_topics_with_nul_or_wildcards_are_refused(topic: str) -> None:
    assert refusal(publish("x" * len(topic)).replace(b"x" * len(topic), topic.encode(), 1)).code in {0x81, 0x90}


def test_a_response_topic_with_nul_is_refused() -> None:
    assert refusal(publish("a", response_topic="r\0")).code == 0x90


def test_packet_id_0_is_refused() -> None:
    data = bytearray(publish("a", qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1))
    data[data.index(b"\x00\x01a") + 3 : data.index(b"\x00\x01a") + 5] = b"\0\0"
    assert refusal(bytes(data)).code == 0x82
    assert refusal(b"\x40\x02\x00\x00").code == 0x82


@pytest.mark.parametrize("header", [b"\x30\xff\xff\xff\x7f", b"\x30\xe9\x07", b"\x20\xff\x7f"])
def test_a_claim_above_the_maximum_is_refused_before_it_is_buffered(header: bytes) -> None:
    why = refusal(header)
    assert why.code == 0x95
    assert "above our Maximum Packet Size 1000" in str(why)


def test_a_complete_packet_above_the_maximum_is_refused_too() -> None:
    assert refusal(mqtt5.PublishPacket("a", b"x" * MAXIMUM).write()).code == 0x95


def test_a_packet_of_exactly_the_maximum_is_taken() -> None:
    whole = mqtt5.PublishPacket("a", b"x" * (MAXIMUM - 7)).write()
    assert len(whole) == MAXIMUM
    assert read_packets(whole[:-1], MAXIMUM) == ([], 0)
    packets, used = read_packets(whole, MAXIMUM)
    assert (len(packets), used) == (1, MAXIMUM)


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\xff", b"\x30\x80\x80", b"\x20\x06\x00"])
def test_the_beginning_of_a_packet_is_waited_for(data: bytes) -> None:
    assert read_packets(data, MAXIMUM) == ([], 0)


@pytest.mark.parametrize(
    "data", [b"\x00\x00", b"\x36\x03\x00\x01a", b"\x30\x80\x80\x80\x80\x01", b"\x20\x02\x02\x00\x00"]
)
def test_what_is_not_mqtt_5_is_a_protocol_error(data: bytes) -> None:
    assert refusal(data).code == 0x81


def test_a_string_longer_than_its_packet_is_an_error_not_a_wait() -> None:
    assert refusal(b"\x30\x04\x00\x09ab" + publish("next")).code == 0x81


def test_complete_packets_are_read_and_the_rest_is_left() -> None:
    one, two = publish("one"), mqtt5.PingRespPacket().write()
    packets, used = read_packets(bytearray(one + two + one[:3]), MAXIMUM)
    assert [type(packet) for packet in packets] == [Delivery, mqtt5.PingRespPacket]
    assert used == len(one + two)


def test_a_puback_of_success_is_its_packet_id_and_any_other_a_packet() -> None:
    told = [mqtt5.PubAckPacket(7).write(), mqtt5.PubAckPacket(8, reason_code=mqtt5.PubAckReasonCode(0x87)).write()]
    (success, refusal_), used = read_packets(b"".join(told), MAXIMUM)
    assert (success, used) == (7, len(b"".join(told)))
    assert isinstance(refusal_, mqtt5.PubAckPacket)
    assert (refusal_.packet_id, refusal_.reason_code) == (8, 0x87)


@pytest.mark.parametrize("topic", ["", "x" * 65_536])
@pytest.mark.parametrize("expiry", [None, 5])
def test_a_topic_that_cannot_be_written_is_an_error(topic: str, expiry: int | None) -> None:
    with pytest.raises(ValueError, match=r"topic|Topic|String"):
        write_publish(Publish(topic, b"", expiry=expiry), 1)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0x87, "0x87 not authorized"),
        (0x10, "0x10 no matching subscribers"),
        (0x8E, "0x8E session taken over"),
        (0x42, "0x42"),
    ],
)
def test_codes_in_words(code: int, words: str) -> None:
    assert in_words(code) == words
