"""Lanes, skips, pace and way of the agent: pure, so time is given."""

from __future__ import annotations

import math

import pytest

from edge_agent.flights import MOST_OPEN, Span
from edge_agent.lanes import Lanes
from edge_agent.pace import BREATH, CUT, LAG, LATE, LEAST, MOST, RAISE, START, Pace
from edge_agent.skips import LONGEST, Skips
from edge_agent.way import LONGEST_WAIT, Way


def lanes(end: int = 0, **extra: object) -> Lanes:
    made = Lanes(0, rows=10, longest_wait=1.0, **{"backlog_after": 2.0, **extra})  # type: ignore[arg-type] # the test's own keywords
    made.live.grew(end, 0.0)
    return made


def send_live(one: Lanes, now: float = 0.0) -> Span | None:
    return sent(one, one.pick_live(now, 1), now)


def send_backlog(one: Lanes, now: float = 0.0) -> Span | None:
    return sent(one, one.pick_backlog(now, fresh=True), now)


def sent(one: Lanes, span: Span | None, now: float) -> Span | None:
    if span is not None:
        one.of(span.first).sent(span.first, span.last, span.attempts, now, unanswered=span.unanswered)
        one.read(untold=False)
    return span


def all_backlog(one: Lanes, now: float = 0.0) -> list[Span]:
    found = []
    while (span := send_backlog(one, now)) is not None:
        found.append(span)
    return found


def test_after_a_split_live_rows_go_first_and_say_where_they_begin() -> None:
    one = lanes(25)
    assert one.split()
    assert one.live_from == 25
    one.live.grew(40, 0.0)
    assert send_live(one) == Span(25, 29)
    assert send_live(one) == Span(30, 39)
    assert all_backlog(one) == [Span(0, 9), Span(10, 19), Span(20, 24)]
    assert one.live_from == 25, "nothing is receipted"


def test_the_seam_closes_with_the_last_receipt_of_the_backlog() -> None:
    one = lanes(20)
    one.split()
    all_backlog(one)
    one.receipt([(0, 9)], 0.0)
    one.settle(untold=False)
    assert one.live_from == 20
    one.receipt([(10, 19)], 0.0)
    one.settle(untold=True)
    assert one.live_from == 20, "the bridge does not know yet of rows given up"
    one.settle(untold=False)
    assert one.live_from is None


def test_a_span_that_is_being_read_keeps_the_seam() -> None:
    one = lanes(20)
    one.split()
    send_backlog(one)
    span = one.pick_backlog(0.0, fresh=True)
    assert span == Span(10, 19)
    one.receipt([(0, 9)], 0.0)
    one.settle(untold=False)
    assert one.live_from == 20
    assert one.of(10) is one.backlog
    sent(one, span, 0.0)
    assert one.backlog.rows(10) == (10, 19)


def test_what_was_sent_before_the_loss_is_sent_again_as_backlog_in_its_place() -> None:
    one = lanes(40)
    for _ in range(3):
        send_live(one)
    one.live.taken(0, 0.0)
    one.receipt([(10, 19)], 0.0)
    one.link_lost(5.0, everything=True)
    one.split()
    assert len(one.live) == 0
    assert all_backlog(one, 5.0) == [Span(0, 9, 1), Span(20, 29, 1), Span(30, 39)]


def test_several_outages_leave_one_backlog_oldest_first() -> None:
    one = lanes(30)
    one.split()
    one.live.grew(50, 0.0)
    assert send_live(one) == Span(30, 39)
    assert send_backlog(one) == Span(0, 9)
    one.link_lost(1.0, everything=False)
    one.live.grew(60, 1.0)
    one.split()
    assert one.live_from == 60
    spans = all_backlog(one, 1.0)
    assert spans == [Span(0, 9, 1), Span(10, 19), Span(20, 29), Span(30, 39, 1), Span(40, 49), Span(50, 59)]


@pytest.mark.parametrize(("rows", "splits"), [(0, False), (10, False), (11, True)])
def test_no_more_than_one_message_makes_no_seam(rows: int, splits: bool) -> None:
    assert lanes(rows).split() == splits


def test_one_lane_never_splits() -> None:
    one = lanes(1000, backlog_after=None)
    assert not one.split()
    assert not one.backlog


def test_whole_windows_split_between_two_and_say_no_row() -> None:
    one = lanes(38, whole=True)
    assert one.split()
    assert one.live_from is None
    assert send_live(one) is None
    one.live.grew(40, 0.0)
    assert send_live(one) == Span(30, 39)
    assert all_backlog(one) == [Span(0, 9), Span(10, 19), Span(20, 29)]


