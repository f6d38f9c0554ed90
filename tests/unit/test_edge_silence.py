"""Which ways get nothing through, and whether any does."""

from __future__ import annotations

from bridge.link import Estimate, Leg
from edge_agent.silence import OUTAGE, SETTLE, Silence

WELL, FAR = Leg(heard=0.1, rtt=0.05), Leg(heard=0.1, rtt=0.6)
BROKEN = Leg(up=False)


def out(silent: float) -> Leg:
    return Leg(out=True, silent=silent)


def test_one_way_that_is_heard_again_is_news_and_nothing_has_to_settle() -> None:
    silence = Silence(("coap", "mqtt"))
    assert silence.look(0.0, Estimate(coap=out(1.0), mqtt=WELL)) == "no news"
    assert silence.deaf == {"coap"}
    assert silence.look(1.0, Estimate(coap=WELL, mqtt=WELL)) == "one again"
    assert silence.is_settled(1.0)
    assert silence.look(2.0, Estimate(coap=WELL, mqtt=WELL)) == "no news"


def test_the_first_of_all_that_is_heard_leaves_the_others_two_round_trips() -> None:
    silence = Silence(("coap", "mqtt"))
    silence.look(0.0, Estimate(coap=out(3.0), mqtt=BROKEN))
    assert silence.look(1.0, Estimate(coap=WELL, mqtt=BROKEN)) == "first of all"
    assert not silence.is_settled(1.0 + SETTLE - 0.01)
    assert silence.is_settled(1.2)
    silence.look(2.0, Estimate(coap=out(3.0), mqtt=BROKEN))
    silence.look(3.0, Estimate(coap=FAR, mqtt=BROKEN))
    assert not silence.is_settled(4.1)
    assert silence.is_settled(4.3)


def test_that_nothing_gets_through_is_told_once_and_so_is_its_end() -> None:
    silence = Silence(("coap", "mqtt"))
    brief = Estimate(coap=out(OUTAGE - 0.1), mqtt=BROKEN)
    silence.look(0.0, brief)
    assert silence.lost(brief) is None
    long = Estimate(coap=out(OUTAGE), mqtt=BROKEN)
    silence.look(1.0, long)
    assert (silence.lost(long), silence.through) == (OUTAGE, False)
    assert silence.lost(long) is None
    assert not silence.found()
    silence.look(2.0, Estimate(coap=WELL, mqtt=BROKEN))
    assert silence.found()
    assert silence.through
    assert not silence.found()
