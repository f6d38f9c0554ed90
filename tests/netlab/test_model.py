"""The link model without a network: rate, queue, delay, loss, fades, gaps, outages; and that a seed is a seed."""

from __future__ import annotations

import itertools
import math
import statistics
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.netlab.model import SLOT, Conditions, Direction, Fades, Stage, faded
from tests.netlab.scenarios import SCENARIOS, link

PACKET = 345


def direction(*stages: Stage, seed: int = 1) -> Direction:
    return Direction(stages, "up", seed)


def plain(**conditions: Any) -> Direction:
    return direction(link(rtt=50, **conditions))


def fates(of: Direction, count: int, every: float = 0.05) -> list[float | None]:
    return [of.offer(n * every, PACKET) for n in range(count)]


def test_a_link_without_rate_only_delays() -> None:
    assert plain(rate=None).offer(3.0, PACKET) == pytest.approx(3.025)


def test_a_firewall_loses_udp_alone_before_the_start_too() -> None:
    of = direction(link(rtt=50, no_udp=True, loss=1.0), link(2, rtt=50, no_udp=True), link(4, rtt=50))
    assert [of.offer(at, PACKET, udp=True) is None for at in (-1.0, 1.0, 3.0, 5.0)] == [True, True, True, False]
    of = direction(link(rtt=50, no_udp=True))
    assert [of.offer(at, PACKET) is None for at in (-1.0, 1.0)] == [False, False]


def test_packets_leave_one_after_the_other_at_the_rate() -> None:
    of = plain(rate=64e3, queue=16_000)
    due = [of.offer(1.0, PACKET) for _ in range(3)]
    assert due == pytest.approx([1.025 + (n + 1) * PACKET * 8 / 64e3 for n in range(3)])


def test_the_queue_takes_so_many_bytes_and_no_more_and_empties_at_the_rate() -> None:
    of = plain(rate=64e3, queue=10 * PACKET)
    assert [of.offer(0.0, PACKET) is not None for _ in range(12)] == [True] * 10 + [False] * 2
    assert of.count.overflow == 2
    one_out = PACKET * 8 / 64e3
    assert of.offer(one_out * 0.99, PACKET) is None
    assert of.offer(one_out * 1.01, PACKET) == pytest.approx(0.025 + 11 * one_out)


def test_what_waits_goes_on_at_the_new_rate() -> None:
    of = direction(link(rtt=50, rate=8e3), link(1, rtt=50, rate=80e3))
    assert of.offer(0.5, 1_000) == pytest.approx(0.5 + 0.5 + 0.05 + 0.025)  # half at 8 kbit/s, half ten times as fast


def test_a_gap_holds_packets_and_loses_none() -> None:
    of = direction(link(rtt=50), link(1, rtt=50, rate=0.0), link(2, rtt=50, rate=None))
    assert [of.offer(1 + n / 10, PACKET) for n in range(5)] == pytest.approx([2.025] * 5)
    assert of.count.lost == 0


def test_an_outage_loses_everything_also_what_waits() -> None:
    of = direction(link(rtt=50, rate=8e3), link(1, rtt=50, outage=True), link(2, rtt=50))
    found = [of.offer(at, 500) for at in (0.2, 0.7, 1.0, 1.999, 2.0)]
    assert [due is not None for due in found] == [True, False, False, False, True]
    assert of.count.lost == 3


def test_loss_is_the_share_asked_for() -> None:
    count, share = 20_000, 0.1
    of = plain(loss=share)
    passed = sum(due is not None for due in fates(of, count))
    assert of.count.lost == count - passed
    assert abs(of.count.lost - share * count) < 4 * math.sqrt(count * share * (1 - share))


@pytest.mark.parametrize("every", [0.05, SLOT, SLOT / 20], ids=["apart", "slot after slot", "twenty a slot"])
def test_loss_has_no_memory(every: float) -> None:
    lost = [due is None for due in fates(plain(rate=None, loss=0.2), 40_000, every)]
    assert sum(lost) / len(lost) == pytest.approx(0.2, abs=4 * math.sqrt(0.2 * 0.8 / 40_000))
    for apart in (1, 5, 20):
        again = sum(a and b for a, b in zip(lost, lost[apart:], strict=False)) / sum(lost)
        assert again == pytest.approx(0.2, abs=0.02)


def test_what_is_sent_besides_or_a_little_later_changes_no_fate() -> None:
    """Else one packet more gives all those after it other dice, and two runs of a seed are as two seeds."""
    alone, beside = plain(rate=None, loss=0.3, jitter=0.02), plain(rate=None, loss=0.3, jitter=0.02)
    expected, found = [], []
    for n in range(400):
        expected.append(alone.offer(n / 20 + 0.001, PACKET))
        due = beside.offer(n / 20 + 0.002, PACKET)
        found.append(due if due is None else due - 0.001)
        if n % 3:
            beside.offer(n / 20 + 0.03, PACKET)
    assert [one is None for one in found] == [one is None for one in expected]
    assert [one for one in found if one] == pytest.approx([one for one in expected if one])


def test_another_packet_of_the_same_slot_has_another_fate() -> None:
    of = plain(rate=None, loss=0.5)
    pairs = [(of.offer(n * SLOT + 0.001, PACKET), of.offer(n * SLOT + 0.002, PACKET)) for n in range(2_000)]
    both = sum(one is None and other is None for one, other in pairs) / len(pairs)
    assert both == pytest.approx(0.25, abs=0.04)