@pytest.mark.parametrize(("away", "late"), [(1.0, False), (3.0, True)])
def test_a_bridge_that_was_away_for_long_makes_backlog_of_what_waited(away: float, late: bool) -> None:
    one = lanes(10 * MOST_OPEN + 100)
    for _ in range(MOST_OPEN):
        span = send_live(one)
        assert span is not None
        one.live.taken(span.first, 0.0)
    assert send_live(one) is None
    one.receipt([(0, 9)], away)
    span = send_live(one, away)
    if late:
        assert span is None
        assert one.live_from == 10 * MOST_OPEN + 100
        assert send_backlog(one, away) == Span(10 * MOST_OPEN, 10 * MOST_OPEN + 9)
    else:
        assert span == Span(10 * MOST_OPEN, 10 * MOST_OPEN + 9)
        assert one.live_from is None


def test_rows_that_are_gone_from_the_outbox_are_passed_over() -> None:
    one = lanes(1000)
    one.split()
    one.backlog.go_on(500)
    assert one.backlog.pick(0.0, fresh=True) == Span(500, 509)
    one.backlog.go_on(None)
    assert not one.backlog


def test_what_is_awaited_holds_back_what_is_fresh_but_not_repetitions() -> None:
    one = lanes(100)
    one.split()
    send_backlog(one)
    send_backlog(one)
    assert one.backlog.awaited() == 2
    one.backlog.again(0, 1.0)
    assert one.backlog.awaited() == 1
    assert one.backlog.due(fresh=True) == -math.inf
    assert one.backlog.due(fresh=False) == 1.0
    assert one.pick_backlog(1.0, fresh=False) == Span(0, 9, 1)


def test_a_skip_is_repeated_until_it_is_receipted() -> None:
    one = Skips(receipt_timeout=10.0)
    untold = [(0, 9, "age"), (10, 19, "age"), (30, 39, "age"), (50, 59, "size")]
    skip = one.make(untold, "e")
    assert skip is not None
    assert (skip.ranges, skip.why, skip.epoch, skip.receipt) == ([(0, 19), (30, 39)], "age", "e", True)
    assert one.due() == math.inf
    waits = []
    for _ in range(4):
        one.taken(0.0)
        waits.append(one.due())
        assert one.make(untold, "e") == skip
    assert waits == [10.0, 20.0, LONGEST, LONGEST]
    one.taken(0.0)
    one.receipt([(0, 25)])
    assert one.due() > 0
    one.more()
    assert one.due() > 0, "something is awaited"
    one.receipt([(26, 39)])
    assert one.due() == math.inf, "the outbox does not know yet"
    one.more()
    assert one.due() == -math.inf
    last = one.make(untold[3:], "e")
    assert last is not None
    assert last.why == "size"
    assert one.make([], "e") is None


def test_a_skip_holds_at_most_64_ranges() -> None:
    skip = Skips().make([(i * 2, i * 2, "thin_out") for i in range(100)], "e")
    assert skip is not None
    assert len(skip.ranges) == 64


def test_a_skip_that_is_refused_is_let_be() -> None:
    one = Skips()
    one.make([(5, 9, "age")], "e")
    one.again(3.0)
    assert one.due() == 3.0
    assert one.refused(6) == []
    assert one.refused(5) == [(5, 9)]
    assert one.due() == math.inf


def learned(took: float = 0.1) -> Pace:
    pace = Pace()
    for i in range(40):
        pace.live(float(i), i + took, backlog=False)
    return pace


def test_live_messages_in_time_raise_the_rate_late_ones_cut_it() -> None:
    pace = learned()
    assert pace.rate == START, "without a backlog there is nothing to learn of it"
    for _ in range(100):
        pace.live(100.0, 99.99 + 0.1 * LATE, backlog=True)
    assert pace.rate == pytest.approx(START * RAISE**100)
    pace.live(100.0, 100.1 + 0.1 * LATE, backlog=True)
    assert pace.rate == pytest.approx(START * RAISE**100 * CUT)
    for _ in range(100):
        pace.live(100.0, 101.0, backlog=True)
    assert pace.rate == LEAST
    pace.begin()
    assert pace.rate == START


def test_a_message_may_be_later_by_a_tenth_of_the_time_it_took_to_fill() -> None:
    pace = learned(0.1)
    pace.live(100.0, 100.1 * 1.0 + 0.1 * (LATE - 1) + 0.047, backlog=True, fill=0.48)
    assert pace.rate > START
    pace.live(100.0, 100.1 * 1.0 + 0.1 * (LATE - 1) + 0.049, backlog=True, fill=0.48)
    assert pace.rate < START


@pytest.mark.parametrize(("one_in", "falls"), [(18, True), (22, False)])
def test_the_rate_balances_where_one_in_twenty_is_late(one_in: int, falls: bool) -> None:
    pace = learned()
    for i in range(1, 1 + 10 * one_in):
        pace.live(100.0, 100.5 if i % one_in == 0 else 100.1, backlog=True)
    assert (pace.rate < START) == falls


def test_what_is_normal_is_not_learned_beside_the_backlog() -> None:
    pace = learned(0.1)
    for _ in range(200):
        pace.live(100.0, 101.0, backlog=True)
    pace.begin()
    pace.live(201.0, 201.09, backlog=True)
    assert pace.rate > START


