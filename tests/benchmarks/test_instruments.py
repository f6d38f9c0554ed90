"""The instruments themselves: framing, the audit of acknowledgements, and that a bound is a bound."""

from __future__ import annotations

import json

import pytest

from bridge.mqtt import codec
from tests.benchmarks import frames, restarts
from tests.benchmarks.rows import row
from tests.support.payloads import as_cbor, rows
from tests.support.standin import Seen

DATA, RESULT = "edge/v1/ward/w1/data/wrist", "edge/v1/ward/w1/result/activity"


def test_packets_by_hand_are_those_of_the_codec() -> None:
    payload = bytes(3_100)
    by_hand = frames.publish_head("a/b", len(payload)) + b"\0\7" + payload
    end = len(by_hand)
    assert frames.split(by_hand + frames.puback(7)) == ([(0x32, 3, end), (0x40, end + 2, end + 4)], end + 4)
    assert frames.message(by_hand, 0x32, 3, len(by_hand)) == ("a/b", 7, payload)
    (acknowledged,), _ = codec.read_packets(frames.puback(7), 100)
    assert acknowledged == 7


@pytest.mark.parametrize("kept", [0, 1, 2, 5, 3_000])
def test_half_a_packet_waits(kept: int) -> None:
    whole = frames.publish_head("a/b", 3_100) + b"\0\7" + bytes(3_100)
    assert frames.split(frames.puback(1) + whole[:kept]) == ([(0x40, 2, 4)], 4)


@pytest.mark.parametrize(
    ("order", "broken"), [(("came", "sent", "taken", "acked"), 0), (("came", "sent", "acked", "taken"), 1)]
)
def test_the_audit_sees_an_acknowledgement_before_its_result(order: tuple[str, ...], broken: int) -> None:
    plain = as_cbor(rows())
    observation = bytes([plain[0] + 1]) + plain[1:] + b"\x63seq\x07"  # one more key
    result = json.dumps({"device": "w1", "seq": 7}).encode()
    packets = {
        "came": Seen("came", DATA, observation, 0.0),
        "acked": Seen("acked", DATA, observation, 0.0),
        "sent": Seen("sent", RESULT, result, 0.0),
        "taken": Seen("taken", RESULT, result, 0.0),
    }
    assert restarts.audit([packets[kind] for kind in order]) == (1, broken)


def test_a_bound_holds_at_the_bound_and_not_beyond() -> None:
    assert row("x", "", [0.7, 0.8, 0.9], "at least", 0.8).passed
    assert not row("x", "", [0.7, 0.79, 0.9], "at least", 0.8).passed
    assert not row("x", "", [1.3], "at most", 1.2).passed
