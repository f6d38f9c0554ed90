from __future__ import annotations

import math

import pytest

from edge_agent import backoff
from edge_agent.flights import LONGEST, MOST_OPEN, Flights, Span
from edge_agent.way import Way


def flights(end: int = 0, **extra: object) -> Flights:
    made = Flights(0, rows=10, longest_wait=1.0, **extra)  # type: ignore[arg-type] # the test's own keywords
    made.grew(end, 0.0)
    return made


def send(one: Flights, now: float, room: int = 1) -> Span | None:
    span = one.pick(now, room)
    if span is not None:
        for first in range(span.first, span.last + 1, 10):
            one.sent(first, min(first + 9, span.last), span.attempts, now, unanswered=span.unanswered)
    return span


def test_full_messages_go_at_once_the_rest_after_the_longest_wait() -> None:
    one = flights(25)
    assert send(one, 0.0, room=16) == Span(0, 19)
    assert send(one, 0.5) is None
    assert one.next_due() == 1.0
    assert send(one, 1.0) == Span(20, 24)
    assert one.next_due() == math.inf


def test_what_is_left_at_the_end_goes_at_once_even_when_only_full_messages_do() -> None:
    one = flights(5, whole=True)
    assert send(one, 1e9) is None
    one.ended = True
    assert send(one, 0.0) == Span(0, 4)


def test_a_message_that_waits_until_it_is_full_is_begun() -> None:
    assert flights(25, whole=True).begun == 20
    assert flights(30, whole=True).begun is None, "it is full"
    assert flights(25).begun is None, "it goes after the longest wait"
    one = flights(25, whole=True)
    one.ended = True
    assert one.begun is None, "it goes as it is"


def test_new_rows_are_packed_as_the_link_asks_whole_messages_never() -> None:
    one = flights(25)
    one.pack(4, 0.2)
    assert send(one, 0.0, room=16) == Span(0, 23)
    assert one.next_due() == 0.2
    whole = flights(25, whole=True)
    whole.pack(10, 0.2)
    assert send(whole, 1e9, room=16) == Span(0, 19)
    assert whole.next_due() == math.inf


def test_room_bounds_what_is_picked() -> None:
    one = flights(1000)
    assert one.pick(0.0, 0) is None
    assert one.pick(0.0, 3) == Span(0, 29)


def test_messages_without_a_receipt_are_bounded() -> None:
    one = flights(100_000)
    while send(one, 0.0, room=16) is not None:
        pass
    assert len(one) == MOST_OPEN
    one.receipt([(0, 9)], 0.0)
    assert send(one, 0.0) == Span(MOST_OPEN * 10, MOST_OPEN * 10 + 9)


def test_a_receipt_ends_a_message_and_pieces_of_one_add_up() -> None:
    one = flights(10)
    send(one, 0.0)
    one.taken(0, 0.0)
    one.receipt([(0, 3), (2, 5)], 0.0)
    assert len(one) == 1
    one.receipt([(6, 9)], 0.0)
    one.receipt([(6, 9)], 0.0)
    assert len(one) == 0
    assert one.next_due() == math.inf


def test_without_a_receipt_one_message_asks_whether_the_bridge_is_there() -> None:
    one = flights(30)
    send(one, 0.0, room=3)
    for first in (0, 10, 20):
        one.taken(first, 0.0)
    assert one.next_due() == 10.0
    assert send(one, 9.9) is None
    assert send(one, 10.0) == Span(0, 9, 1, 1)
    assert send(one, 10.0) is None, "the probe is under way"
    assert one.next_due() == math.inf
    one.taken(0, 10.0)
    assert send(one, 10.0) is None, "the probe waits"
    assert one.next_due() == 30.0
    one.receipt([(0, 9)], 11.0)
    assert send(one, 11.0) == Span(10, 19, 1, 1), "somebody is there: the others follow"
    assert send(one, 11.0) == Span(20, 29, 1, 1)


def test_asking_slows_down_but_never_stops() -> None:
    one = flights(10)
    now, waits = 0.0, []
    send(one, now)
    for _ in range(5):
        one.taken(0, now)
        waits.append(one.next_due() - now)
        now = one.next_due()
        assert send(one, now) is not None
    assert waits == [10.0, 20.0, LONGEST, LONGEST, LONGEST]


def test_a_bridge_that_is_back_is_asked_soon_for_what_waited_longer_and_longer() -> None:
    one = flights(20)
    send(one, 0.0, room=2)
    one.taken(10, 0.0)
    for now in (0.0, 10.0, 30.0, 60.0):
        one.taken(0, now)
        send(one, one.next_due())
    one.taken(0, 90.0)
    assert one.next_due() == 120.0
    one.receipt([(10, 19)], 91.0)
    assert one.next_due() == 101.0


