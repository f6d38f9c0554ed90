"""What comes of a run: logs, figures, rates, packets, the picture."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.netlab import emulator, namespaces, record, recordings, traffic
from tests.netlab.emulator import Told
from tests.netlab.log import Log
from tests.netlab.model import Count
from tests.netlab.record import Deliveries
from tests.netlab.rivals import carried_rate, exchange_time
from tests.netlab.scenarios import SCENARIOS, link

if TYPE_CHECKING:
    from pathlib import Path

TOLD = Told(
    up=Count(packets=9, bytes=3_000), down=Count(packets=5, bytes=1_000), carrying=6, late_p50=0, late_p99=1e-4,
    late_max=1e-3, priority="normal",
)  # fmt: skip


def log(path: Path, numbers: list[int]) -> Path:
    with Log(path) as of:
        for number in numbers:
            of.note(number)
    return path


def test_logs_join_to_latency_loss_and_duplicates(tmp_path: Path) -> None:
    sent = log(tmp_path / "sent", [0, 1, 2, 3])
    found = record.join(sent, log(tmp_path / "arrived", [1, 0, 1, 3]))
    assert [math.isinf(one) for one in found.latency] == [False, False, True, False]
    assert found.latency[1] < found.latency[0]
    assert found.duplicates == 1
    figures = record.figures(found, TOLD)
    assert (figures.messages, figures.lost, figures.transmissions, figures.bytes) == (4, 1, 1.5, 1_000)
    assert figures.latency["p95"] is None


@pytest.mark.parametrize(("sent", "arrived"), [([0, 2], []), ([0, 0], []), ([0, 1], [2])])
def test_logs_that_cannot_be_are_refused(tmp_path: Path, sent: list[int], arrived: list[int]) -> None:
    with pytest.raises(ValueError, match=r"numbers|never"):
        record.join(log(tmp_path / "sent", sent), log(tmp_path / "arrived", arrived))


def deliveries(seconds: list[float]) -> Deliveries:
    return Deliveries(np.arange(len(seconds)) / 20, np.array(seconds), 0)


def test_quantiles_are_nearest_rank_and_lost_ones_are_the_latest() -> None:
    found = record.figures(deliveries([n / 1e3 for n in range(1, 1_000)] + [math.inf]), TOLD).latency
    assert (found["p50"], found["p95"], found["p99"]) == pytest.approx((500, 950, 990))
    assert found["p99.9"] == pytest.approx(999)
    few = record.figures(deliveries([0.1] * 97 + [math.inf] * 3), TOLD).latency
    assert few == {"p50": 100.0, "p95": 100.0, "p98": None, "p99": None, "p99.9": None}


def test_the_worst_of_each_second() -> None:
    assert record.worst_by_second(deliveries([0.03] * 19 + [0.5] + [math.inf] + [0.1] * 20), 0.0) == [500, None, 100]


def test_what_comes_after_an_outage() -> None:
    waited = [0.1] * 20 + [2.5 - n / 20 for n in range(20)] + [0.1] * 18 + [math.inf] * 2  # gone in the second second
    found = record.returns(deliveries(waited), 0.0, [2.0, 2.95, 9.0])
    assert [(one.at, one.fresh) for one in found] == [(2.0, 0.0), (2.95, None)]
    assert [one.first for one in found] == pytest.approx([0.1, 0.0])
    assert SCENARIOS["outage-15"].returns == [35.0]
    assert SCENARIOS["lan"].returns == []


def test_messages_are_recorded_rows_and_know_their_number() -> None:
    made = [one.encode() for one in recordings.messages(1, 3_000, 0.01)]
    assert [traffic.number_of(one) for one in made] == list(range(3_000))
    assert sum(map(len, made)) / len(made) + len(traffic.TOPIC) == pytest.approx(301, abs=5)
    assert json.loads(made[1])["values"] == [json.loads(row) for row in following(made[0], 5)]
    assert made[:3] != [one.encode() for one in recordings.messages(2, 3, 0.01)]


def following(payload: bytes, count: int) -> list[str]:
    """Recorded rows after those of a message."""
    every = recordings.rows()
    last = every.index(json.dumps(json.loads(payload)["values"][-1], separators=(",", ":")))
    return every[last + 1 : last + 1 + count]


def test_recorded_rows_are_written_to_four_decimals() -> None:
    first = np.load(min(recordings.SAMPLE.glob(recordings.PERSON)))["values"]
    written = [json.loads(row) for row in recordings.rows()[: len(first)]]
    assert np.abs(np.array(written) - first).max() < 0.51e-4
    assert recordings.row_bytes() == pytest.approx(46, abs=1)


def ip(protocol: int, rest: bytes) -> bytes:
    return bytes([0x45, *bytes(8), protocol, 0, 0]) + bytes(8) + rest


def udp(payload: bytes) -> bytes:
    return ip(17, bytes(8) + payload)


def tcp(payload: bytes) -> bytes:
    return ip(6, bytes(12) + b"\x80" + bytes(19) + payload)


def test_what_asks_the_link_on_purpose() -> None:
    assert [emulator.probe_bytes(udp(one)) for one in (b"\x40\x00\x00\x01", b"\x70\x00\x00\x01")] == [32, 32]
    assert [emulator.probe_bytes(tcp(one)) for one in (b"\xc0\x00", b"\xd0\x00")] == [54, 54 + 52]
    others = (
        udp(b"\x60\x00\x00\x01"), udp(b"\x40\x02\x00\x01"), udp(b"\x40\x00\x00\x01more"), udp(b""), tcp(b""),
        tcp(b"\x40\x02"), ip(1, b"\xc0\x00"),
    )  # fmt: skip
    assert not any(map(emulator.probe_bytes, others))


def test_what_a_packet_carries() -> None:
    assert emulator.carried(udp(b"datagram")) == 8
    assert emulator.carried(tcp(b"segment")) == 7
    assert emulator.carried(ip(1, b"an echo request")) == 0


def test_the_rate_of_one_request_at_a_time() -> None:
    assert carried_rate([link(rtt=50, rate=None)]) == pytest.approx(10)
    q = 1 - 0.9**2
    assert exchange_time(link(rtt=50, rate=None, loss=0.1)) == pytest.approx(
        0.05 + 2.5 * (q + 2 * q**2 + 4 * q**3 + 8 * q**4)
    )
    changing = [link(rtt=50, rate=None), link(1, rtt=50, outage=True, loss=0.5), link(2, rtt=500, rate=None)]
    assert carried_rate(changing) == pytest.approx(1)


def test_only_namespaces_of_the_laboratory_are_removed() -> None:
    with pytest.raises(ValueError, match="none of the laboratory's"):
        namespaces.remove("production")