def test_fades_have_the_length_and_share_asked_for_and_take_both_directions() -> None:
    stages = (link(rtt=50, fades=Fades(0.25, 0.05)),)
    spans = faded(stages, 1, 20_000)
    assert sum(end - begin for begin, end in spans) / 20_000 == pytest.approx(0.05, rel=0.15)
    assert statistics.mean(end - begin for begin, end in spans) == pytest.approx(0.25, rel=0.15)
    up = fates(Direction(stages, "up", 1), 10_000, 0.01)
    down = fates(Direction(stages, "down", 1), 10_000, 0.01)
    inside = [
        any(begin <= n * 0.01 + 8 * PACKET / 10e6 < end for begin, end in faded(stages, 1, 101)) for n in range(10_000)
    ]
    assert [due is None for due in up] == [due is None for due in down] == inside


def test_jitter_stays_in_its_range_and_keeps_the_order() -> None:
    due = [one for one in fates(plain(rate=None, jitter=0.2), 5_000, 0.001) if one is not None]
    assert due == sorted(due)
    late = [one - 0.001 * n for n, one in enumerate(due)]
    assert 0.025 <= min(late) < 0.2 < max(late) <= 0.225


def test_reordered_packets_are_overtaken() -> None:
    due = [one for one in fates(plain(rate=None, reorder=0.1, reorder_by=0.12), 5_000) if one is not None]
    overtaken = sum(one > after for one, after in itertools.pairwise(due))
    assert overtaken / len(due) == pytest.approx(0.1 * 0.9, abs=0.02)


def test_a_shorter_delay_does_not_let_packets_overtake() -> None:
    of = direction(link(rtt=1_000), link(1, rtt=10))
    first, second = of.offer(0.99, PACKET), of.offer(1.01, PACKET)
    assert first is not None
    assert second is not None
    assert first <= second


def test_before_the_start_nothing_is_lost_or_counted() -> None:
    of = direction(link(rtt=50, loss=1.0), link(1, rtt=50))
    assert of.offer(-1e6, PACKET) == pytest.approx(-1e6 + 0.025, abs=1e-3)
    assert of.offer(-0.5, PACKET) == pytest.approx(-0.475, abs=1e-3)
    assert msgspec.structs.astuple(of.count) == (0, 0, 0, 0)
    assert of.offer(0.0, PACKET) is None
    assert msgspec.structs.astuple(of.count) == (1, PACKET, 1, 0)


WILD = st.builds(
    Conditions,
    delay=st.floats(0, 1),
    rate=st.none() | st.floats(1e3, 1e8),
    queue=st.integers(1_500, 64_000),
    jitter=st.floats(0, 1),
    loss=st.floats(0, 1),
    fades=st.none() | st.builds(Fades, st.floats(0.01, 1), st.floats(0.01, 0.9)),
    outage=st.booleans(),
)
PACKETS = st.lists(st.tuples(st.floats(0, 0.3), st.integers(20, 1_500)), max_size=100)


@given(st.lists(WILD, min_size=1, max_size=5), PACKETS, st.integers())
def test_every_packet_has_one_fate_in_order_and_the_same_again(
    conditions: list[Conditions], packets: list[tuple[float, int]], seed: int
) -> None:
    stages = [Stage(float(n), one, one) for n, one in enumerate(conditions)]
    runs = []
    for _ in range(2):
        of, now, due = Direction(stages, "up", seed), 0.0, []
        for gap, size in packets:
            now += gap
            due.append((now, of.offer(now, size)))
        runs.append(due)
    assert runs[0] == runs[1]
    passed = [(at, one) for at, one in runs[0] if one is not None]
    assert all(one >= at for at, one in passed)
    assert [one for _, one in passed] == sorted(one for _, one in passed)
    assert of.count.packets == len(packets) == len(passed) + of.count.lost + of.count.overflow
    assert of.count.bytes == sum(size for _, size in packets)


def test_another_seed_and_the_other_direction_lose_others() -> None:
    stages = (link(rtt=50, loss=0.3),)
    ways = [
        fates(one, 200)
        for one in (Direction(stages, "up", 1), Direction(stages, "up", 2), Direction(stages, "down", 1))
    ]
    assert len({tuple(one) for one in ways}) == 3


@pytest.mark.parametrize(
    "stages",
    [
        (),
        (link(rtt=1), link(0, rtt=1)),
        (link(rtt=1, rate=0.0),),
        (link(rtt=1, queue=1_000),),
    ],
)
def test_what_makes_no_link_is_refused(stages: tuple[Stage, ...]) -> None:
    with pytest.raises(ValueError, match=r"stage|queue"):
        direction(*stages)


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenarios_are_links_that_carry_the_messages(name: str) -> None:
    scenario = SCENARIOS[name]
    Direction(scenario.stages, "up", 1)
    Direction(scenario.stages, "down", 1)
    busy = [s.up.rate for s in scenario.stages if s.up.rate]
    enough = min(busy) >= 8 * (PACKET + 30) * scenario.rate * 0.9
    assert enough == (name != "squeeze")  # which is there to be met
    assert scenario.constant or scenario.least >= 50
