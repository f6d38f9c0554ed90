"""The uplink over two ways, with a clock that the test sets: no network, no waiting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from bridge.errors import LinkError, TakenOver
from bridge.link.events import Connected, Disconnected
from bridge.messages import Error, Observation, Receipt
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from bridge.wire.zstd import MAGIC
from edge_agent.adaptive import RETRY
from edge_agent.unread import AGAIN, LATE
from edge_agent.uplink import SAFE, Outcome
from edge_agent.ways import is_zstd
from tests.support.two_ways import RTT, World, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.link import Profile
    from edge_agent.uplink import Listener
    from edge_agent.ways import Message


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World("mqtt", "coap")
    await made.start()
    yield made
    await made.stop()


async def begin(world: World) -> None:
    """The first message of the series has arrived."""
    assert (await world.send(0)).kind == "safe"
    assert world.profile.startswith("coap-con/float32")


async def test_the_first_message_of_a_numbering_goes_alone(world: World) -> None:
    coap = world.ways["coap"]
    coap.answers = False
    first = [world.send(4 * n) for n in range(3)]
    await settle()
    assert len(coap.carried) == 1
    coap.answers = True
    world.tick.set()
    world.tick.clear()
    await asyncio.gather(*first)
    coap.answers = False
    more = [world.send(4 * n) for n in range(3, 6)]
    another = [world.send(0, "f"), world.send(4, "f")]
    await settle()
    assert len(coap.carried) == 3 + 3 + 1
    coap.answers = True
    world.tick.set()
    world.tick.clear()
    await asyncio.gather(*more, *another)


async def test_what_is_under_way_goes_over_when_its_way_gets_nothing_through(world: World) -> None:
    await begin(world)
    coap, mqtt = world.ways["coap"], world.ways["mqtt"]
    coap.through = False
    under_way = [world.send(4 * n) for n in range(1, 4)]
    await settle()
    await world.after(3.0)
    assert [(await task).kind for task in under_way] == ["safe"] * 3
    assert [first for first, _ in mqtt.carried] == [4, 8, 12]
    assert world.profile.startswith("mqtt-0/")
    assert "coap does not get through" in world.uplink.switches[-1]["reason"]
    assert world.heard.said == [("connected", False)], "there was a way all the time"
    told = mqtt.uplink.told[-1]
    assert told["profile"] == world.profile
    assert told["reason"] == world.uplink.switches[-1]["reason"]
    assert told["profiles"] == {"wrist": world.profile}
    assert set(told["link"]) == {"words", "loss", "goodput", "outage", "round_trip"}


async def test_what_got_nowhere_and_waits_to_be_tried_again_goes_over_too(world: World) -> None:
    await begin(world)
    coap, mqtt = world.ways["coap"], world.ways["mqtt"]
    coap.through = False
    silent = world.send(4)
    await settle()
    coap.fails = LinkError("no route to host")
    refused = world.send(8)
    await settle()
    await world.after(3.0)
    assert [(await task).kind for task in (silent, refused)] == ["safe"] * 2
    assert sorted(first for first, _ in mqtt.carried) == [4, 8]


async def test_what_waits_to_be_tried_again_is_unknown_in_an_outage_of_everything(world: World) -> None:
    await begin(world)
    for way in world.ways.values():
        way.through = False
    silent = world.send(4)
    await settle()
    world.ways["coap"].fails = LinkError("no route to host")
    refused = world.send(8)
    await settle()
    await world.after(5.0)
    await asyncio.sleep(RETRY)
    for task in (silent, refused):
        with pytest.raises(LinkError, match="nothing gets through"):
            await task


async def test_a_slow_bridge_is_no_reason_to_leave_while_its_host_answers(world: World) -> None:
    await begin(world)
    world.ways["coap"].answers = False
    slow = world.send(4)
    await world.after(5.0)
    assert world.ways["mqtt"].carried == []
    assert world.profile.startswith("coap")
    assert world.ways["coap"].asked > 0
    world.ways["coap"].answers = True
    await world.after(0.1)
    assert (await slow).kind == "safe"


async def test_an_outage_of_everything_is_told_and_ends_what_is_under_way(world: World) -> None:
    await begin(world)
    for way in world.ways.values():
        way.through = False
    lost = world.send(4)
    await settle()
    await world.after(5.0)
    with pytest.raises(LinkError, match="nothing gets through"):
        await lost
    said = [one[0] for one in world.heard.said]
    assert said == ["connected", "disconnected"]
    assert world.uplink._choice_facts()["link"]["outage"]
    asked = world.ways["coap"].asked
    await world.after(5.0)
    assert 8 <= world.ways["coap"].asked - asked <= 11, "twice a second"
    for way in world.ways.values():
        way.through = True
    await world.after(1.0)
    assert world.heard.said[-1] == ("connected", False)
    assert len(world.uplink.switches) == 1, "an outage of everything favours none"
    assert (await world.send(4)).kind == "safe"


async def test_after_an_outage_the_way_that_is_heard_a_little_later_is_kept(world: World) -> None:
    await begin(world)
    for way in world.ways.values():
        way.through = False
    lost = world.send(4)
    await settle()
    await world.after(5.0)
    assert isinstance(lost.exception(), LinkError)
    world.ways["mqtt"].through = True
    while "mqtt" in world.uplink._silence.deaf:
        await world.after(0.1)
    assert world.ways["coap"].hurried == 1, "what begins anew begins now"
    world.ways["coap"].through = True
    world.ways["coap"].carried.clear()
    assert (await world.send(4)).kind == "safe"
    await world.after(1.0)
    assert len(world.uplink.switches) == 1
    assert world.ways["coap"].carried == [(4, world.profile)]


async def test_a_door_that_is_shut_is_no_outage_while_the_other_one_is_idle() -> None:
    made = World("mqtt", "coap", pin="mqtt-*")
    await made.start()
    assert (await made.send(0)).kind == "safe"
    made.ways["coap"].through = False
    await made.after(1.0)
    await made.ways["coap"].ask()
    await made.after(8.0)
    assert made.uplink._choice_facts()["link"]["outage"], "nothing was heard since that probe"
    assert made.heard.said == [("connected", False)], "but nothing was asked of MQTT either"
    assert (await made.send(4)).kind == "safe"
    await made.stop()


async def test_a_dead_connection_is_dropped_while_the_other_way_is_heard() -> None:
    world = World("mqtt", "coap", pin="mqtt-*")
    await world.start()
    assert (await world.send(0)).kind == "safe"
    world.ways["mqtt"].through = False
    task = world.send(4)
    await settle()
    before = world.now
    while not world.ways["mqtt"].dropped:
        assert world.now - before < 1.0 + 3 * RTT + 0.5
        await world.after(0.1)
    world.ways["mqtt"].through = True
    await world.after(0.2)
    assert (await task).kind == "safe"
    assert world.ways["coap"].carried == [], "a pin is obeyed"
    await world.stop()


async def test_what_fails_is_tried_again_where_there_is_more_than_one_way(world: World) -> None:
    await begin(world)
    coap = world.ways["coap"]
    coap.fails = LinkError("refused")
    task = world.send(4)
    await settle()
    coap.fails = None
    world.uplink._pulse()
    assert (await task).kind == "safe"
    assert [first for first, _ in coap.carried] == [0, 4, 4]


async def refused(world: World, first: int) -> asyncio.Task[Outcome]:
    """A message that waits to be tried again."""
    coap = world.ways["coap"]
    coap.fails = LinkError("refused")
    task = world.send(first)
    await settle()
    coap.fails = None
    return task


async def test_what_waits_to_be_tried_again_goes_over_with_the_rest(world: World) -> None:
    await begin(world)
    world.ways["coap"].through = False
    under_way = world.send(4)
    await settle()
    while not world.profile.startswith("mqtt-0/"):
        waits = await refused(world, 8)
        await world.after(0.1)
    assert [(await task).kind for task in (under_way, waits)] == ["safe"] * 2
    assert (8, world.profile) in world.ways["mqtt"].carried


async def test_an_outage_of_everything_ends_what_waits_to_be_tried_again_too(world: World) -> None:
    await begin(world)
    for way in world.ways.values():
        way.through = False
    lost = world.send(4)
    while world.heard.said[-1][0] != "disconnected":
        waits = await refused(world, 8)
        await world.after(0.1)
    for task in (lost, waits):
        with pytest.raises(LinkError, match="nothing gets through"):
            await task


async def test_with_mqtt_alone_the_sender_hears_of_everything() -> None:
    world = World("mqtt")
    await world.start()
    assert (await world.send(0)).kind == "safe"
    world.ways["mqtt"].fails = LinkError("gone")
    with pytest.raises(LinkError, match="gone"):
        await world.send(4)
    world.estimator.on(Disconnected("mqtt", world.now))
    world.uplink.disconnected("cut")
    world.estimator.on(Connected("mqtt", world.now))
    world.uplink.connected(fresh=True)
    receipt, error = Receipt("e", [(0, 3)]), Error("shape", "no", "wrist", 0)
    world.uplink.receipt("wrist", receipt)
    world.uplink.refusal(error)
    assert world.heard.said == [
        ("connected", False), ("disconnected", "cut"), ("connected", True), ("wrist", receipt), error,
    ]  # fmt: skip
    await world.stop()


async def test_a_broker_that_forgot_us_is_news_another_connection_is_not(world: World) -> None:
    assert world.heard.said == [("connected", False)]
    world.uplink.disconnected("cut")
    world.uplink.connected(fresh=False)
    assert world.heard.said == [("connected", False)]
    world.uplink.connected(fresh=True)
    assert world.heard.said[1:] == [("connected", True)]


async def test_idle_ways_are_probed_for_little(world: World) -> None:
    await begin(world)
    sent = 0
    for n in range(1, 1_600):
        world.now += 0.05
        task = world.send(4 * n)
        await settle()
        world.uplink.look()
        assert (await task).kind == "safe"
        sent += 100
    probes = world.ways["mqtt"].asked
    assert 1 <= probes * 120 <= 0.011 * sent + 120
    assert world.ways["coap"].asked == 0, "what is in use tells by itself"


async def test_before_any_rows_it_is_as_configured(world: World) -> None:
    assert world.uplink.writing("wrist") is None
    assert world.uplink.writing("ankle") is None
    assert world.uplink.window == 16
    world.uplink.look()
    assert [way.used for way in world.ways.values()] == [True, True]
    world.ways["mqtt"].uplink.most_bytes = 5_000
    world.ways["coap"].uplink.window = 32
    assert (await world.skip()).kind == "safe"
    assert world.ways["coap"].carried == [(0, "as configured")]
    await begin(world)
    world.uplink.look()
    assert [way.used for way in world.ways.values()] == [False, True]
    assert world.uplink.window == 32
    assert world.uplink.most_bytes == 5_000
    found = world.uplink.writing("wrist")
    assert found is not None
    assert found.form is Format.CBOR


async def test_facts_of_the_agent_and_of_the_choice_are_told_together(world: World) -> None:
    await begin(world)
    await world.uplink.tell({"streams": {"wrist": []}})
    told = world.ways["mqtt"].uplink.told[-1]
    assert told["streams"] == {"wrist": []}
    assert told["profile"] == world.profile


async def test_a_twin_ends_it() -> None:
    world = World("mqtt", "coap")
    world.ways["mqtt"].fails = TakenOver("another one")
    with pytest.raises(TakenOver):
        await world.uplink.run(cast("Listener", world.heard))
    await world.stop()


async def test_a_cancelled_send_ends_what_carries_it(world: World) -> None:
    await begin(world)
    world.ways["coap"].answers = False
    task = world.send(4)
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settle()
    assert not world.uplink._flying


def in_zstd(world: World, first: int) -> asyncio.Task[Outcome]:
    seen = Observation(np.ones((4, 3), np.float32), seq=first, epoch="e", receipt=True)
    payload = encode_observation(seen, Format.CBOR, zstd=True)
    assert payload.startswith(MAGIC)
    return asyncio.create_task(world.uplink.send("wrist", payload, Format.CBOR))


@pytest.mark.parametrize("reason", ["malformed", "unknown_format"])
@pytest.mark.parametrize("pin", ["*", "coap-con/float32+zstd/*"])
async def test_a_bridge_that_does_not_know_zstd_gets_the_same_rows_without(pin: str, reason: str) -> None:
    world = World("mqtt", "coap", pin=pin)
    await world.start()
    try:
        await begin(world)
        coap = world.ways["coap"]
        carry, seen = coap.carry, []

        async def old_bridge(message: Message, profile: Profile | None) -> Outcome:
            seen.append(is_zstd(message))
            return Outcome("refused", reason) if seen[-1] else await carry(message, profile)

        coap.carry = old_bridge  # type: ignore[method-assign] # the other side is older
        assert (await in_zstd(world, 4)).kind == "safe"
        assert (await in_zstd(world, 8)).kind == "safe"
        assert seen == [True, False, False]
        found = world.uplink.writing("wrist")
        assert found is not None
        assert not found.zstd
    finally:
        await world.stop()


async def test_what_an_older_bridge_cannot_read_over_mqtt_goes_again_without_zstd() -> None:
    world = World("mqtt", pin="mqtt-0/*")
    world.estimator.on(Connected("mqtt", world.now))
    await world.start()
    try:
        assert (await world.send(0)).kind == "safe"
        mqtt = world.ways["mqtt"]
        mqtt.answers = False
        unread = in_zstd(world, 4)
        await settle()
        world.uplink.refusal(Error("malformed", "153 bytes after the CBOR item", "wrist", None))
        mqtt.answers = True
        await settle()
        assert (await unread).kind == "safe"
        assert [first for first, _ in mqtt.carried] == [0, 4, 4]
        world.uplink.refusal(Error("malformed", "of another", "wrist", None))
    finally:
        await world.stop()


def in_int8(world: World, first: int) -> asyncio.Task[Outcome]:
    seen = Observation(np.eye(4, 3, dtype=np.float32), seq=first, epoch="e", receipt=True)
    payload = encode_observation(seen, Format.CBOR, packing="int8", zstd=True)
    return asyncio.create_task(world.uplink.send("wrist", payload, Format.CBOR, said=seen))


@pytest.mark.parametrize("takes", [True, False])
async def test_what_is_refused_in_zstd_and_in_int8_goes_as_float32_and_is_refused_only_then(*, takes: bool) -> None:
    world = World("mqtt", "coap", pin="coap-con/int8/*", fidelity={"int8": 0.01})
    await world.start()
    try:
        assert (await world.send(0)).kind == "safe"
        seen: list[bytes] = []

        async def old_bridge(message: Message, profile: Profile | None) -> Outcome:  # noqa: ARG001 # as every way
            seen.append(message.payload)
            return SAFE if takes and len(seen) == 3 else Outcome("refused", "malformed")

        world.ways["coap"].carry = old_bridge  # type: ignore[method-assign] # the other side is older
        assert (await in_int8(world, 4)).kind == ("safe" if takes else "refused")
        rows = Observation(np.eye(4, 3, dtype=np.float32), seq=4, epoch="e", receipt=True)
        assert seen[1:] == [
            encode_observation(rows, Format.CBOR, packing="int8"),
            encode_observation(rows, Format.CBOR),
        ]
        found = world.uplink.writing("wrist")
        assert found is not None
        assert found.packing == ("float32" if takes else "int8"), (
            "though int8 is pinned, and only if that was the matter"
        )
    finally:
        await world.stop()


async def test_rows_that_a_bridge_behind_a_broker_refuses_in_int8_come_again() -> None:
    world = World("mqtt", pin="mqtt-1/int8/*", fidelity={"int8": 0.01})
    world.estimator.on(Connected("mqtt", world.now))
    await world.start()
    try:
        assert (await world.send(0)).kind == "safe"
        for seq in (4, 8):
            world.uplink.refusal(Error("shape", "no such tag", "wrist", seq))
        world.now += LATE
        world.uplink.refusal(Error("shape", "three channels", "wrist", 12))
        told = [one for one in world.heard.said if isinstance(one, Error)]
        assert [one.reason for one in told] == ["overload", "overload", "shape"]
    finally:
        await world.stop()


async def test_what_is_refused_as_float32_too_behind_a_broker_costs_no_encoding_but_ever_more_seldom() -> None:
    world = World("mqtt", pin="mqtt-1/int8/*", fidelity={"int8": 0.01})
    world.estimator.on(Connected("mqtt", world.now))
    await world.start()

    def after(seconds: float) -> str:
        """How rows are written after another refusal."""
        world.now += seconds
        world.uplink.refusal(Error("shape", "three channels", "wrist", 4))
        found = world.uplink.writing("wrist")
        assert found is not None
        return found.packing

    try:
        assert (await world.send(0)).kind == "safe"
        assert [after(0.0), after(LATE)] == ["float32", "int8"]
        assert [after(1.0), after(LATE), after(AGAIN - 2 * LATE)] == ["float32"] * 3
        assert after(2 * LATE) == "int8", "perhaps another bridge by now"
        assert [after(1.0), after(AGAIN)] == ["float32"] * 2
        assert after(AGAIN + LATE) == "int8"
        told = [one.reason for one in world.heard.said if isinstance(one, Error)]
        assert told == ["overload", "shape", "overload", "shape", "shape", "shape", "overload", "shape", "shape"]
    finally:
        await world.stop()


async def test_what_is_refused_for_what_it_says_leaves_the_next_rows_in_zstd() -> None:
    world = World("mqtt", "coap", pin="coap-con/float32+zstd/*")
    await world.start()
    try:
        await begin(world)
        coap, seen = world.ways["coap"], []
        carry = coap.carry

        async def bridge(message: Message, profile: Profile | None) -> Outcome:
            seen.append((message.rows[0][0], is_zstd(message)))
            return Outcome("refused", "shape: 3 channels") if message.rows[0][0] == 4 else await carry(message, profile)

        coap.carry = bridge  # type: ignore[method-assign] # with a manifest
        assert (await in_zstd(world, 4)).detail == "shape: 3 channels"
        assert (await in_zstd(world, 8)).kind == "safe"
        assert seen == [(4, True), (4, False), (8, True)]
        found = world.uplink.writing("wrist")
        assert found is not None
        assert found.zstd
    finally:
        await world.stop()