@pytest.mark.parametrize("everything", [False, True])
def test_lost_links_do_not_count_as_silence_and_after_one_it_is_asked_soon(everything: bool) -> None:
    one = flights(10)
    send(one, 0.0)
    for now in (0.0, 10.0, 30.0):
        one.taken(0, now)
        send(one, one.next_due())
    one.taken(0, 60.0)
    one.grew(20, 60.0)
    send(one, 60.0)
    for now in (61.0, 62.0, 63.0, 64.0):
        one.link_lost(now, everything=everything)
        while send(one, now) is not None:
            pass
    for first in (0, 10):
        one.taken(first, 64.0)
    one.receipt([(0, 9)], 64.0)
    assert one.next_due() == 74.0
    assert send(one, 74.0) == Span(10, 19, 5, 1)


def test_messages_of_unknown_fate_do_not_wait_for_the_one_that_asks() -> None:
    one = flights(20)
    send(one, 0.0, room=2)
    one.taken(0, 0.0)
    assert send(one, 10.0) == Span(0, 9, 1, 1)
    one.taken(0, 10.0)
    one.again(10, 11.0)
    assert one.next_due() == 11.0
    assert send(one, 11.0) == Span(10, 19, 1)


def test_what_is_unknown_goes_again_first() -> None:
    one = flights(30)
    send(one, 0.0, room=2)
    one.again(0, 5.0)
    assert send(one, 0.0) == Span(20, 29)
    assert send(one, 5.0) == Span(0, 9, 1)


@pytest.mark.parametrize("everything", [False, True])
def test_a_lost_link_sends_again_in_order(everything: bool) -> None:
    one = flights(40)
    send(one, 0.0, room=4)
    one.taken(0, 0.0)
    one.receipt([(10, 19)], 0.0)
    one.link_lost(1.0, everything=everything)
    assert one.under_way() == 0
    again = [send(one, 1.0), send(one, 1.0), send(one, 1.0)]
    expected = [Span(0, 9, 1), Span(20, 29, 1), Span(30, 39, 1)]
    assert again == (expected if everything else [*expected[1:], None])


def test_a_refused_message_is_forgotten() -> None:
    one = flights(10)
    send(one, 0.0)
    assert one.forget(0) == (0, 9)
    assert one.forget(0) is None
    one.again(0, 1.0)
    one.taken(0, 1.0)
    assert len(one) == 0


def test_backoff_grows_to_its_cap() -> None:
    assert [backoff.delay(n, 1.0) for n in (1, 2, 3, 99)] == [0.5, 1.0, 2.0, backoff.CAP]
    assert backoff.delay(2, 0.0) == 0.5


def test_receipts_come_within_seconds_once_the_way_is_open_and_the_bridge_is_back() -> None:
    """A half-open path (1.0 to 1.4 s) while the bridge is away (0.8 to 4.0 s) and gets nothing of what is sent then."""
    one, way = Flights(0, rows=10, longest_wait=0.2, receipt_timeout=0.5), Way(0.0)
    unknown: list[tuple[float, float, int]] = []  # when it fails, when it was sent, which
    receipts: list[tuple[float, int, int]] = []
    way.open(0.0)
    for step in range(400):
        now = step / 50
        if step < 150 and step % 20 == 0:  # enough for a window, all at once
            one.grew((step + 20) * 10, now)
        failed = [entry for entry in unknown if entry[0] <= now]
        unknown = [entry for entry in unknown if entry[0] > now]
        for _, sent, first in failed:
            way.failed(sent, now, dice=1.0)
            one.again(first, now)
        way.up = way.up and not failed
        if now == 3.0:
            one.link_lost(now, everything=False)
            way.open(now)
        for entry in [entry for entry in receipts if entry[0] <= now]:
            receipts.remove(entry)
            one.receipt([entry[1:]], now)
        while way.up and now >= way.held_until() and (span := one.pick(now, 16 - one.under_way())):
            for first in range(span.first, span.last + 1, 10):
                last = min(first + 9, span.last)
                one.sent(first, last, span.attempts, now, unanswered=span.unanswered)
                if 1.0 <= now < 1.4:
                    unknown.append((now + 1.0, now, first))
                else:
                    one.taken(first, now)
                    if not 0.8 <= now < 4.0:
                        receipts.append((now + 0.1, first, last))
    assert one.cursor == one.end == 1600
    assert len(one) == 0
