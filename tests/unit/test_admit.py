"""The doorkeeper: size, format, depth, route, shape; and how many Errors a device is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cbor2
import numpy as np
import pytest

from bridge.catalog import load_manifest
from bridge.errors import Refused
from bridge.messages import Observation, Skip
from bridge.pipeline.admit import Admission, ErrorGate
from bridge.pipeline.arrival import Arrival
from bridge.pipeline.routes import Route, RouteTable
from bridge.wire.foreign import Decoding
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from bridge.wire.zstd import MAGIC, compress

MANIFEST = load_manifest(Path(__file__).parents[2] / "models" / "activity")
WRIST = Route(model="activity", manifest=MANIFEST, stream="wrist")
CSV = Route(
    model="activity", manifest=MANIFEST, stream="acc", filter="plain/+", device="{1}", decoding=Decoding(format="csv")
)
INFER = Route(model="activity", manifest=MANIFEST, stream="_infer", windows="whole")
ROW = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
TOPIC = "edge/v1/s/d/data/wrist"


@pytest.fixture
def admission() -> Admission:
    return Admission(RouteTable([WRIST, CSV]), {"activity": INFER}, max_payload=400, max_rows=4, depth=8)


def arrival(payload: bytes, topic: str = TOPIC, **how: Any) -> Arrival:
    return Arrival(topic, payload, 0.0, lambda _: None, **how)


def payload(rows: int = 1, **fields: Any) -> bytes:
    return json.dumps({"values": [ROW] * rows, "seq": 9, **fields}).encode()


def observed(admission: Admission, come: Arrival) -> Observation:
    seen = admission.admit(come).seen
    assert isinstance(seen, Observation)
    return seen


def refusal(admission: Admission, come: Arrival) -> Refused:
    with pytest.raises(Refused) as caught:
        admission.admit(come)
    return caught.value


def test_what_fits_is_admitted(admission: Admission) -> None:
    admitted = admission.admit(arrival(payload(4)))
    assert (admitted.feed.route, admitted.feed.source) == (WRIST, ("s", "d", "wrist"))
    assert observed(admission, arrival(payload(4, live_from=7))).live_from == 7


@pytest.mark.parametrize(
    "how",
    [{"content_type": "application/cbor"}, {"content_format": 60}, {"content_format": 60, "content_type": "x/y"}, {}],
)
def test_the_label_says_the_format(admission: Admission, how: dict[str, Any]) -> None:
    assert observed(admission, arrival(cbor2.dumps({"values": [ROW]}), **how)).values.tolist() == [ROW]


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize(
    "how",
    [{}, {"content_type": "application/cbor"}, {"content_type": "application/json"}, {"content_format": 60}],
)
def test_a_frame_of_zstd_needs_no_label_and_stands_any(admission: Admission, how: dict[str, Any], form: Format) -> None:
    sent = Observation(np.array([ROW], np.float32), seq=9, epoch="e", t=1.7e9, dt=0.02, receipt=True)
    frame = encode_observation(sent, form, zstd=True)
    assert frame.startswith(MAGIC)
    assert observed(admission, arrival(frame, **how)).values.tolist() == [ROW]


def test_a_frame_is_refused_for_what_it_holds(admission: Admission) -> None:
    frame = compress(payload(3, why="x" * 400))
    assert len(frame) < 400
    assert refusal(admission, arrival(frame)).reason == "too_large"


def test_a_foreign_payload_is_read_as_its_route_says(admission: Admission) -> None:
    come = arrival(b"1,2,3,4,5,6", "plain/p", content_type="text/csv")
    assert admission.admit(come).feed.source == ("local", "p", "acc")
    assert observed(admission, come).values.tolist() == [ROW]


def test_rows_that_will_never_come_are_admitted_whatever_the_shape(admission: Admission) -> None:
    said = b'{"skip": [[3, 5], [9, 9]], "why": "age", "epoch": "e", "receipt": true}'
    admitted = admission.admit(arrival(said))
    assert (admitted.feed.route, admitted.feed.source) == (WRIST, ("s", "d", "wrist"))
    assert admitted.seen == Skip([(3, 5), (9, 9)], "age", "e", receipt=True)


@pytest.mark.parametrize(
    ("come", "reason", "seq"),
    [
        (arrival(payload(), "edge/v1/s/d/data/x"), "no_route", None),
        (arrival(payload(), "elsewhere"), "no_route", None),
        (arrival(b" " * 401), "too_large", None),
        (arrival(b"", oversize=1 << 24), "too_large", None),
        (arrival(payload(5)), "too_large", 9),
        (arrival(payload(x=[[[[[[[[]]]]]]]])), "too_deep", None),
        (arrival(payload(), content_type="text/plain"), "unknown_format", None),
        (arrival(payload(), content_format=0), "unknown_format", None),
        (arrival(payload(), content_type="application/cbor"), "malformed", None),
        (arrival(b'{"values": [[1, 2]], "seq": 3}'), "shape", 3),
        (arrival(b"1,2", "plain/p"), "shape", None),
        (arrival(payload(), "edge/v1/_infer/activity"), "malformed", None),
        (arrival(b'{"skip": [[1, 2]]}', "edge/v1/_infer/activity", reply_to="r"), "malformed", None),
        (arrival(b'{"skip": [[2, 1]]}'), "malformed", 2),
        (arrival(payload(), "edge/v1/_infer/other", reply_to="r"), "no_route", None),
    ],
)
def test_what_does_not_fit_is_refused(admission: Admission, come: Arrival, reason: str, seq: int | None) -> None:
    why = refusal(admission, come)
    assert (why.reason, why.seq) == (reason, seq)


def test_a_refusal_of_the_shape_names_the_channels(admission: Admission) -> None:
    assert "acc_x, acc_y, acc_z" in refusal(admission, arrival(b'{"values": [[1, 2]]}')).detail


def test_infer_goes_to_a_whole_window_route(admission: Admission) -> None:
    admitted = admission.admit(arrival(payload(), "edge/v1/_infer/activity", reply_to="r"))
    assert (admitted.feed.route, admitted.feed.source) == (INFER, ("_infer", "_infer", "_infer"))


def test_whose_message_it_was_is_told_by_its_topic_alone(admission: Admission) -> None:
    assert admission.source(TOPIC) == ("s", "d", "wrist")
    assert admission.source("edge/v1/s/d/data/x") == ("s", "d", "x")
    assert admission.source("plain/p") == ("local", "p", "acc")
    assert admission.source("edge/v1/_infer/activity") is None


def test_errors_are_bounded_a_device_and_the_rest_is_counted() -> None:
    gate = ErrorGate(10.0)
    assert sum(gate.allows("s", "d", 0.0) for _ in range(50)) == 10
    assert gate.suppressed == 40
    assert gate.allows("s", "other", 0.0)


def test_no_second_anywhere_has_more_errors_than_the_rate() -> None:
    gate = ErrorGate(10.0)
    told = [now for now in (step / 64 for step in range(640)) if gate.allows("s", "d", now)]
    assert len(told) == 100
    assert all(sum(begin <= now < begin + 1 for now in told) == 10 for begin in told[:90])


def test_a_rate_below_one_tells_one_error_in_so_many_seconds() -> None:
    gate = ErrorGate(0.25)
    assert [now for now in range(12) if gate.allows("s", "d", float(now))] == [0, 4, 8]


def test_devices_remembered_are_bounded() -> None:
    gate = ErrorGate(1.0, devices=2)
    for device in ("a", "b", "a", "c"):
        gate.allows("s", device, 0.0)
    assert [gate.allows("s", device, 0.0) for device in ("a", "c", "b")] == [False, False, True]
