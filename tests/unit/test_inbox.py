"""What waits for the pipeline: handed out at once, bounded in bytes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from bridge.offload.client import Unanswered
from bridge.pipeline.arrival import Arrival
from bridge.pipeline.inbox import ASKERS, LONG, OVERHEAD, TOPICS, GivenUp, Inbox

EVERYTHING = 1 << 30


def owner(topic: str, reply_to: str | None) -> str:
    """Whose it is: the topic up to the first slash, or whoever is to be answered."""
    return topic.partition("/")[0] if reply_to is None else reply_to


def message(size: int) -> Arrival:
    return Arrival("t", b"x" * size, 0.0, lambda _: None)


@pytest.fixture
def spaces() -> list[int]:
    return []


@pytest.fixture
def inbox(spaces: list[int]) -> Inbox:
    return Inbox(2 * OVERHEAD + 100, lambda: spaces.append(1), owner)


async def test_everything_that_waits_comes_at_once_and_in_order_answers_first(inbox: Inbox) -> None:
    first, second, told = message(1), message(2), Unanswered("w", "late")
    inbox.put([first])
    inbox.tell(told)
    inbox.put([second])
    assert len(inbox) == 3
    assert await inbox.take(most=10, size=1 << 30, wait=1.0) == [told, first, second]
    assert len(inbox) == 0


async def test_a_turn_takes_at_most_so_many(inbox: Inbox) -> None:
    events = [message(n) for n in range(5)]
    inbox.put(events)
    assert [await inbox.take(most=2, size=1 << 30, wait=1.0) for _ in range(3)] == [events[:2], events[2:4], events[4:]]


async def test_nothing_comes_after_the_wait(inbox: Inbox) -> None:
    began = time.monotonic()
    assert await inbox.take(most=1, size=1 << 30, wait=0.02) == []
    assert time.monotonic() - began >= 0.015
    inbox.put([])
    assert await inbox.take(most=1, size=1 << 30, wait=0.0) == []


async def test_arrivals_of_blocked_owners_stay(inbox: Inbox) -> None:
    stays, goes = message(1), Arrival("other", b"x", 0.0, lambda _: None)
    inbox.put([stays])

    def blocked(whose: str) -> bool:
        return whose == "t"

    assert await inbox.take(most=9, size=1 << 30, wait=0.01, blocked=blocked) == []
    inbox.tell(Unanswered("w", "late"))
    inbox.put([goes])
    assert await inbox.take(most=9, size=1 << 30, wait=10.0, blocked=blocked) == [Unanswered("w", "late"), goes]
    assert await inbox.take(most=1, size=1 << 30, wait=0.0) == [stays]


async def test_a_flood_of_one_owner_delays_another_by_one_message(spaces: list[int]) -> None:
    inbox = Inbox(1 << 24, lambda: spaces.append(1), owner)
    inbox.put([Arrival("flood", b"x" * 1_000_000, 0.0, lambda _: None) for _ in range(9)])
    await inbox.take(most=9, size=1, wait=0.0)
    late = Arrival("other", b"x", 0.0, lambda _: None)
    inbox.put([late])
    assert await inbox.take(most=9, size=1, wait=0.0) == [late]


async def test_without_room_the_oldest_of_who_holds_most_go_if_nobody_acknowledges_them() -> None:
    inbox = Inbox(10 * (OVERHEAD + 100), lambda: None, owner)
    qos0 = [Arrival("flood", b"%100d" % n, 0.0, lambda _: None, sheddable=True) for n in range(9)]
    kept = Arrival("other", b"x" * 100, 0.0, lambda _: None, sheddable=True)
    inbox.put([*qos0, kept])
    assert not inbox.full
    assert list(inbox.given_up()) == [GivenUp("flood", None, None, 3)]
    assert not inbox.given_up()
    assert await inbox.take(most=99, size=1 << 30, wait=0.0) == [*qos0[3:], kept]


async def test_what_comes_though_it_is_full_may_make_room(spaces: list[int]) -> None:
    inbox = Inbox(10 * (OVERHEAD + 100), lambda: spaces.append(1), owner)

    def one(*, sheddable: bool) -> Arrival:
        return Arrival("flood", bytes(100), 0.0, lambda _: None, sheddable=sheddable)

    inbox.put([one(sheddable=True) for _ in range(9)])
    inbox.put([one(sheddable=False)])
    assert (inbox.full, spaces) == (True, [])
    inbox.put([one(sheddable=True)])  # read before a reset, say, behind a shut door
    assert (inbox.full, spaces) == (False, [1])


async def test_a_flood_over_many_streams_is_that_of_one_device() -> None:
    inbox = Inbox(1 << 24, lambda: None, owner)
    flood = [Arrival(f"evil/{n}", b"x" * 1_000, 0.0, lambda _: None) for n in range(500)]
    victim = Arrival("good/0", b"x", 0.0, lambda _: None)
    inbox.put([*flood, victim])
    assert victim in await inbox.take(most=100, size=EVERYTHING, wait=0.0)


async def test_a_flood_over_many_streams_costs_nobody_else_anything() -> None:
    inbox = Inbox(100 * OVERHEAD, lambda: None, owner)
    flood = [Arrival(f"evil/{n % 50}", b"", 0.0, lambda _: None, sheddable=True) for n in range(90)]
    victims = [Arrival("good/0", b"", 0.0, lambda _: None, sheddable=True) for _ in range(10)]
    inbox.put([*flood, *victims])
    given_up = inbox.given_up()
    assert sum(one.count for one in given_up) == 25
    assert {one.topic for one in given_up} == {f"evil/{n}" for n in range(25)}, "counted by topic"
    assert await inbox.take(most=999, size=EVERYTHING, wait=0.0) == [*flood[25:], *victims]


def question(reply_to: str, number: int = 0) -> Arrival:
    correlation = b"%d" % number
    return Arrival("ask", b"", 0.0, lambda _: None, reply_to=reply_to, correlation=correlation, sheddable=True)


async def test_a_flood_of_questions_costs_only_who_asks_them() -> None:
    inbox = Inbox(100 * OVERHEAD, lambda: None, owner)
    flood, asked = [question("evil", n) for n in range(95)], [question("good", n) for n in range(5)]
    inbox.put([*asked, *flood])
    assert list(inbox.given_up()) == [GivenUp("ask", "evil", b"24", 25)], "the newest question that was given up"
    assert await inbox.take(most=999, size=EVERYTHING, wait=0.0) == [*asked, *flood[25:]]


async def test_of_more_askers_than_are_told_the_rest_is_counted() -> None:
    many = 4 * (ASKERS + 100)
    inbox = Inbox(many * OVERHEAD, lambda: None, lambda _topic, _reply_to: "one")
    inbox.put([question(f"a/{n}") for n in range(many)])
    found = {one.reply_to: one.count for one in inbox.given_up()}
    assert len(found) == ASKERS + 1
    assert found.pop(None) == 100
    assert set(found.values()) == {1}


async def test_of_more_topics_than_are_told_the_rest_is_counted() -> None:
    """While a turn does not end nobody asks what was given up."""
    rounds, many = 3, 4 * (TOPICS + 100)
    inbox = Inbox(many * OVERHEAD, lambda: None, lambda _topic, _reply_to: "one")
    for each in range(rounds):
        inbox.put([Arrival(f"{each}/{n}", b"", 0.0, lambda _: None, sheddable=True) for n in range(many)])
    found = {one.topic: one.count for one in inbox.given_up()}
    assert len(found) == TOPICS + 1
    assert found.pop("") == rounds * many - len(inbox) - TOPICS
    assert set(found.values()) == {1}
    assert not inbox.given_up()


async def test_what_has_very_long_names_is_counted_without_them() -> None:
    inbox = Inbox(1, lambda: None, lambda _topic, _reply_to: "one")
    for long in ("t" * LONG, "t" * (LONG + 1)):
        inbox.put([Arrival(long, b"", 0.0, lambda _: None, sheddable=True)])
    for reply_to, correlation in (("r", b"c" * LONG), ("r" * LONG, b"c"), ("r", b"c")):
        inbox.put(
            [Arrival("ask", b"", 0.0, lambda _: None, reply_to=reply_to, correlation=correlation, sheddable=True)]
        )
    assert list(inbox.given_up()) == [
        GivenUp("t" * LONG, None, None, 1),
        GivenUp("", None, None, 1),
        GivenUp("ask", None, None, 2),
        GivenUp("ask", "r", b"c", 1),
    ]


@pytest.mark.parametrize("name", ["topic", "content_type", "reply_to", "correlation"])
async def test_what_a_message_says_of_itself_counts(name: str) -> None:
    inbox = Inbox(50_000, lambda: None, owner)
    long = b"c" * 60_000 if name == "correlation" else "c" * 60_000
    said: dict[str, Any] = {"topic": "t", "reply_to": "r", name: long}
    inbox.put([Arrival(payload=b"", arrived=0.0, settle=lambda _: None, **said)])
    assert inbox.full
    await inbox.take(most=9, size=EVERYTHING, wait=0.0)
    assert not inbox.full


async def test_what_is_given_back_comes_again_in_its_order_but_others_come_before_its_owner(inbox: Inbox) -> None:
    flood = [Arrival("flood/0", b"%d" % n, 0.0, lambda _: None) for n in range(4)]
    other = Arrival("other/0", b"x", 0.0, lambda _: None)
    told = Unanswered("w", "late")
    inbox.tell(told)
    inbox.put([*flood, other])
    events = await inbox.take(most=9, size=EVERYTHING, wait=0.0)
    assert events == [told, *flood, other]
    inbox.give_back(events[2:], flood[0])
    assert len(inbox) == 4
    late = Arrival("late/0", b"x", 0.0, lambda _: None)
    inbox.put([late])
    assert await inbox.take(most=9, size=EVERYTHING, wait=0.0) == [other, late, *flood[1:]]


async def test_what_is_given_back_fills_it_again() -> None:
    said: list[str] = []
    inbox = Inbox(3 * OVERHEAD, lambda: said.append("space"), owner, lambda: said.append("full"))
    events = [message(1) for _ in range(4)]
    inbox.put(events)
    taken = await inbox.take(most=9, size=EVERYTHING, wait=0.0)
    inbox.give_back(taken[1:], events[0])
    assert (inbox.full, said) == (True, ["space", "full"])
    taken = await inbox.take(most=2, size=EVERYTHING, wait=0.0)
    inbox.give_back(taken[1:], events[1])
    assert (inbox.full, said) == (False, ["space", "full", "space"])
    assert await inbox.take(most=9, size=EVERYTHING, wait=0.0) == events[2:]


async def test_what_is_acknowledged_is_never_given_up(inbox: Inbox) -> None:
    events = [message(1_000) for _ in range(3)]
    inbox.put(events)
    assert inbox.full
    assert not inbox.given_up()
    assert await inbox.take(most=9, size=1 << 30, wait=0.0) == events


async def test_who_waits_is_woken(inbox: Inbox) -> None:
    waiting = asyncio.ensure_future(inbox.take(most=9, size=1 << 30, wait=10.0))
    await asyncio.sleep(0)
    event = message(1)
    inbox.put([event])
    assert await waiting == [event]


async def test_it_is_full_by_bytes_and_says_once_when_it_has_room_again(inbox: Inbox, spaces: list[int]) -> None:
    inbox.put([message(50)])
    before = inbox.full
    inbox.put([message(50)])
    assert (before, inbox.full) == (False, True)
    inbox.put([message(1)])
    await inbox.take(most=1, size=1 << 30, wait=0.0)
    assert (inbox.full, spaces) == (False, [1])
    await inbox.take(most=1, size=1 << 30, wait=0.0)
    await inbox.take(most=1, size=1 << 30, wait=0.0)
    assert spaces == [1]


async def test_a_message_larger_than_all_room_passes(inbox: Inbox, spaces: list[int]) -> None:
    inbox.put([message(10_000)])
    assert inbox.full
    assert len(await inbox.take(most=1, size=1 << 30, wait=0.0)) == 1
    assert (inbox.full, spaces) == (False, [1])


async def test_a_turn_ends_by_bytes_but_takes_at_least_one(inbox: Inbox) -> None:
    events = [message(1_000) for _ in range(4)]
    inbox.put(events)
    size = 2 * (OVERHEAD + 1_000)
    assert await inbox.take(most=9, size=size, wait=0.0) == events[:2]
    assert await inbox.take(most=9, size=1, wait=0.0) == events[2:3]
    assert await inbox.take(most=9, size=size, wait=0.0) == events[3:]
    assert not inbox.full


async def test_what_comes_again_after_a_reconnect_does_not_wait_twice(inbox: Inbox, spaces: list[int]) -> None:
    def by(connection: int) -> Arrival:
        return Arrival("t", b"x" * 100, 0.0, lambda _verdict: None, comes_again=connection)

    events = [by(1), message(1), by(2), by(1)]
    inbox.put(events)
    inbox.resumed(2)
    assert await inbox.take(most=9, size=1 << 30, wait=0.0) == events[1:3]
    inbox.put([by(1), by(1), by(1)])
    inbox.resumed(2)
    assert (len(inbox), inbox.full, spaces) == (0, False, [1, 1])
