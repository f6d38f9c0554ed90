"""Predictions against what was measured with the real libraries over a TUN emulator (docs/adr/0014)."""

from __future__ import annotations

import math

import msgspec
import pytest

from bridge.link.estimate import Estimate, Leg
from bridge.link.predict import Prediction, Predictor
from bridge.link.profiles import Encoding, Limits, Profile, Stream, Transport
from bridge.link.tails import coap_tail, queue_wait, still_lost, tcp_rate, tcp_tail, volley_lost
from bridge.link.traffic import traffic
from bridge.link.utility import utility

PLAIN = Encoding("float32", 300.0, 0.0)
MEASURED = Stream(20.0, 1.0, 0.01, (PLAIN,), name_bytes=0, receipts=0.0)  # 20 messages a second of 300 bytes
KNOWN = Limits()


def path(rtt: float = 0.05, loss: float = 0.0, spell: float = 0.0, rate: float | None = None) -> Estimate:
    base = rtt + (340 / rate if rate else 0.0)
    leg = Leg(samples=100, heard=0.0, rtt=base, min_rtt=base, base=base, srtt=base, rttvar=0.0, size=340.0)
    return Estimate(mqtt=leg, coap=leg, loss=loss, spell=spell, goodput=rate or 6800.0, goodput_known=rate is not None)


def predicted(
    estimate: Estimate,
    transport: Transport,
    *,
    copies: int = 1,
    rows: int = 1,
    encoding: Encoding = PLAIN,
    limits: Limits = KNOWN,
    stream: Stream = MEASURED,
) -> Prediction:
    profile = Profile(transport, copies, encoding, rows, (rows - 1) / stream.rate_hz)
    return Predictor(limits, estimate).of(traffic(profile, stream, limits))


FADES = path(loss=0.05, spell=0.25 * 0.95)
THIN = path(0.2, rate=8000.0)


@pytest.mark.parametrize(
    ("estimate", "mqtt", "con"),
    [
        (path(), 27, 29),
        (path(loss=0.01), 28, 31),
        (path(loss=0.05), 126, 99),
        (path(loss=0.10), 283, 101),
        (path(loss=0.20), 921, 148),
        (FADES, 601, 190),  # CON: between the library's 248 and the better sender's 133
        (THIN, 154, 145),
        (path(0.6), 303, 304),
    ],
)
def test_p95_as_measured(estimate: Estimate, mqtt: float, con: float) -> None:
    """Within 15 % for CoAP, 36 % for MQTT; one bound for both, plus a millisecond of scheduling."""
    assert predicted(estimate, "coap-con").p95 * 1000 == pytest.approx(con, rel=0.18, abs=1)
    assert predicted(estimate, "mqtt-1").p95 * 1000 == pytest.approx(mqtt, rel=0.36, abs=8)


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.05, 0.1])
def test_p95_of_copies_as_measured(loss: float) -> None:
    assert predicted(path(loss=loss), "coap-non", copies=2).p95 * 1000 == pytest.approx(27, abs=2)


@pytest.mark.parametrize(("loss", "low", "high"), [(0.05, 0.997, 0.999), (0.1, 0.98, 0.996), (0.2, 0.95, 0.97)])
def test_share_of_copies_that_arrive_as_measured(loss: float, low: float, high: float) -> None:
    assert low <= 1 - volley_lost(loss, 0.0, 2) <= high
    assert 0.93 <= 1 - volley_lost(0.05, 0.25, 2) <= 0.955  # fades take both


@pytest.mark.parametrize(("loss", "sent"), [(0.05, 1.13), (0.1, 1.23), (0.2, 1.57)])
def test_transmissions_as_measured(loss: float, sent: float) -> None:
    assert predicted(path(loss=loss), "coap-con").transmissions == pytest.approx(sent, rel=0.03)


@pytest.mark.parametrize(
    ("transport", "low", "high"), [("coap-con", 371, 371), ("mqtt-0", 412, 412), ("mqtt-1", 437, 470)]
)
def test_bytes_a_message_as_measured(transport: Transport, low: float, high: float) -> None:
    seen = predicted(path(), transport)
    assert low <= seen.bytes_s / seen.messages <= high
    assert seen.messages == 20.0


def test_above_capacity_freshness_grows_without_bound() -> None:
    seen = predicted(THIN, "coap-non", copies=2)  # measured: 2.1 s after 100 s, and growing
    assert seen.utilisation > 1
    assert seen.p95 == math.inf
    assert predicted(path(0.2, rate=6500.0), "coap-con").p95 == math.inf


