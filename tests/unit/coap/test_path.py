"""When datagrams are sent, repeated, paused and released; by given times and over a simulated link."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.coap.path import BACK_OFF, LONGEST_S, PROBE_S, Exchange, Path
from tests.unit.coap.simulated import World


class Known:
    """A round trip known beforehand."""

    def __init__(self, srtt_s: float | None = 0.05, rto_s: float = 0.1) -> None:
        self.srtt_s = srtt_s
        self.rto_s = rto_s
        self.samples: list[float] = []

    def sample(self, seconds: float) -> None:
        self.samples.append(seconds)


def exchange(*, repeats: bool = True) -> Exchange:
    return Exchange(lambda: None, repeats=repeats)


def begin(path: Path, now: float, *, repeats: bool = True) -> Exchange:
    new = exchange(repeats=repeats)
    path.begin(new)
    assert path.poll(now) == [new]
    return new


def sendings(path: Path, until: float) -> list[float]:
    times = []
    while path.next_due is not None and path.next_due <= until:
        due = path.next_due
        times.extend([due] * len(path.poll(due)))
    return times


def test_the_back_off_is_times_one_and_a_half_up_to_a_second() -> None:
    path = Path(4, Known())
    alone = begin(path, 0.0)
    sendings(path, 0.9)
    waits = [b - a for a, b in itertools.pairwise(alone.sent)]
    assert waits == pytest.approx([0.1, 0.15, 0.225, 0.3375])
    long = Path(4, Known(2.0, 2.5))
    far = begin(long, 0.0)
    sendings(long, 7.4)
    assert far.sent == pytest.approx([0, 2.5, 5.0])  # above 1 s the time-out itself is the longest wait
    assert BACK_OFF == 1.5
    assert LONGEST_S == 1.0


def test_what_is_answered_is_not_repeated() -> None:
    path = Path(4, Known())
    done = begin(path, 0.0)
    path.answered(done, 0.05)
    assert path.next_due is None
    assert path.in_flight == 0


def test_karns_rule_and_its_exception() -> None:
    trip = Known()
    path = Path(8, trip)
    clean, twice, soon = begin(path, 0.0), begin(path, 0.0), begin(path, 0.0)
    path.answered(clean, 0.05)
    path.poll(0.1)
    path.answered(soon, 0.11)  # 10 ms after the repetition: it belongs to the first sending
    path.answered(twice, 0.15)  # may belong to either
    assert trip.samples == pytest.approx([0.05, 0.11])


def test_a_time_out_learned_meanwhile_counts() -> None:
    trip = Known()
    path = Path(4, trip)
    waiting = begin(path, 0.0)
    trip.rto_s = 0.3
    assert path.poll(0.1) == []
    assert waiting.due == 0.3


def test_an_answer_to_something_later_voids_the_back_off() -> None:
    path = Path(8, Known())
    early = begin(path, 0.0)
    assert sendings(path, 0.26) == pytest.approx([0.1, 0.25])
    later = begin(path, 0.26)
    path.answered(later, 0.31)
    assert early.due == pytest.approx(0.35)  # not 0.25 + 0.225


def test_the_window_holds_back_and_the_oldest_goes_first() -> None:
    path = Path(32, Known())
    several = [exchange() for _ in range(10)]
    for one in several:
        path.begin(one)
    assert path.poll(0.0) == several[:4]
    path.answered(several[1], 0.05)
    assert path.poll(0.05) == several[4:6]  # slow start: one answer, two more
    assert path.window == 5
    path.leave(several[6])
    path.leave(several[0])
    assert path.poll(0.05) == [several[7]]


def test_one_probes_a_dead_path_and_the_first_answer_releases_the_others() -> None:
    path = Path(8, Known())
    several = [begin(path, 0.01 * n) for n in range(4)]
    sendings(path, 1.5)
    assert path.is_dead
    counts = [len(one.sent) for one in several]
    probes = sendings(path, 10.0)
    gaps = [b - a for a, b in itertools.pairwise(probes)]
    assert gaps == pytest.approx([PROBE_S] * len(gaps))
    assert len(probes) >= 16
    [prober] = [one for one, count in zip(several, counts, strict=True) if len(one.sent) > count]
    path.answered(prober, 10.05)
    assert path.poll(10.05) == [one for one in several if one is not prober]


def test_a_slow_path_is_probed_once_a_second() -> None:
    path = Path(8, Known(2.0, 2.5))
    begin(path, 0.0)
    sendings(path, 9.0)
    probes = sendings(path, 15.0)
    assert [b - a for a, b in itertools.pairwise(probes)] == pytest.approx([LONGEST_S] * (len(probes) - 1))
    assert path.is_dead


def test_another_takes_over_when_the_prober_is_given_up() -> None:
    path = Path(8, Known())
    first, second = begin(path, 0.0), begin(path, 0.0)
    sendings(path, 3.0)
    last = first.sent[-1]
    path.leave(first)
    assert path.poll(3.0) == []
    assert second.due == pytest.approx(last + PROBE_S)
    assert path.poll(second.due) == [second]
    path.leave(second)
    assert path.poll(100.0) == []
    path.begin(third := exchange())
    assert path.poll(100.0) == [third]  # still dead, but long silent: at once
    path.begin(exchange())
    assert path.poll(100.0) == []


def test_what_had_not_timed_out_when_the_path_died_is_late_as_soon_as_it_lives() -> None:
    path = Path(8, Known())
    first = begin(path, 0.0)
    sendings(path, 0.99)
    young = begin(path, 0.99)
    young.due = 50.0
    sendings(path, 2.0)
    assert path.is_dead
    path.answered(first, 2.02)
    assert path.poll(2.02) == [young]


def test_an_answer_that_was_not_waited_for_is_news_of_the_path_all_the_same() -> None:
    path = Path(8, Known())
    path.answered(exchange(), 1.0)
    assert not path.is_dead
    assert path.next_due is None


def test_a_datagram_that_asks_for_no_acknowledgement_is_never_repeated() -> None:
    path = Path(8, Known())
    begin(path, 0.0, repeats=False)
    assert path.poll(0.1) == []
    assert path.in_flight == 0


# Over a simulated link


@pytest.mark.parametrize(("loss", "most", "p98"), [(0.0, 1.0, 0.026), (0.1, 1.4, 0.26), (0.2, 1.7, 0.4)])
def test_random_loss(loss: float, most: float, p98: float) -> None:
    world = World(loss=loss)
    world.messages(3000, 0.05)
    world.run(200)
    assert len(world.answered) == 3000
    assert world.transmissions <= most
    assert world.delays()[2940] <= p98
    assert world.most_in_flight <= 32


@pytest.mark.parametrize("delay", [0.3, 1.0, 4.0])
def test_a_longer_round_trip_is_learned(delay: float) -> None:
    """Karn's rule alone would never take a sample again."""
    world = World()
    world.messages(1200, 0.25)
    world.at(20.0, lambda: setattr(world, "delay", delay))
    world.run(100)
    copies = len(world.sent) - len(set(world.sending))
    assert copies <= 30
    assert world.trip.srtt_s == pytest.approx(2 * delay, rel=0.1)
    world.run(330)
    assert len(world.answered) == 1200
    assert len(world.sent) == 1200 + copies  # not one more


