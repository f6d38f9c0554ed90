"""Whatever comes in: the documented error or code, and the next good message gives its Result."""

from __future__ import annotations

import json
import struct
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.payloads import as_cbor, as_json, rows
from tests.support.peers import Coap, Peer, wait_for

if TYPE_CHECKING:
    from tests.contract.conftest import Device, World

GOOD = as_json(rows())
MEGABYTE = 1 << 20
CODES = {"no_route": "4.04", "too_large": "4.13", "unknown_format": "4.15"}


def with_number(text: str) -> bytes:
    """JSON of a window whose first number is this text."""
    return as_json([[12345.0, *row[1:]] if n == 0 else row for n, row in enumerate(rows())]).replace(
        b"12345.0", text.encode()
    )


def with_float32(number: float) -> bytes:
    return as_cbor(rows())[: -4 * 6] + struct.pack("<f", number) + struct.pack("<5f", *[0.0] * 5)


class Bad(NamedTuple):
    """A payload, and the contract's reason for refusing it."""

    name: str
    payload: bytes
    reason: str
    stream: str = "window"


BAD = [
    Bad("empty", b"", "malformed"),
    Bad("json cut short", GOOD[:-9], "malformed"),
    Bad("json and something after it", GOOD + b"x", "malformed"),
    Bad("json not utf-8", b'{"values": "\xff"}', "malformed"),
    Bad("json array", b"[[0, 0, 0, 0, 0, 0]]", "malformed"),
    Bad("json string", b'"\\u0000"', "malformed"),
    Bad("cbor cut short", as_cbor(rows())[:-1], "malformed"),
    Bad("cbor and something after it", as_cbor(rows()) + b"\0", "malformed"),
    Bad("cbor break", b"\xff\0", "malformed"),
    Bad("cbor claiming 2^63 bytes", b"\xa1\x66values\x5b\x7f" + b"\xff" * 7, "malformed"),
    Bad("cbor date", b"\xa1\x66values\xc1\x00", "malformed"),
    Bad("random bytes", bytes(range(128, 256)), "malformed"),
    Bad("seq below 0", as_json(rows(), seq=-1), "malformed"),
    Bad("seq a text", as_json(rows(), seq="1"), "malformed"),
    Bad("seq beyond 2^53", as_json(rows(), seq=2**53), "malformed"),
    Bad("epoch too long", as_json(rows(), epoch="e" * 65), "malformed"),
    Bad("lane unknown", as_json(rows(), lane="fast"), "malformed"),
    Bad("dt zero", as_json(rows(), dt=0), "malformed"),
    Bad("duplicate key", b'{"values": [[0]], ' + GOOD[1:], "malformed"),
    Bad("duplicate key in cbor", b"\xa2" + as_cbor(rows())[1:] + as_cbor(rows())[1:], "malformed"),
    Bad("missing key", b'{"value": [[0, 0, 0, 0, 0, 0]]}', "missing_key"),
    Bad("missing key in cbor", b"\xa0", "missing_key"),
    Bad("five channels", as_json(rows(channels=5)), "shape"),
    Bad("five channels in rows", as_json(rows(3, channels=5)), "shape", "wrist"),
    Bad("a row too few", as_json(rows(127)), "shape"),
    Bad("ragged", as_json([*rows(127), [0.0]]), "shape"),
    Bad("no rows", as_json([]), "shape"),
    Bad("empty rows", as_json([[], []]), "shape"),
    Bad("texts for numbers", as_json([["1"] * 6] * 128), "shape"),
    Bad("null", as_json(None), "shape"),
    Bad("cbor array of another shape", as_cbor(rows()).replace(b"\x18\x80\x18\x06", b"\x18\x81\x18\x06"), "shape"),
    Bad("NaN", with_number("NaN"), "not_finite"),
    Bad("Infinity", with_number("Infinity"), "not_finite"),
    Bad("-Infinity", with_number("-Infinity"), "not_finite"),
    Bad("1e999", with_number("1e999"), "not_finite"),
    Bad("beyond float32", with_number("1e39"), "not_finite"),
    Bad("NaN in cbor", with_float32(float("nan")), "not_finite"),
    Bad("∞ in cbor", with_float32(float("inf")), "not_finite"),
    Bad("t infinite", as_json(rows(), t=0).replace(b'"t": 0', b'"t": -1e999'), "not_finite"),
    Bad("json 10,000 deep", b"[" * 10_000 + b"]" * 10_000, "too_deep"),
    Bad("json objects 10,000 deep", b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "too_deep"),
    Bad("cbor 10,000 deep", b"\x81" * 10_000 + b"\0", "too_deep"),
    Bad("cbor maps 10,000 deep", b"\xa1\x61a" * 10_000 + b"\0", "too_deep"),
    Bad("cbor tags 10,000 deep", b"\xd8\x28" * 10_000 + b"\0", "too_deep"),
    Bad("cbor unbounded arrays 10,000 deep", b"\x9f" * 10_000, "too_deep"),
    Bad("unknown stream", GOOD, "no_route", "nonsense"),
    Bad("10 MB", b" " * (10 * MEGABYTE), "too_large"),
    Bad(
        "more rows than a message may have",
        b'{"values": [' + b"[0,0,0,0,0,0]," * 65_536 + b"[0,0,0,0,0,0]]}",
        "too_large",
        "wrist",
    ),
]
each_bad = pytest.mark.parametrize("bad", BAD, ids=[bad.name for bad in BAD])


