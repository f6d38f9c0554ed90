"""What an outsider may rely on: Results, ids, receipts, `_infer`, CoAP's GET and Observe."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from bridge.messages import SeriesKey, window_id
from tests.support.payloads import as_cbor, as_json, rows
from tests.support.peers import Coap, Peer

if TYPE_CHECKING:
    from tests.contract.conftest import Device, World

TYPES: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "device": str,
    "stream": str,
    "seq": int,
    "epoch": str,
    "t": float,
    "model": str,
    "version": str,
    "label": str,
    "score": float,
    "tier": str,
    "provisional": bool,
    "rev": int,
    "latency_ms": float,
    "reason": str,
    "lane": str,
}
EXTENSIONS = {
    "t_source",
    "local",
}  # the first is the contract's, for rows without `t`; readers ignore what they do not know
JSON, CBOR = 50, 60


def check_result(result: dict[str, Any], device: str, stream: str) -> None:
    assert set(result) == set(TYPES) | EXTENSIONS
    for key, kind in TYPES.items():
        assert type(result[key]) is kind, key
    assert (result["device"], result["stream"], result["model"]) == (device, stream, "activity")
    assert re.fullmatch(r"[0-9a-f]{32}", result["id"])
    assert 0 <= result["score"] <= 1
    assert result["latency_ms"] >= 0
    assert (result["tier"], result["provisional"], result["rev"]) == ("bridge", False, 0)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [0, 1])
def test_a_result_has_the_contract_s_keys_and_types(device: Device, version: int, qos: int) -> None:
    with Peer(device.world.url(version), version=version) as sender:
        sender.publish(device.data(), as_json(rows(), t=1e9, dt=0.02, seq=7, epoch="boot-1", lane="backlog"), qos=qos)
        (came,) = device.ears.expect(device.result)
    result = came.json
    check_result(result, device.name, "window")
    assert not came.retain
    assert (result["seq"], result["epoch"], result["t"], result["lane"]) == (7, "boot-1", 1e9, "backlog")
    assert result["t_source"] == "device"


def test_an_mqtt_3_1_1_operator_sees_what_an_mqtt_5_device_causes(device: Device) -> None:
    with Peer(device.world.url311, device.result, device.error, version=4) as operator:
        with Peer(device.world.url5) as sender:
            sender.publish(device.data(), as_json(rows()), ContentType="application/json")
            sender.publish(device.data(), b"{", ContentType="application/json")
            sender.publish(device.data(), as_cbor(rows()), ContentType="application/cbor")
        assert len(operator.expect(device.result, 2)) == 2
        assert len(operator.expect(device.error)) == 1


def test_rows_without_t_are_stamped_by_the_bridge(device: Device) -> None:
    with Peer(device.world.url5) as sender:
        sender.publish(device.data(), as_cbor(rows()))
        assert device.ears.expect(device.result)[0].json["t_source"] == "bridge"


def test_coap_result_is_the_published_one(device: Device) -> None:
    answer = device.coap.post(device.data(), as_cbor(rows()), query=["result"], content_format=CBOR)
    assert (answer.code, int(answer.message.opt.content_format)) == ("2.05", JSON)
    (published,) = device.ears.expect(device.result)
    assert answer.payload == published.payload
    check_result(published.json, device.name, "window")


def test_coap_without_the_query_says_safe_only(device: Device) -> None:
    answer = device.coap.post(device.data(), as_json(rows()), content_format=JSON)
    assert (answer.code, answer.payload) == ("2.04", b"")
    device.ears.expect(device.result)


def test_coap_result_is_not_given_where_no_window_was_completed(device: Device) -> None:
    answer = device.coap.post(device.data("wrist"), as_json(rows(5), seq=0), query=["result"])
    assert (answer.code, answer.payload) == ("2.04", b"")


def test_get_and_observe_of_the_newest_result(device: Device) -> None:
    assert device.coap.request("GET", device.result).code == "4.04"
    first = device.coap.post(device.data(), as_json(rows()), query=["result"])
    assert device.coap.request("GET", device.result).payload == first.payload
    with Coap(device.world.coap) as observer:
        registered = observer.request("GET", device.result, observe=0)
        assert (registered.code, registered.payload) == ("2.05", first.payload)
        second = device.coap.post(device.data(), as_json(rows(seed=2)), query=["result"])
        notified = observer.next(registered.message.token)
        assert (notified.code, notified.payload) == ("2.05", second.payload)
        assert notified.message.opt.observe > registered.message.opt.observe


@pytest.mark.parametrize("door", ["MQTT", "CoAP"])
def test_known_rows_are_receipted_again_and_give_no_second_result(device: Device, door: str) -> None:
    whole = as_json(rows(), seq=0, epoch="e", receipt=True)
    with Peer(device.world.url5) as sender:
        for again in range(1, 4):
            if door == "MQTT":
                sender.publish(device.data(), whole)
            else:
                assert device.coap.post(device.data(), whole).code == "2.04"
            receipts = device.ears.expect(device.receipt(), again)
            assert receipts[-1].json == {"epoch": "e", "safe": [[0, 127]]}
        sender.publish(device.data(), as_json(rows(), seq=128, epoch="e"))
        found = [message.json["seq"] for message in device.ears.expect(device.result, 2)]
    assert found == [0, 128]
    assert not device.ears.received(device.error)


def test_a_receipt_comes_only_when_asked_for(device: Device) -> None:
    with Peer(device.world.url5) as sender:
        sender.publish(device.data("wrist"), as_json(rows(100), seq=0, epoch="e"))
        sender.publish(device.data("wrist"), as_json(rows(28), seq=100, epoch="e", receipt=True))
        (receipt,) = device.ears.expect(device.receipt("wrist"))
    assert receipt.json == {"epoch": "e", "safe": [[100, 127]]}


def test_without_seq_the_same_rows_are_new_each_time(device: Device) -> None:
    with Peer(device.world.url311, version=4) as sender:
        for _ in range(3):
            sender.publish(device.data(), as_json(rows()))
        found = [message.json for message in device.ears.expect(device.result, 3)]
    assert len({result["id"] for result in found}) == 3
    assert len({result["label"] for result in found}) == 1


@pytest.mark.real
def test_the_same_rows_give_the_same_id_on_any_bridge_however_packed(on_mosquitto: World, on_embedded: World) -> None:
    values = rows(320)
    found = []
    for world, packed in ((on_mosquitto, 7), (on_embedded, 128)):
        topic = "edge/v1/lab/packed/result/activity"
        with Peer(world.url5, topic) as peer:
            for first in range(0, 320, packed):
                part = values[first : first + packed]
                peer.publish("edge/v1/lab/packed/data/wrist", as_json(part, seq=first, epoch="e"))
            answers = [message.json for message in peer.expect(topic, 4)]
            found.append([(answer["seq"], answer["id"], answer["label"], answer["score"]) for answer in answers])
    assert found[0] == found[1]
    key = SeriesKey("lab", "packed", "wrist", "e")
    assert [(seq, name) for seq, name, *_ in found[0]] == [
        (n, window_id(key, n, "activity")) for n in (0, 64, 128, 192)
    ]


def test_a_route_maps_a_foreign_topic(world: World) -> None:
    topic = "edge/v1/local/watch-7/result/activity"
    with Peer(world.url5, topic) as peer:
        peer.publish("acme/watch-7/imu", as_json([]).replace(b'"values": []', b'"rows": ' + str(rows()).encode()))
        check_result(peer.expect(topic)[0].json, "watch-7", "imu")


def test_the_reason_says_that_there_is_no_cloud(device: Device) -> None:
    answer = device.coap.post(device.data("far"), as_json(rows()), query=["result"])
    assert answer.code == "2.05"
    result = device.ears.expect(device.result)[0].json
    assert (result["tier"], result["reason"]) == (
        "bridge",
        "the route computes in the cloud, but no cloud is configured",
    )


def test_infer_answers_where_it_is_asked_to(device: Device) -> None:
    with Peer(device.world.url5) as sender:
        for number in range(3):
            asked = f"question {number}".encode()
            reply = f"edge/v1/_reply/{device.name}/{number}"
            sender.publish("edge/v1/_infer/activity", as_json(rows()), ResponseTopic=reply, CorrelationData=asked)
            (answer,) = device.ears.expect(reply)
            assert answer.correlation == asked
            check_result(answer.json, "_infer", "_infer")


@pytest.mark.parametrize(
    ("model", "payload", "reason"),
    [
        ("activity", b"{", "malformed"),
        ("activity", as_json(rows(127)), "shape"),
        ("activity", as_json(rows(), receipt=True, seq=1).replace(b"values", b"value"), "missing_key"),
        ("nonsense", as_json(rows()), "no_route"),
    ],
)
def test_infer_answers_a_bad_question_with_an_error(device: Device, model: str, payload: bytes, reason: str) -> None:
    reply = f"edge/v1/_reply/{device.name}"
    with Peer(device.world.url5) as sender:
        sender.publish(f"edge/v1/_infer/{model}", payload, ResponseTopic=reply, CorrelationData=b"?")
        (error,) = device.ears.expect(reply)
        assert (error.json["reason"], error.correlation) == (reason, b"?")
        sender.publish("edge/v1/_infer/activity", as_json(rows()), ResponseTopic=reply, CorrelationData=b"!")
        answer = device.ears.expect(reply, 2)[1]
    assert answer.correlation == b"!"
    check_result(answer.json, "_infer", "_infer")


UNSAFE = [
    "edge/v1/lab/{name}/data/window",
    "edge/v1/lab/{name}/result/activity",
    "edge/v1/_bridge/gw-1/status",
    "edge/v1/_infer/activity",
    "edge/v1",
    "acme/{name}/imu",
]


@pytest.mark.parametrize("topic", UNSAFE)
def test_infer_answers_nothing_to_a_topic_that_would_harm(device: Device, topic: str) -> None:
    unsafe = topic.format(name=device.name)
    reply = f"edge/v1/_reply/{device.name}"
    with Peer(device.world.url5, unsafe) as sender:
        had = len(sender.received(unsafe))
        sender.publish("edge/v1/_infer/activity", as_json(rows()), ResponseTopic=unsafe, CorrelationData=b"harm")
        sender.publish("edge/v1/_infer/activity", as_json(rows()), ResponseTopic=reply, CorrelationData=b"fine")
        assert device.ears.expect(reply)[0].correlation == b"fine"
        sender.publish(unsafe, b"mine", qos=0)
        harmed = [message for message in sender.received(unsafe)[had:] if message.correlation == b"harm"]
    assert not [message for message in harmed if b"label" in message.payload or b"reason" in message.payload]


def test_infer_answers_nothing_to_a_topic_so_deep_that_the_broker_would_end_the_connection(device: Device) -> None:
    reply = f"edge/v1/_reply/{device.name}"
    with Peer(device.world.url5) as sender:
        sender.publish("edge/v1/_infer/activity", as_json(rows()), ResponseTopic=reply + "/a" * 210)
        sender.publish("edge/v1/_infer/activity", as_json(rows()), ResponseTopic=reply, CorrelationData=b"fine")
        assert device.ears.expect(reply)[0].correlation == b"fine"


@pytest.mark.parametrize("version", [4, 5])
def test_infer_without_a_response_topic_harms_nobody(device: Device, version: int) -> None:
    reply = f"edge/v1/_reply/{device.name}"
    with Peer(device.world.url(version), version=version) as sender, Peer(device.world.url5) as asker:
        sender.publish("edge/v1/_infer/activity", as_json(rows()))
        asker.publish("edge/v1/_infer/activity", as_json(rows()), ResponseTopic=reply)
        check_result(device.ears.expect(reply)[0].json, "_infer", "_infer")


@pytest.mark.real
def test_the_status_is_retained_and_names_version_and_models(on_mosquitto: World) -> None:
    topic = "edge/v1/_bridge/gw-1/status"
    with Peer(on_mosquitto.url311, topic, version=4) as late:
        status = late.expect(topic)[0]
    assert status.retain
    assert status.json["online"] is True
    assert status.json["models"].keys() == {"activity"}
    assert status.json["version"]
    assert isinstance(status.json["t"], float)
