"""When datagrams are sent, repeated, paused and released, by given times."""

from __future__ import annotations

import itertools

import pytest

from bridge.coap.path import BACK_OFF, LONGEST_S, PROBE_S, Exchange, Path


class Known:
    """A round trip known beforehand."""

    def __init__(self, srtt_s: float | None = 0.05, rto_s: float = 0.1) -> None:
        self.srtt_s = srtt_s
        self.rto_s = rto_s
        self.samples: list[float] = []
        self.repetitions = 0

    def needed(self) -> None:
        self.repetitions += 1

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


def test_an_answer_at_the_usual_time_is_not_taken_for_one_to_the_first_sending() -> None:
    """Once a mean raised by outliers did: each loss then raised it further."""
    trip = Known()
    path = Path(8, trip)
    path.answered(begin(path, 0.0), 0.001)
    trip.srtt_s = 0.05
    lost = begin(path, 1.0)
    path.poll(1.1)
    path.answered(lost, 1.101)
    assert trip.samples == pytest.approx([0.001])


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


def test_nothing_is_backed_off_while_others_are_answered() -> None:
    path = Path(8, Known())
    lost = begin(path, 0.0)
    for now in (0.01, 0.12, 0.23, 0.34):
        other = begin(path, now)
        sendings(path, now + 0.05)
        path.answered(other, now + 0.05)
        sendings(path, now + 0.1)
    assert lost.sent == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_now_and_then_a_repetition_goes_as_two_while_others_are_answered() -> None:
    path = Path(8, Known())
    for n in range(15):  # 15 × 0.07 is one copy
        path.answered(begin(path, 0.1 * n), 0.1 * n + 0.05)
    lost, other = begin(path, 1.5), begin(path, 1.5)
    path.answered(other, 1.55)
    assert path.poll(1.6) == [lost, lost]
    assert path.poll(1.75) == [lost]
    assert lost.sent == [1.5, 1.6, 1.75]


@pytest.mark.parametrize(("srtt", "answered"), [(0.5, 1.55), (0.05, 1.39)])
def test_no_copy_where_a_queue_stands_or_nothing_is_answered(srtt: float, answered: float) -> None:
    trip = Known()
    path = Path(8, trip)
    for n in range(15):
        path.answered(begin(path, 0.05 * n), 0.05 * n + 0.05)
    lost, other = begin(path, 1.5), begin(path, answered - 0.05)
    path.answered(other, answered)
    trip.srtt_s = srtt
    assert path.poll(1.6) == [lost]


def test_a_repetition_that_was_needed_shows() -> None:
    trip = Known()
    path = Path(8, trip)
    early, late = begin(path, 0.0), begin(path, 0.0)
    path.poll(0.1)
    path.answered(early, 0.14)  # 40 ms after the repetition, where 50 are usual: who knows
    assert trip.repetitions == 0
    path.answered(late, 0.15)
    assert trip.repetitions == 1


def test_where_repetitions_were_needed_a_silence_is_taken_for_a_fade_and_not_backed_off() -> None:
    path = Path(8, Known())
    for now in (0.0, 1.0):
        lost = begin(path, now)
        path.poll(now + 0.1)
        path.answered(lost, now + 0.15)
    faded = begin(path, 1.5)
    sendings(path, 2.05)
    assert faded.sent == pytest.approx([1.5, 1.6, 1.7, 1.8, 1.9, 2.0])


def test_a_repetition_that_was_none_of_the_paths_losses_ends_that() -> None:
    trip = Known()
    path = Path(8, trip)
    for now in (0.0, 1.0):
        lost = begin(path, now)
        path.poll(now + 0.1)
        path.answered(lost, now + 0.15)
    odd = begin(path, 1.5)
    path.poll(1.6)
    path.answered(odd, 1.74)  # at no usual time after either sending
    faded = begin(path, 1.8)
    sendings(path, 3.2)
    waits = [b - a for a, b in itertools.pairwise(faded.sent)]
    assert waits[-1] > waits[0]


def test_the_window_holds_back_and_the_oldest_goes_first() -> None:
    path = Path(32, Known())
    several = [exchange() for _ in range(16)]
    for one in several:
        path.begin(one)
    assert path.poll(0.0) == several[:10]
    path.answered(several[1], 0.05)
    assert path.poll(0.05) == several[10:12]  # slow start: one answer, two more
    assert path.window == 11
    path.leave(several[12])
    path.leave(several[0])
    assert path.poll(0.05) == [several[13]]


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
