"""Ways that are heard, but confirm no rows: when they are left, what tries them again, and what is no reason."""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import pytest

from bridge.errors import LinkError
from bridge.link import Estimate, Leg
from bridge.link.events import Acked, Connected, Sent
from bridge.messages import Error, Observation, Receipt
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from edge_agent.confirming import AGAIN, LEAST, LONE, MOST_AGAIN, MOST_KEPT, QUIET, Confirming, risked
from edge_agent.uplink import SAFE, TAKEN, Outcome
from edge_agent.ways import read
from tests.support.two_ways import RTT, FakeWay, World, settle

if TYPE_CHECKING:
    from bridge.link import Profile
    from bridge.link.events import Protocol
    from edge_agent.ways import Message

WELL = Leg(heard=0.1, rtt=0.05)
BOTH_WELL = Estimate(coap=WELL, mqtt=WELL)
OUT = Leg(out=True, silent=30.0, heard=30.0)


def message(first: int = 0, rows: int = 4) -> Message:
    seen = Observation(np.ones((rows, 3), np.float32), seq=first, epoch="e", receipt=True)
    return read("wrist", encode_observation(seen, Format.CBOR), Format.CBOR)


class Waiting:
    """Messages under way by one way of two, from second 0 on."""

    def __init__(self, name: Protocol = "coap", count: int = 3, rows: int = 4) -> None:
        self.confirming = Confirming(("coap", "mqtt"))
        self.name = name
        self.carried = [object() for _ in range(count)]
        for number, one in enumerate(self.carried):
            self.confirming.begins(one, name, message(rows * number, rows), 0.0)

    def deaf_after(self, estimate: Estimate = BOTH_WELL, most: float = 100.0) -> float | None:
        """Seconds until it is taken for deaf, looked at ten times a second."""
        for tick in range(1, round(10 * most) + 1):
            if self.confirming.look(tick / 10, estimate).leg(self.name).unconfirmed:
                return tick / 10
        return None


def test_a_way_that_is_heard_but_confirms_nothing_gets_nothing_through(caplog: pytest.LogCaptureFixture) -> None:
    waiting = Waiting()
    waiting.confirming.failed("coap", "answered 5.00")
    assert waiting.deaf_after() == pytest.approx(LEAST, abs=0.11)
    leg = waiting.confirming.look(4.0, BOTH_WELL).coap
    assert (leg.out, leg.silent >= LEAST) == (True, True)
    assert leg.unconfirmed.startswith("coap is heard, but confirmed none of 12 rows for 3.")
    assert leg.unconfirmed.endswith("s, 3 attempts; last: answered 5.00")
    warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "they may go by mqtt, and one message tries coap in 5 s" in warnings[0]


def test_few_messages_far_links_and_thin_ones_have_more_time() -> None:
    assert Waiting(count=2).deaf_after() == pytest.approx(LONE, abs=0.11)
    far = Leg(heard=0.5, rtt=2.0)
    assert Waiting().deaf_after(Estimate(coap=far, mqtt=far)) == pytest.approx(16.0, abs=0.2)
    size = len(message(rows=1000).payload)
    thin = msgspec.structs.replace(BOTH_WELL, goodput=2500.0, goodput_known=True)
    assert Waiting(rows=1000).deaf_after(thin) == pytest.approx(LEAST + 3 * size / 2500, abs=0.3)
    assert Waiting(rows=1000).deaf_after() == pytest.approx(LEAST + size / 2500, abs=0.3)


def test_each_confirmation_begins_anew_and_what_ended_does_not_wait() -> None:
    waiting = Waiting()
    assert waiting.deaf_after(most=2.5) is None
    waiting.confirming.answered(waiting.carried[0], SAFE, 2.5)
    waiting.confirming.ends(waiting.carried[0])
    assert waiting.deaf_after() == pytest.approx(2.5 + LONE, abs=0.11), "nothing was tried since"
    gone = Waiting()
    for one in gone.carried * 2:
        gone.confirming.ends(one)
    assert gone.deaf_after() is None


@pytest.mark.parametrize("coap", [OUT, Leg(up=False)])
def test_an_outage_of_the_link_or_of_the_way_is_none_of_this(coap: Leg) -> None:
    silent = Estimate(coap=coap, mqtt=msgspec.structs.replace(OUT, heard=QUIET + 1))
    waiting = Waiting()
    assert waiting.deaf_after(silent, 60.0) is None
    waiting.confirming.look(60.0, silent)
    assert not waiting.confirming.look(60.1, BOTH_WELL).coap.unconfirmed, "heard again, its time begins"
    blocked = Waiting()
    assert blocked.deaf_after(Estimate(coap=msgspec.structs.replace(coap, heard=99.0), mqtt=WELL), 60.0) is None


