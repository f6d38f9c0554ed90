"""The instruments themselves: framing, the audit of acknowledgements, and that a bound is a bound."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bridge.mqtt import codec
from bridge.wire.formats import Format
from bridge.wire.observation import decode_observation
from tests.benchmarks import frames, restarts, work
from tests.benchmarks.report import save
from tests.benchmarks.rows import row
from tests.support.payloads import as_cbor, rows
from tests.support.standin import Seen

if TYPE_CHECKING:
    from pathlib import Path

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


def test_packets_are_read_however_they_are_cut() -> None:
    results = [frames.publish_head("a/b", size) + b"\0\7" + bytes(size) for size in (300, 5, 3_100)]
    stream = b"".join(results) * 2
    for cut in range(1, len(stream) - 1, 7):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            reader, found = frames.Reader(ours), []
            for part in (stream[:cut], stream[cut : cut + 1], stream[cut + 1 :]):
                theirs.sendall(part)
                found += [(first, bytes(body)) for first, body in reader.read()]
            assert found == [(0x32, b"\0\3a/b\0\7" + bytes(size)) for size in (300, 5, 3_100)] * 2
    assert frames.topic_end(memoryview(found[0][1]), 0) == 5


def test_a_window_as_text_is_the_window_that_its_label_is_of() -> None:
    given = work.text_windows()
    assert len({len(payload) for payload in given.payloads}) == 1
    for seq in (65_536, 999_999_999):
        tail = work.tail(seq, text=True)
        assert len(tail) == len(work.tail(0, text=True))
        model, seen = work.Model(), [decode_observation(one + tail, Format.JSON) for one in given.payloads]
        assert [one.seq for one in seen] == [seq] * len(seen)
        assert [label for label, _ in model.answers(np.stack([one.values for one in seen]))] == given.labels


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


def test_a_row_without_a_bound_has_neither_passed_nor_fallen_short(tmp_path: Path) -> None:
    found = [
        row("a", "", [1.0], "at least", 2.0),
        row("b", "", [2.0], "at least", 2.0),
        row("c", "", [1.0], "at least", None),
    ]
    save(tmp_path, found, None, {})
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert [(one["name"], one["passed"]) for one in report["rows"]] == [("a", False), ("b", True), ("c", None)]