def expect_error(device: Device, reason: str, stream: str) -> None:
    (message,) = device.ears.expect(device.error)
    error = message.json
    assert set(error) == {"reason", "detail", "stream", "seq"}
    assert (error["reason"], error["stream"]) == (reason, stream)
    assert error["detail"]
    assert len(error["detail"]) < 500
    assert not message.retain


@each_bad
@pytest.mark.parametrize("version", [4, 5])
def test_over_mqtt_an_error_and_the_next_message_unharmed(device: Device, bad: Bad, version: int) -> None:
    with Peer(device.world.url(version), version=version) as sender:
        sender.publish(device.data(bad.stream), bad.payload)
        sender.publish(device.data(), GOOD)
        device.ears.expect(device.result)
        expect_error(device, bad.reason, bad.stream)
    assert len(device.ears.received(device.result)) == 1


@each_bad
def test_over_coap_a_code_and_the_next_message_unharmed(device: Device, bad: Bad) -> None:
    answer = device.coap.post(device.data(bad.stream), bad.payload, query=["result"])
    assert answer.code == CODES.get(bad.reason, "4.00")
    assert answer.payload, "a diagnostic for the person with the device (RFC 7252 section 5.5.2)"
    assert device.coap.post(device.data(), GOOD, query=["result"]).code == "2.05"
    if bad.name != "10 MB":  # refused while it was still coming
        expect_error(device, bad.reason, bad.stream)


@pytest.mark.parametrize("content_type", ["text/csv", "application/senml+json", "application/jsonx"])
def test_over_mqtt_an_unknown_content_type(device: Device, content_type: str) -> None:
    with Peer(device.world.url5) as sender:
        sender.publish(device.data(), GOOD, ContentType=content_type)
        sender.publish(device.data(), GOOD, ContentType="application/json; charset=utf-8")
        device.ears.expect(device.result)
        expect_error(device, "unknown_format", "window")


@pytest.mark.parametrize("content_format", [0, 42, 110, 65_535])
def test_over_coap_an_unknown_content_format(device: Device, content_format: int) -> None:
    answer = device.coap.post(device.data(), GOOD, content_format=content_format)
    assert answer.code == "4.15"
    assert device.coap.post(device.data(), GOOD, content_format=50, query=["result"]).code == "2.05"
    expect_error(device, "unknown_format", "window")


def test_the_format_named_is_the_format_read(device: Device) -> None:
    assert device.coap.post(device.data(), GOOD, content_format=60).code == "4.00"
    assert device.coap.post(device.data(), as_cbor(rows()), content_format=50).code == "4.00"
    assert device.coap.post(device.data(), as_cbor(rows()), content_format=60, query=["result"]).code == "2.05"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "edge",
        "edge/v1/lab/a/data",
        "edge/v2/lab/a/data/window",
        "edge/v1/lab/_a/data/window",
        "edge/v1/lab/ä/data/window",
        "edge/v1/_infer/activity",
        "edge/v1/lab/a/data/window/x",
    ],
)
def test_coap_paths_that_are_none(device: Device, path: str) -> None:
    assert device.coap.post(path, GOOD).code == "4.04"
    assert device.coap.post(device.data(), GOOD, query=["result"]).code == "2.05"


@pytest.mark.parametrize("name", ["_hidden", "white space", "ä", "x" * 65, ".", "$x"])
def test_mqtt_topics_with_names_that_are_none(device: Device, name: str) -> None:
    topic = f"edge/v1/lab/{name}/data/window"
    with Peer(device.world.url5, f"edge/v1/lab/{name}/#") as sender:
        sender.publish(topic, GOOD)
        sender.publish(device.data(), GOOD)
        device.ears.expect(device.result)
        assert {message.topic for message in sender.messages} <= {topic}