def test_without_another_way_rows_go_on_and_it_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    waiting = Waiting()
    alone = Estimate(coap=WELL, mqtt=Leg(up=False))
    assert waiting.deaf_after(alone) is None
    warnings = [one.getMessage() for one in caplog.records]
    assert len(warnings) == 1
    assert warnings[0].endswith("no other way")
    assert waiting.confirming.look(101.0, BOTH_WELL).coap.out, "until there is one"


def test_of_two_deaf_ways_neither_is_left() -> None:
    waiting = Waiting()
    assert waiting.deaf_after() is not None
    for one in waiting.carried:
        waiting.confirming.begins(one, "mqtt", message(), 4.0)
    assert waiting.confirming.look(7.5, BOTH_WELL) == BOTH_WELL


def test_one_message_tries_a_deaf_way_again_less_and_less_often() -> None:
    waiting = Waiting()
    now = waiting.deaf_after()
    assert now is not None
    confirming = waiting.confirming
    both: set[Protocol] = {"coap", "mqtt"}
    assert confirming.trial(now + AGAIN - 0.1, "mqtt", both) is None
    tried = [now]
    while len(tried) < 8:
        now += 0.1
        confirming.look(now, BOTH_WELL)
        assert confirming.trial(now, "coap", both) is None
        assert confirming.trial(now, "mqtt", {"mqtt"}) is None
        if confirming.trial(now, "mqtt", both) == "coap":
            tried.append(now)
    apart = [round(later - before) for before, later in pairwise(tried)]
    assert apart == [AGAIN, 10, 20, 40, MOST_AGAIN, MOST_AGAIN, MOST_AGAIN]
    assert (risked(WELL), risked(Leg(rtt=2.0))) == (0.5, 8.0)


def test_what_was_soon_deaf_again_is_not_tried_sooner_than_before() -> None:
    waiting = Waiting()
    confirming = waiting.confirming
    now = waiting.deaf_after() or 0.0
    confirming.answered(waiting.carried[0], SAFE, now)
    assert not confirming.look(now, BOTH_WELL).coap.unconfirmed
    for number in range(3):
        confirming.begins(waiting.carried[number], "coap", message(), now)
    assert confirming.look(now + 4.0, BOTH_WELL).coap.unconfirmed
    assert confirming.trial(now + 4.0 + AGAIN, "mqtt", {"coap"}) is None
    assert confirming.trial(now + 4.0 + 2 * AGAIN, "mqtt", {"coap"}) == "coap"
    confirming.answered(waiting.carried[0], SAFE, 100.0)
    for number in range(3):
        confirming.begins(waiting.carried[number], "coap", message(), 100.0 + MOST_AGAIN)
    confirming.look(180.0, BOTH_WELL)
    assert confirming.trial(180.0 + AGAIN, "mqtt", {"coap"}) == "coap", "after a good minute it is as new"


@pytest.mark.parametrize(
    ("said", "deaf"),
    [
        (Receipt("e", [(0, 3)]), False),
        (Receipt("f", [(0, 3)]), True),
        (Receipt("e", [(400, 500)]), True),
        (Error("malformed", "", "wrist", 4), False),
        (Error("malformed", "", "wrist", None), False),
        (Error("malformed", "", "other", None), True),
    ],
)
def test_over_mqtt_only_the_bridges_word_on_what_went_there_confirms(said: Any, deaf: bool) -> None:
    waiting = Waiting("mqtt")
    for one in waiting.carried:
        waiting.confirming.answered(one, TAKEN, 0.1)
        waiting.confirming.ends(one)
    if isinstance(said, Receipt):
        waiting.confirming.receipt("wrist", said, 2.9)
    else:
        waiting.confirming.refusal(said, 2.9)
    assert bool(waiting.confirming.look(4.0, BOTH_WELL).mqtt.unconfirmed) == deaf


@pytest.mark.parametrize("kind", ["wait", "barred"])
def test_a_receipt_of_what_went_over_to_coap_says_nothing_of_mqtt(kind: Literal["wait", "barred"]) -> None:
    waiting = Waiting("mqtt")
    for number, one in enumerate(waiting.carried[:2]):
        waiting.confirming.begins(one, "coap", message(4 * number), 1.0)
    waiting.confirming.receipt("wrist", Receipt("e", [(0, 7)]), 2.9)
    waiting.confirming.answered(waiting.carried[2], Outcome(kind, "reason 0x87", 5.0), 2.9)
    waiting.confirming.ends(waiting.carried[2])
    assert waiting.confirming.look(4.0, BOTH_WELL).mqtt.unconfirmed.endswith("last: reason 0x87")


