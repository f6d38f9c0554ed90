"""What operators ask the bridge: taken out of the deliveries, answered where they want it, refused with a reason."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from bridge.errors import Refused
from bridge.mqtt.messages import Delivery
from bridge.requests import LARGEST, Reply, Requests

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.mqtt.connection import Connection
    from bridge.mqtt.messages import Publish

ASK = "edge/v1/_bridge/b/replay"


class Bench:
    """Requests, and a connection that keeps what it is given."""

    def __init__(self) -> None:
        self.full = False
        self.sent: list[Publish] = []
        self.acknowledged: list[Delivery] = []
        self.asked: list[tuple[dict[str, Any], Reply | None]] = []
        self.why: Refused | None = None
        self.requests = Requests({ASK: self.take}, lambda topic: not topic.startswith("edge/v1/s"))

    def take(self, request: dict[str, Any], reply: Reply | None) -> None:
        if self.why is not None:
            raise self.why
        self.asked.append((request, reply))

    def publish(self, messages: Iterable[Publish]) -> None:
        self.sent += messages

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        self.acknowledged += deliveries

    def sift(self, *deliveries: Delivery) -> list[Delivery]:
        return self.requests.sift(cast("Connection", self), list(deliveries))

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(message.payload) for message in self.sent]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def delivery(payload: bytes, *, topic: str = ASK, reply: str | None = "re/ply", retain: bool = False) -> Delivery:
    return Delivery(topic, payload, 1, retain, None, reply, b"c", 1)


def test_requests_are_taken_out_and_acknowledged_at_once(bench: Bench) -> None:
    data, ask = delivery(b"", topic="edge/v1/s/d/data/x"), delivery(b'{"since": 1}')
    assert bench.sift(data, ask) == [data]
    assert bench.sift(data) == [data]
    assert bench.acknowledged == [ask]
    assert bench.asked == [({"since": 1}, Reply("re/ply", b"c"))]


def test_cbor_is_read_too(bench: Bench) -> None:
    bench.sift(delivery(b"\xa1\x65since\x01"))
    assert [request for request, _ in bench.asked] == [{"since": 1}]


@pytest.mark.parametrize("reply", [None, "edge/v1/s/d/result/m"])
def test_no_answer_where_none_is_asked_for_or_allowed(bench: Bench, reply: str | None) -> None:
    bench.sift(delivery(b"{}", reply=reply), delivery(b"{", reply=reply))
    assert bench.asked == [({}, None)]
    assert bench.sent == []


@pytest.mark.parametrize(
    ("payload", "reason", "names"),
    [
        (b"{", "malformed", ""),
        (b"[1]", "malformed", "object"),
        (b'{"since": 1, "since": 2}', "malformed", "since"),
        (b'{"since": 1e999}', "not_finite", ""),
        (b'{"since": ' + b"1" * LARGEST + b"}", "too_large", str(LARGEST)),
    ],
)
def test_what_cannot_be_read_is_refused_logged_and_told(
    bench: Bench, caplog: pytest.LogCaptureFixture, payload: bytes, reason: str, names: str
) -> None:
    bench.sift(delivery(payload))
    assert bench.asked == []
    (told,) = bench.told
    assert (told["reason"], names in told["detail"]) == (reason, True)
    assert (bench.sent[0].topic, bench.sent[0].correlation) == ("re/ply", b"c")
    assert ASK in caplog.text
    assert reason in caplog.text


def test_a_retained_request_is_refused(bench: Bench) -> None:
    bench.sift(delivery(b"{}", retain=True))
    assert "retained" in bench.told[0]["detail"]


def test_what_the_handler_refuses_is_told_unless_the_broker_takes_no_more(bench: Bench) -> None:
    bench.why = Refused("overload", "too many")
    bench.sift(delivery(b"{}"))
    bench.full = True
    bench.sift(delivery(b"{}"))
    assert bench.told == [{"reason": "overload", "detail": "too many", "stream": None, "seq": None}]