def test_coap_refuses_at_the_announced_size(device: Device) -> None:
    answer = device.coap.request("POST", device.data(), bytes(64), block1=(0, True, 2), size1=10 * MEGABYTE)
    assert answer.code == "4.13"
    assert answer.message.opt.size1 == MEGABYTE
    assert device.coap.post(device.data(), GOOD, query=["result"]).code == "2.05"


@pytest.mark.real
def test_ten_thousand_small_blocks_of_a_body_that_never_ends(on_mosquitto: World) -> None:
    """128 bytes each: the limit of 1 MiB is passed on the way, and then the sender goes on all the same."""
    path = "edge/v1/lab/endless/data/window"
    with Coap(on_mosquitto.coap) as endless, Coap(on_mosquitto.coap) as other:
        before = on_mosquitto.bridge.rss_mib
        codes = []
        for number in range(10_000):
            codes.append(endless.request("POST", path, bytes(128), block1=(number, True, 3)).code)
            if number % 2_000 == 0:
                assert other.post(path, GOOD, query=["result"]).code == "2.05"
        passed = MEGABYTE // 128
        assert set(codes[:passed]) == {"2.31"}
        assert codes[passed] == "4.13"
        assert set(codes[passed:]) <= {"4.13", "4.08"}
        assert on_mosquitto.bridge.rss_mib - before < 24
        assert endless.post(path, GOOD, query=["result"]).code == "2.05"


def test_at_most_ten_errors_a_second_and_the_good_ones_go_on(device: Device) -> None:
    with Peer(device.world.url311, version=4) as sender:
        began = time.monotonic()
        while time.monotonic() - began < 1.3:
            for _ in range(10):
                sender.publish(device.data(), b"{", qos=0)
            sender.publish(device.data(), b"{", qos=1)
            time.sleep(0.02)
        sender.publish(device.data(), GOOD)
        device.ears.expect(device.result)
    told = [message.at for message in device.ears.received(device.error)]
    assert len(told) >= 10
    slack = 0.05  # between the bridge's clock and ours
    assert all(later - earlier > 1 - slack for earlier, later in zip(told, told[10:], strict=False))


def test_one_device_s_errors_do_not_silence_another_s(device: Device) -> None:
    other = f"edge/v1/lab/{device.name}-2"
    with Peer(device.world.url5, f"{other}/error") as sender:
        for _ in range(50):
            sender.publish(device.data(), b"{", qos=0)
        sender.publish(f"{other}/data/window", b"{")
        assert sender.expect(f"{other}/error")[0].json["reason"] == "malformed"


def test_an_error_says_which_rows(device: Device) -> None:
    with Peer(device.world.url5) as sender:
        sender.publish(device.data("wrist"), as_json(rows(3, channels=4), seq=17))
        assert device.ears.expect(device.error)[0].json["seq"] == 17


def test_rows_after_their_gap_was_given_up_are_stale(device: Device) -> None:
    """`gap` is 2 s; these rows come 8,192 rows late, so the bridge has not waited that long."""
    with Peer(device.world.url5) as sender:
        sender.publish(device.data("wrist"), as_json(rows(64), seq=0, epoch="e"))
        sender.publish(device.data("wrist"), as_json(rows(8_200), seq=128, epoch="e"))
        device.ears.expect(device.result)
        sender.publish(device.data("wrist"), as_json(rows(64), seq=64, epoch="e"))
        error = device.ears.expect(device.error)[0].json
    assert (error["reason"], error["seq"]) == ("stale", 64)
    seqs = [message.json["seq"] for message in device.ears.received(device.result)]
    assert min(seqs) == 128, "no window spans the gap"


def test_a_bad_foreign_message_is_told_to_the_device_it_maps_to(world: World) -> None:
    topic = "edge/v1/local/odd-1/error"
    result = "edge/v1/local/odd-1/result/activity"
    with Peer(world.url5, topic, result) as peer:
        peer.publish("acme/odd-1/imu", b'{"other": []}')
        peer.publish("acme/odd-1/imu", json.dumps({"rows": rows()}))
        peer.expect(result)
        error = peer.expect(topic)[0].json
    assert (error["reason"], error["detail"], error["stream"]) == ("missing_key", "rows", "imu")


def test_nothing_of_all_this_left_a_trace_on_stderr(world: World) -> None:
    """Runs last in this file: strangers' mistakes are told to them, and are no tracebacks here."""
    said = world.bridge.stderr
    assert "Traceback" not in said
    assert " ERROR " not in said
    wait_for(lambda: world.bridge.running, "the bridge lives")