def test_the_backlog_is_spaced_and_takes_a_quarter_of_the_window() -> None:
    pace = Pace()
    assert pace.room(0.0, 16)
    pace.sent(0.0)
    assert pace.next() == pytest.approx(1 / START - LAG)
    assert not pace.room(0.02, 16)
    for now in (1.0, 2.0, 3.0):
        assert pace.room(now, 16)
        pace.sent(now)
    assert not pace.room(9.0, 16)
    pace.landed()
    assert pace.room(9.0, 16)
    assert not pace.room(9.0, 3)


def test_without_live_messages_the_backlogs_own_progress_raises_its_rate() -> None:
    pace = Pace()
    for _ in range(1000):
        pace.safe(5.0)
    assert pace.rate == MOST
    beside = Pace()
    beside.live(4.9, 5.0, backlog=True)
    beside.safe(5.5)
    assert beside.rate == START


def test_a_backlog_that_gave_way_is_at_speed_seconds_after_the_last_live_message() -> None:
    pace = learned(0.1)
    for _ in range(50):
        pace.live(10.0, 12.0, backlog=True)
    assert pace.rate == LEAST
    now = 14.0
    while pace.rate < 200.0:
        now += 1 / pace.rate
        pace.safe(now)
    assert now < 21.0


def test_a_breath_shows_anew_what_is_normal() -> None:
    pace = learned(0.1)
    pace.live(50.0, 50.1, backlog=True)
    pace.sent(50.2)
    pace.landed()
    assert not pace.room(50.2 + BREATH - 0.01, 16), "a breath"
    pace.safe(50.4)
    for _ in range(200):
        pace.live(50.3, 60.0, backlog=True)  # sent while the backlog was still on its way
    for _ in range(200):
        pace.live(50.5, 50.7, backlog=True)
    assert pace.room(50.2 + BREATH, 16)
    pace.begin()
    pace.live(70.0, 70.2, backlog=True)
    assert pace.rate > START, "what took 0.1 s normally takes 0.2 s now"
    pace.sent(70.2)
    assert not pace.room(70.3, 16), "the next"


def test_the_way_tells_for_how_long_nothing_came_through() -> None:
    way = Way(100.0)
    assert way.open(103.0) == 3.0
    assert way.passed(104.0) == 0.0
    way.close(oldest=103.5, now=106.0)
    way.failed(103.5, 106.0, dice=0.0)
    assert way.passed(106.5) == 0.0, "a late acknowledgement does not open it"
    assert way.open(110.0) == 6.0, "since it was heard last"


def test_a_message_lost_among_others_that_came_through_is_no_outage() -> None:
    way = Way(0.0)
    way.open(0.0)
    way.passed(29.0)
    way.failed(1.0, 30.0, dice=0.0)
    assert way.held_until() > 30.0
    assert way.passed(30.5) == 1.5


def test_a_window_of_messages_that_fail_together_is_one_failure() -> None:
    way = Way(0.0)
    way.open(0.0)
    for _ in range(16):
        way.failed(1.0, 2.0, dice=1.0)
    assert way.held_until() == 2.5
    way.failed(2.5, 3.5, dice=1.0)
    assert way.held_until() == 4.5, "one that was sent since"


def test_a_new_link_is_not_held_back_by_what_failed_on_the_old_one_but_by_what_the_other_side_said() -> None:
    way = Way(0.0)
    way.open(0.0)
    for sent in range(10):
        way.failed(float(sent), sent + 1.0, dice=1.0)
    assert way.held_until() > 35.0
    assert way.overloaded(5.0, 9.0, 10.0, dice=1.0) == 5.0
    way.close(oldest=9.0, now=10.0)
    way.open(11.0)
    assert way.held_until() == 15.0
    way.failed(11.0, 12.0, dice=1.0)
    assert way.held_until() == 15.0
    way.failed(16.0, 17.0, dice=1.0)
    assert way.held_until() == 18.0


def test_what_an_overloaded_bridge_asks_for_is_bounded_on_both_sides() -> None:
    way = Way(0.0)
    way.open(0.0)
    assert way.overloaded(2.0**32 - 1, 0.0, 1.0, dice=0.0) == LONGEST_WAIT
    assert way.held_until() == 1.0 + LONGEST_WAIT
    way, now, waits = Way(0.0), 0.0, []
    way.open(0.0)
    assert not way.is_spared(0.0)
    for _ in range(8):
        for _ in range(16):  # of one window
            wait = way.overloaded(0.0, now, now + 0.1, dice=0.0)
        waits.append(round(wait, 3))
        now += 0.1 + wait
        assert way.is_spared(now)
    assert waits == [0.5, 1, 2, 4, 8, 15, 15, 15]
    way.answered(now - 16.0)
    assert way.overloaded(0.0, now, now, dice=0.0) == pytest.approx(15.0), "that one was sent before"
    way.answered(now + 20.0)
    assert way.overloaded(0.0, now + 21.0, now + 21.0, dice=0.0) == pytest.approx(0.5)
    assert not way.is_spared(now + 21.6 + LONGEST_WAIT)