def test_what_waits_for_receipts_is_bounded() -> None:
    waiting = Waiting("mqtt", count=MOST_KEPT + 2)
    waiting.confirming.receipt("wrist", Receipt("e", [(0, 7)]), 2.9)
    assert waiting.confirming.look(4.0, BOTH_WELL).mqtt.unconfirmed, "the oldest are forgotten"


async def begin(world: World) -> None:
    assert (await world.send(0)).kind == "safe"
    assert world.profile.startswith("coap-con")
    await world.ways["mqtt"].ask()


async def test_what_answers_pings_alone_is_left_for_the_other_way_and_found_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World("mqtt", "coap")
    await world.start()
    await begin(world)
    coap, mqtt = world.ways["coap"], world.ways["mqtt"]
    coap.answers = False  # its pings are answered
    cut, sent = world.now, [world.send(4 * n) for n in range(1, 5)]
    await settle()
    while world.profile.startswith("coap"):
        assert world.now - cut < 5.0
        await world.after(0.1)
    assert [(await one).kind for one in sent] == ["safe"] * 4
    assert "coap is heard, but confirmed none of 16 rows for 3." in world.uplink.switches[-1]["reason"]
    assert "mqtt" in world.profile
    assert len(mqtt.carried) == 4
    coap.answers, healed, n = True, world.now, 5
    while world.profile.startswith("mqtt"):
        assert world.now - healed < 20.0
        assert (await world.send(4 * n)).kind == "safe"
        await world.after(0.1)
        n += 1
    assert sum("confirmed none" in one.getMessage() for one in caplog.records if one.levelno == logging.WARNING) == 1
    await world.stop()


async def test_a_deaf_way_is_tried_with_one_message_that_goes_over_if_it_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edge_agent.confirming.TRIAL", 0.0)
    monkeypatch.setattr("edge_agent.confirming.TRIAL_TRIPS", 0)
    world = World("mqtt", "coap")
    await world.start()
    await begin(world)
    coap, mqtt = world.ways["coap"], world.ways["mqtt"]
    coap.answers = False
    sent = [world.send(4 * n) for n in range(1, 5)]
    await settle()
    await world.after(4.5)
    for one in sent:
        await one
    assert world.profile.startswith("mqtt")
    await world.after(AGAIN)
    before = len(coap.carried), len(mqtt.carried)
    assert (await world.send(40)).kind == (await world.send(44)).kind == "safe"
    assert [first for first, _ in coap.carried[before[0] :]] == [40]
    assert [first for first, _ in mqtt.carried[before[1] :]] == [40, 44]
    coap.fails = LinkError("answered 5.00")
    await world.after(2 * AGAIN + 0.1)
    assert (await world.send(48)).kind == "safe"
    assert coap.carried[-1][0] == mqtt.carried[-1][0] == 48
    await world.stop()


@pytest.mark.parametrize("seconds", [1.0, 4.0, 15.0, 60.0])
@pytest.mark.parametrize("mqtt_too", [False, True])
async def test_an_outage_is_not_taken_for_deafness(
    seconds: float, mqtt_too: bool, caplog: pytest.LogCaptureFixture
) -> None:
    world = World("mqtt", "coap")
    await world.start()
    await begin(world)
    world.ways["coap"].through = False
    world.ways["mqtt"].through = not mqtt_too
    sent = [world.send(4 * n) for n in range(1, 6)]
    await settle()
    await world.after(seconds)
    for way in world.ways.values():
        way.through = True
    sent += [world.send(4 * n) for n in range(6, 12)]
    await world.after(10.0)
    assert all(one.done() for one in sent)
    assert [one.exception() is None for one in sent[5:]] == [True] * 6
    assert "confirmed none" not in caplog.text
    await world.stop()


class Stranger(FakeWay):
    """Answers at once, not as a bridge."""

    async def carry(self, message: Message, profile: Profile | None) -> Outcome:  # noqa: ARG002 # as every way
        self._count += 1
        name = f"stranger-{self._count}"
        self.carried.append((message.rows[0][0], ""))
        self.world.estimator.on(Sent(name, self.world.now, self.name, 200))
        self.world.estimator.on(Acked(name, self.world.now + RTT))
        raise LinkError("answered 4.05")


async def test_answers_of_a_stranger_are_no_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.adaptive.RETRY", 0.0)
    world = World("mqtt", "coap")
    world.ways["coap"] = Stranger("coap", world)
    world.uplink._ways["coap"] = world.ways["coap"]
    await world.start()
    world.estimator.on(Connected("mqtt", world.now))
    sent = [world.send(0)]
    while not sent[0].done():
        assert world.now < 106.0
        await world.after(0.1)
    assert world.profile.startswith("mqtt")
    assert world.uplink.switches[-1]["reason"].count("last: answered 4.05") == 1
    await world.stop()