def test_a_first_time_out_below_the_round_trip_is_outgrown() -> None:
    world = World(delay=1.5)
    world.messages(100, 0.5)
    world.run(80)
    assert len(world.answered) == 100
    assert world.transmissions <= 1.3


@pytest.mark.parametrize(("rate", "delay", "offered"), [(20.0, 0.1, 20.0), (7.0, 1.0, 5.0), (7.0, 1.0, 20.0)])
def test_a_thin_link_is_not_filled_with_copies(rate: float, delay: float, offered: float) -> None:
    world = World(rate=rate, delay=delay)
    world.messages(600, 1 / offered)
    world.run(200)
    assert len(world.answered) == 600
    assert world.transmissions <= 1.1


def test_a_queue_of_our_own_is_kept_short() -> None:
    """A link for 100 a second with 20 ms is offered more for long: the window settles where the queue is short."""
    world = World(rate=100.0, delay=0.01)
    world.messages(3000, 0.008)
    world.run(5)
    world.most_in_flight = 0
    world.run(28)
    assert 10 <= world.most_in_flight <= 14  # twice what the link itself holds is the measure
    world.run(32)
    assert len(world.answered) == 3000  # and it was kept busy: 3,000 messages need 30 s


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_an_outage(loss: float) -> None:
    world = World(loss=loss)
    world.messages(1200, 0.05)
    world.at(10.0, lambda: setattr(world, "is_up", False))
    world.at(40.0, lambda: setattr(world, "is_up", True))
    world.run(41.5)
    probes = [time for time in world.sent if 12.0 <= time < 40.0]
    assert len(probes) <= 28 / PROBE_S + 1
    first = min(time for time in world.arrived.values() if time >= 40.0)
    assert first <= 41.5
    world.run(100)
    assert len(world.answered) == 1200


def test_short_fades_are_no_outage() -> None:
    world = World()
    world.messages(2000, 0.05)
    for second in range(2, 100, 5):
        world.at(second, lambda: setattr(world, "is_up", False))
        world.at(second + 0.25, lambda: setattr(world, "is_up", True))
    world.run(120)
    assert len(world.answered) == 2000
    assert world.transmissions <= 1.4
    assert world.delays()[-1] <= 0.6  # 0.25 of fade, one more wait, the way


@settings(deadline=None)
@given(
    st.floats(0, 0.6),
    st.floats(0.0005, 2),
    st.sampled_from([0.0, 5.0, 50.0]),
    st.integers(1, 32),
    st.lists(st.tuples(st.floats(0, 20), st.floats(0.05, 5)), max_size=3),
)
@example(0.375, 0.375, 5.0, 29, [(3.25, 0.375)])  # answers at no usual time once made the time-out grow for ever
def test_whatever_the_link_does_everything_is_answered(
    loss: float, delay: float, rate: float, window: int, outages: list[tuple[float, float]]
) -> None:
    world = World(loss=loss, delay=delay, rate=rate, window=window)
    world.messages(60, 0.2)
    for begin_at, seconds in outages:
        world.at(begin_at, lambda: setattr(world, "is_up", False))
        world.at(begin_at + seconds, lambda: setattr(world, "is_up", True))
    world.run(4000)
    assert len(world.answered) == 60
    assert world.most_in_flight <= window
    assert world.path.next_due is None
