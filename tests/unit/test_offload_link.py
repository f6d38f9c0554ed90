"""What the traffic tells of the cloud's link, and how questions wait for each other: a connection on paper."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from bridge.mqtt import codec
from bridge.mqtt.sender import PACKET_TOO_LARGE
from bridge.offload.belief import REFUTED
from bridge.offload.choosing import Choices
from bridge.offload.link import TICK, Link
from bridge.offload.outgoing import SURE_OF, Outgoing
from bridge.offload.questions import Open
from bridge.offload.sending import Sending
from bridge.wire.offload import decode_asking

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.mqtt.connection import Connection
    from bridge.mqtt.messages import Publish

VALUES = np.linspace(0, 1, 128 * 6, dtype=np.float32).reshape(128, 6)


class Paper:
    """A connection and its session: keeps what is published, and refuses what is too large for its broker at once."""

    connected = True
    socket = None
    receive_maximum = 20
    maximum_packet: int | None = None
    queued = 0
    heard_at = 0.0
    bytes_in_flight = 0

    def __init__(self) -> None:
        self.published: list[Publish] = []

    @property
    def session(self) -> Paper:
        return self

    def publish(self, messages: Iterable[Publish]) -> None:
        for message in messages:
            if self.maximum_packet is None or len(codec.publish(message, 1)) <= self.maximum_packet:
                self.published.append(message)
            elif message.done is not None:
                message.done(PACKET_TOO_LARGE)


class Scene:
    def __init__(self, pin: str) -> None:
        self.paper = Paper()
        connection = cast("Connection", self.paper)
        self.models = {"m": Sending("int8", costs={"float32": 0.0, "int8": 0.0})}
        self.choices = Choices(self.models, pin=pin)
        self.link = Link(connection, self.choices)
        self.failed: list[Any] = []
        self.outgoing = Outgoing("gw-1", connection, self.models, self.choices, self.link, self._failed)

    def _failed(self, *what: Any) -> None:
        self.failed.append(what)

    def ask(self, count: int, patience: float = 10.0, first: int = 0) -> None:
        now = time.monotonic()
        for n in range(first, first + count):
            self.outgoing.ask("gpu-1", Open(f"w{n}", "m", VALUES, 100, now, now + patience))

    def asked(self) -> list[list[str]]:
        """Ids, message by message."""
        return [[getattr(one, "id", "") for one in decode_asking(each.payload)[0]] for each in self.paper.published]

    def settle(self) -> None:
        """The first question is out, and something is chosen."""
        self.ask(1, first=1_000)
        self.outgoing.flush()
        self.link.look(time.monotonic())
        self.paper.published.clear()


async def test_alone_a_question_leaves_at_once_and_what_comes_together_stays_together() -> None:
    scene = Scene("mqtt-1/int8/1")
    scene.settle()
    scene.ask(1)
    await asyncio.sleep(0)
    scene.ask(5, first=1)
    await asyncio.sleep(0)
    assert [len(ids) for ids in scene.asked()] == [1, 5]
    assert [one.qos for one in scene.paper.published] == [1, 1]


async def test_where_the_choice_says_so_they_leave_in_fours_and_the_rest_when_it_is_due() -> None:
    scene = Scene("mqtt-1/int8/4")
    scene.settle()
    scene.ask(3)
    await asyncio.sleep(0)
    assert scene.asked() == []
    scene.ask(2, first=3)
    await asyncio.sleep(0)
    assert [len(ids) for ids in scene.asked()] == [4, 1]

    scene.paper.published.clear()
    scene.ask(2, patience=0.2, first=10)
    await asyncio.sleep(0)
    assert scene.asked() == []
    began = time.monotonic()
    async with asyncio.timeout(5):
        while not scene.paper.published:  # noqa: ASYNC110 # the loop's timer is what is tested
            await asyncio.sleep(0.001)
    assert scene.asked() == [["w10", "w11"]]
    assert time.monotonic() - began >= 0.03


async def test_one_taken_back_while_it_waits_is_not_sent_and_a_cancellation_takes_the_rest_along() -> None:
    scene = Scene("mqtt-1/int8/4")
    scene.settle()
    scene.ask(2)
    waiting = scene.outgoing._asks["gpu-1", "m"]
    first, other = waiting.values()
    scene.outgoing.cancel("gpu-1", first)
    await asyncio.sleep(0)
    assert scene.asked() == []
    scene.outgoing.cancel("gpu-1", Open("earlier", "m", VALUES, 100, 0.0, 1.0))
    await asyncio.sleep(0)
    assert scene.asked() == [[other.id]]
    assert decode_asking(scene.paper.published[0].payload)[1] == ["earlier"]


async def test_of_questions_without_pubacks_one_in_four_has_one() -> None:
    scene = Scene("mqtt-0/int8/1")
    scene.settle()
    for n in range(4 * SURE_OF):
        scene.ask(1, first=n)
        scene.outgoing.flush()
    qos = [one.qos for one in scene.paper.published]
    assert qos.count(1) == 4
    for one in scene.paper.published:
        assert one.done is not None
        one.done(0x10)
    assert len(scene.failed) == len(qos)


async def test_pubacks_are_round_trips_and_quick_ones_refute_a_rate() -> None:
    scene = Scene("*")
    link, now = scene.link, 1_000.0
    link.connected(now)
    sent = [(now + 0.05 * n, n, False) for n in range(1, 31)]
    acked = [(now + 0.05 + 0.1 * n, n, True) for n in range(1, 31)]  # each 50 ms later than the one before: a queue
    for at, n, answer in sorted(sent + acked):
        link.acked(n, at) if answer else link.sent(n, 1_000, at, answered=True)
    link.look(now + 3.1)
    told = link.facts()["link"]
    assert told["goodput"] is not None
    assert 8_000 < told["goodput"] < 12_000
    for n in range(31, 51 + REFUTED):  # far apart, so that they fill nothing, and quicker than that rate takes
        link.sent(n, 5_000, now + 5 + (n - 31), answered=True)
        link.acked(n, now + 5.05 + (n - 31))
    now += 5.1 + 20 + REFUTED
    link.look(now)
    assert link.facts()["link"]["goodput"] is None
    link.acked(999, now)  # of nothing
    for n in range(60, 70):  # lone ones, on a long way: they tell nothing of the rate
        link.sent(n, 1_000, now + 0.5 * (n - 60), answered=True)
        link.acked(n, now + 0.08 + 0.5 * (n - 60))
    link.look(now + 5)
    assert link.facts()["link"]["goodput"] is None


async def test_silence_counts_from_what_is_under_way() -> None:
    scene = Scene("*")
    link, now = scene.link, time.monotonic()

    def silent(at: float) -> bool:
        link.look(at)
        return link.silent

    link.connected(now)
    link.sent(1, 100, now, answered=False)
    assert not silent(now + 30)  # nothing is under way that would be answered
    link.sent(2, 100, now + 30, answered=True)
    link.acked(2, now + 30.1)
    link.sent(3, 100, now + 40, answered=True)
    assert not silent(now + 41)
    assert silent(now + 40 + 1 + 3 * 0.1 + TICK)
    assert link.facts()["link"]["silent"] is True
    link.acked(3, now + 42)
    assert not silent(now + 42)
    link.sent(4, 100, now + 50, answered=True)
    scene.paper.connected = False
    assert not silent(now + 60)  # that is no silence: there is no connection
    scene.paper.connected = True
    link.connected(now + 61)
    assert not silent(now + 70)


async def test_what_the_broker_s_receive_maximum_holds_back_is_not_timed() -> None:
    scene = Scene("mqtt-1/int8/1")
    scene.settle()
    scene.paper.queued = 1
    before = len(scene.link._flights)
    scene.ask(1)
    scene.outgoing.flush()
    assert len(scene.paper.published) == 1
    assert len(scene.link._flights) == before


@pytest.mark.parametrize("reliable", [True, False])
async def test_a_question_larger_than_the_broker_takes_is_told_and_nothing_waits_for_it(reliable: bool) -> None:
    scene = Scene("mqtt-1/int8/1" if reliable else "mqtt-0/int8/1")
    scene.settle()
    scene.link.connected(now := time.monotonic())
    scene.outgoing._sure["gpu-1"] = (now, 0)  # one without a PUBACK is due
    scene.paper.maximum_packet = 500
    scene.ask(1)
    scene.outgoing.flush()
    assert scene.failed == [("gpu-1", ["w0"], PACKET_TOO_LARGE)]
    assert scene.paper.published == []
    scene.link.look(now + 30)
    assert not scene.link.silent
    assert scene.link.facts()["link"]["round_trip"] is None, "no broker answered"


def packed_within(limit: int) -> Scene:
    """Five questions, of about 900 bytes each, to a broker that takes packets of so many bytes."""
    scene = Scene("mqtt-1/int8/1")
    scene.paper.maximum_packet = limit
    scene.ask(5)
    scene.outgoing.flush()
    return scene


@pytest.mark.parametrize(("limit", "sizes"), [(1_000, [1] * 5), (2_000, [2, 2, 1]), (3_000, [3, 2]), (9_000, [5])])
async def test_questions_are_packed_for_what_the_broker_takes(limit: int, sizes: list[int]) -> None:
    scene = packed_within(limit)
    assert [len(ids) for ids in scene.asked()] == sizes
    assert [name for ids in scene.asked() for name in ids] == [f"w{n}" for n in range(5)]


async def test_no_message_of_several_is_a_byte_too_large() -> None:
    (together,) = packed_within(9_000).paper.published
    size = len(codec.publish(together, 1))
    scenes = [packed_within(limit) for limit in range(size - 40, size + 40)]
    assert [scene.failed for scene in scenes] == [[]] * 80
    assert {len(scene.paper.published) for scene in scenes} == {1, 2}


class Paired(Scene):
    """On a socket that tells nothing, just connected: pairs are wanted."""

    def __init__(self, pin: str) -> None:
        super().__init__(pin)
        self.settle()
        self.paper.socket = cast("None", object())
        self.link.connected(time.monotonic())


async def test_a_question_that_is_due_leaves_behind_a_tiny_message_in_the_next_turn() -> None:
    scene = Paired("mqtt-0/int8/1")
    scene.ask(1)
    scene.outgoing.flush()
    (tiny,) = scene.paper.published
    assert (tiny.topic, tiny.payload, tiny.qos) == ("edge/v1/_reply/gw-1/link", b"", 1)
    await asyncio.sleep(0)
    _, question = scene.paper.published
    assert (question.topic, question.qos) == ("edge/v1/_escalate/m/gpu-1", 1)  # its PUBACK is wanted
    for one in (tiny, question):
        assert one.done is not None
        one.done(0x10 if one is tiny else 0)
    assert scene.failed == []  # nobody reads the tiny one


async def test_on_a_wide_link_pairs_end_and_a_thin_one_is_told_its_rate() -> None:
    scene = Paired("mqtt-1/int8/1")
    link, now = scene.link, time.monotonic()
    for n in range(1, 11):
        at = now + n
        assert link.pair_due(at) == (n <= 2)
        if link.pair_due(at):
            link.pair(n, at)
            link.tiny(n, at + 0.05)
        link.sent(n, 1_000, at, answered=True)
        link.acked(n, at + 0.051)
    link.look(now + 11)
    assert link.facts()["link"]["goodput"] is None
    for n in range(11, 17):
        at = now + n
        link.sent(n, 1_000, at, answered=True)
        if link.pair_due(at):
            link.pair(n, at)
            link.tiny(n, at + 0.2)
        link.acked(n, at + 0.325)
    link.look(now + 17)
    assert link.facts()["link"]["goodput"] == 8_000


async def test_what_waits_for_its_turn_is_not_sent_when_the_connection_breaks_meanwhile() -> None:
    scene = Paired("mqtt-1/int8/1")
    scene.ask(1)
    scene.outgoing.flush()
    scene.paper.connected = False
    await asyncio.sleep(0)
    assert len(scene.paper.published) == 1