def test_windows_limit_long_paths() -> None:
    """Measured: a window of 8 fails at 600 ms, Receive Maximum 20 allows 400 messages a second at 50 ms."""
    assert predicted(path(0.6), "coap-con", limits=Limits(coap_window=8)).p95 == math.inf
    assert predicted(path(0.6), "coap-con", limits=Limits(coap_window=16)).p95 < 0.31
    busy = Stream(450.0, 1.0, 0.01, (PLAIN,))
    assert predicted(path(), "mqtt-1", stream=busy).p95 == math.inf
    assert predicted(path(), "mqtt-0", stream=busy).p95 < math.inf
    assert predicted(path(), "coap-con", stream=busy).utilisation > 2  # of what the library carries
    lossy = predicted(path(0.5, loss=0.2), "mqtt-1", limits=Limits(receive_maximum=14))
    assert lossy.p95 == math.inf


def test_a_leg_that_is_down_or_out_is_ruled_out() -> None:
    for leg in (Leg(up=False), Leg(out=True)):
        assert predicted(Estimate(mqtt=leg), "mqtt-1").p95 == math.inf
        assert predicted(Estimate(mqtt=leg), "coap-con").p95 < math.inf


def test_blocks_cost_a_round_trip_each_and_are_lost_each() -> None:
    one = predicted(path(loss=0.01), "coap-con", rows=3)
    three = predicted(path(loss=0.01), "coap-con", rows=3, limits=Limits(block_size=320))
    assert three.p95 - one.p95 == pytest.approx(0.1, abs=0.02)
    assert coap_tail(loss=0.02, spell=0.0, rto=0.1, blocks=10) > coap_tail(loss=0.02, spell=0.0, rto=0.1)


def test_packing_waits_and_receipts_cost() -> None:
    assert predicted(path(), "coap-con", rows=3).p95 - predicted(path(), "coap-con").p95 == pytest.approx(0.1, abs=0.01)
    with_receipts = Stream(20.0, 1.0, 0.01, (PLAIN,), name_bytes=0)
    more = predicted(path(), "mqtt-1", stream=with_receipts).bytes_s - predicted(path(), "mqtt-1").bytes_s
    assert more == 20 * 176


def test_tails_grow_with_loss_and_end_in_infinity() -> None:
    for spell in (0.0, 0.3):
        coap = [coap_tail(loss=p, spell=spell, rto=0.1) for p in (0.0, 0.05, 0.1, 0.2, 0.3)]
        tcp = [tcp_tail(loss=p, spell=spell, rtt=0.05, rate=20.0) for p in (0.0, 0.05, 0.1, 0.2, 0.3)]
        assert coap == sorted(coap)
        assert tcp == sorted(tcp)
        assert coap[0] == tcp[0] == 0.0
    assert coap_tail(loss=0.9, spell=0.0, rto=0.1) == math.inf
    assert tcp_tail(loss=0.9, spell=0.0, rtt=0.05, rate=20.0) == math.inf


def test_small_laws() -> None:
    assert still_lost(0.05, 0.25, 0.0) == pytest.approx(1.0)
    assert still_lost(0.05, 0.25, 10.0) == pytest.approx(0.05)
    assert still_lost(0.05, 0.0, 0.0) == 0.05
    assert queue_wait(utilisation=0.5, service=1.0) < queue_wait(utilisation=0.9, service=1.0) < 1.0
    assert tcp_rate(loss=0.01, rtt=0.1) == pytest.approx(1400 / 0.1 * 1.22 / 0.1, rel=0.2)  # Mathis et al. 1997


@pytest.mark.parametrize(
    ("freshness", "bytes_s", "cost", "expected"),
    [
        (0.1, 0.0, 0.0, 1.0),
        (0.2, 1000.0, 0.01, 0.875),
        (0.4, 1000.0, 0.0, 0.125),
        (0.1, 1000.0, 0.015, 0.25),
        (math.inf, math.inf, 0.9, -0.5),
    ],
)
def test_utility_by_its_formula(freshness: float, bytes_s: float, cost: float, expected: float) -> None:
    assert utility(freshness, wanted=0.2, bytes_s=bytes_s, reference=1000.0, cost=cost, budget=0.01) == expected
    assert utility(0.1, wanted=0.2, bytes_s=0.0, reference=1.0, cost=0.001) == 0.25  # no budget at all


@pytest.mark.parametrize(("computing", "expected"), [(0.0, 1.0), (0.00125, 0.9875), (0.025, 0.75), (3.0, 0.75)])
def test_computing_is_dear_by_what_is_declared(computing: float, expected: float) -> None:
    assert utility(0.1, wanted=0.2, bytes_s=0.0, reference=1.0, computing=computing) == pytest.approx(expected)


def test_what_is_computed_makes_rows_late() -> None:
    slow = msgspec.structs.replace(PLAIN, computing=0.003)
    every = [Profile("coap-con", 1, encoding, 1, 0.0) for encoding in (PLAIN, slow)]
    quick, late = (traffic(profile, MEASURED, KNOWN) for profile in every)
    predictor = Predictor(KNOWN, path())
    assert predictor.of(late).p95 == pytest.approx(predictor.of(quick).p95 + 0.003)
    assert predictor.least(late) == pytest.approx(predictor.least(quick) + 0.003)
