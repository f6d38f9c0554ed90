"""What is counted for a post."""

from __future__ import annotations

import pytest

from bridge.coap.tally import Tally
from bridge.link.events import Acked, Event, GivenUp, Resent, Sent


def test_what_never_left_has_no_timing() -> None:
    assert Tally(1.0).timing(2.0) is None


def test_two_blocks_the_second_repeated() -> None:
    tally = Tally(1.0)
    tally.sent(100, 2.0)
    tally.answered([2.0], 2.5)
    tally.sent(60, 2.5)
    tally.sent(60, 3.0)
    assert tally.progress == 2.5
    tally.answered([2.5, 3.0], 3.5)
    tally.received_bytes += 20
    assert tally.progress == 3.5
    tally.is_answered = True
    timing = tally.timing(3.5)
    assert timing is not None
    assert (timing.sent_at, timing.ended_at, timing.answered) == (2.0, 3.5, True)
    assert (timing.datagrams, timing.transmissions, timing.repeats) == (2, 3, 1)
    assert (timing.sent_bytes, timing.received_bytes) == (220, 20)
    assert timing.round_trips_s == pytest.approx((0.5,))  # Karn's rule: not the second


def test_a_link_estimate_hears_of_each_datagram() -> None:
    told: list[Event] = []
    tally = Tally(1.0, name="post-7", tell=told.append)
    tally.ended(1.5)
    tally.sent(100, 2.0)
    tally.sent(100, 2.2)
    tally.answered([2.0, 2.2], 2.5)
    tally.ended(2.6)
    tally.sent(60, 3.0)
    tally.ended(4.0)
    assert told == [
        Sent("post-7/1", 2.0, "coap", 128),
        Resent("post-7/1", 2.2),
        Acked("post-7/1", 2.5),
        Sent("post-7/2", 3.0, "coap", 88),
        GivenUp("post-7/2", 4.0),
    ]
