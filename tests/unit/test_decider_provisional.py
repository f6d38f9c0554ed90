"""Unsure windows of a route with provisional Results have two: one at once, and exactly one final one.

The whole bridge but its sockets, on a real journal; the tests hold up the cloud's answers and the broker's PUBACKs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from bridge.store.journal import Journal
from bridge.store.kept import Kept
from tests.support.engines import ROWS, HeldEngine, until
from tests.support.lives import SHORT, Life, PatientCloud, World, route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path


def cascade(stream: str, windows: str, **more: Any) -> Any:
    fields = {"policy": "cascade", "below": 0.7, "provisional": True, **more}
    return msgspec.structs.replace(route(stream, windows, model="fast"), **fields)


ROUTES = [
    cascade("rows", "rows"),
    cascade("whole", "whole"),
    cascade("free", "rows", order="free"),
    cascade("brief", "rows", deadline=SHORT, grace=SHORT),
    route("quick", "whole", model="fast"),
]


class Case:
    """Lives of a bridge, each with a cloud."""

    def __init__(self, path: Path) -> None:
        self.world = World(path)
        self.cloud = PatientCloud()

    def live(self, unsure: Iterable[int] = (), *, cloud: bool = True, routes: list[Any] = ROUTES) -> Life:
        self.cloud = PatientCloud()
        self.cloud.in_time = 0.3  # hardly by the deadline, and with the grace most probably
        life = self.world.live(routes=routes, cloud=self.cloud if cloud else None)
        life.fast.unsure.update(unsure)
        return life

    async def say(self, life: Life, *numbers: int) -> None:
        """The cloud answers about these windows, and that is taken in."""
        for number in numbers:
            life.inbox.tell(self.cloud.answer(number))
        await life.turn()

    def journalled(self) -> tuple[list[int], list[tuple[int, int]]]:
        """First rows of the windows without an answer; those with one, and its revision."""
        journal = Journal(self.world.path, pytest.fail)
        saved = journal.load()
        journal.close()
        return sorted(one.seq for one in saved.asked), sorted((one.result.seq, one.result.rev) for one in saved.results)


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[Case]:
    found = Case(tmp_path / "journal.db")
    yield found
    for life in found.world.lives:
        if not life.running.done():
            await life.crash()
        await life.slow.ended()


def said(life: Life) -> list[tuple[int, str, str, bool, int]]:
    """Number, label, tier, provisional and rev of each Result, as they came."""
    return [(one["seq"] // ROWS, one["label"], one["tier"], one["provisional"], one["rev"]) for one in life.results]


def send(life: Life, stream: str, count: int, **more: Any) -> list[int]:
    """So many windows' rows, a message each."""
    return [life.deliver(stream, number * ROWS, **more) for number in range(count)]


def take(life: Life) -> None:
    """The broker acknowledges what it got, once."""
    for message in life.sent:
        if message.done is not None:
            message.done(0)
    life.sent.clear()


def totals(life: Life) -> tuple[object, ...]:
    found = life.pipeline._out.book.totals()
    return tuple(found[name] for name in ("windows", "answered", "provisional", "in_flight", "repeats"))


@pytest.mark.parametrize("stream", ["rows", "whole", "free"])
async def test_an_unsure_window_is_answered_at_once_and_once_more(case: Case, stream: str) -> None:
    life = case.live(unsure={1})
    sent = send(life, stream, 3)
    await until(lambda: sent[1] in life.verdicts and len(life.seqs) == 3)
    assert said(life) == [(0, "yes", "bridge", False, 0), (1, "yes", "bridge", True, 0), (2, "yes", "bridge", False, 0)]
    first = life.results[1]
    take(life)
    await life.turn()
    assert (totals(life), life.pipeline.open) == ((3 + 1, 2 + 1, 1, 1, 0), 1)  # one of each was `turn`'s
    await case.say(life, 1)
    assert said(life) == [(1, "cloud 1", "cloud", False, 1)]
    (final,) = life.results
    assert (first["id"], first["local"]) == (final["id"], None)
    assert final["reason"] == f"{first['reason']}; gpu answered on x"
    take(life)
    await life.turn()
    assert (totals(life)[2:], life.pipeline.open) == ((1, 0, 0), 0)
    assert {name: life.counts[name] for name in ("results_provisional", "results_revised", "results_cloud")} == {
        "results_provisional": 1, "results_revised": 1, "results_cloud": 1,
    }  # fmt: skip
    await life.crash()
    assert case.journalled() == ([], [])


async def test_a_silent_cloud_has_the_bridge_confirm(case: Case) -> None:
    life = case.live(unsure={0})
    send(life, "rows", 1)
    await until(lambda: case.cloud.asked)
    life.inbox.tell(case.cloud.silence(0))
    life.inbox.tell(case.cloud.silence(0))
    await life.turn()
    assert said(life) == [(0, "yes", "bridge", True, 0), (0, "yes", "bridge", False, 1)]
    assert life.results[1]["reason"].endswith("but it was silent")
    assert life.counts["results_revised"] == 0


async def test_the_question_may_take_the_grace_too(case: Case) -> None:
    life = case.live(unsure={0})
    before = time.monotonic()
    send(life, "brief", 1)
    await until(lambda: case.cloud.asked)
    whole = 2 * SHORT  # the grace is as long as the deadline
    margin = 0.1 * whole  # so long before its end the bridge confirms, so that this too is in time
    assert before + whole - margin <= case.cloud.deadlines[0] <= time.monotonic() + whole - margin


async def test_where_the_cloud_is_away_there_is_one_result(case: Case) -> None:
    life = case.live(unsure={0})
    case.cloud.there = False
    send(life, "rows", 1)
    await until(lambda: life.seqs)
    assert said(life) == [(0, "yes", "bridge", False, 0)]


async def test_who_asks_by_infer_gets_one_result(case: Case) -> None:
    life = case.live(unsure={0})
    life.pipeline._intake._admission._infer["fast"] = cascade(
        "_infer", "whole", provisional=False
    )  # as `assembly` has it
    life.deliver("", 0, topic="edge/v1/_infer/fast", reply_to="edge/v1/_reply/me", correlation=b"c")
    await until(lambda: case.cloud.asked)
    await life.turn()
    assert life.sent == []
    await case.say(life, 0)
    assert said(life) == [(0, "cloud 0", "cloud", False, 0)]


async def test_a_coap_sender_that_wants_its_result_gets_the_provisional_one(case: Case) -> None:
    life = case.live(unsure={0})
    number = life.deliver("whole", 0, transient=True, wants_result=True)
    await until(lambda: number in life.verdicts)
    assert [(one.seq, one.provisional) for one in life.verdicts[number].results] == [(0, True)]
    window = life.results[0]["id"]
    take(life)
    assert life.pipeline.works_at(window)
    await case.say(life, 0)
    assert said(life)[0][3:] == (False, 1)
    take(life)
    assert not life.pipeline.works_at(window)


async def test_a_provisional_result_that_the_broker_refused_is_made_good_by_the_final_one(case: Case) -> None:
    life = case.live(unsure={0})
    send(life, "rows", 1)
    await until(lambda: life.sent)
    refused = life.sent.pop()
    assert refused.done is not None
    refused.done(0x87)
    await case.say(life, 0)
    assert said(life) == [(0, "cloud 0", "cloud", False, 1)]
    take(life)
    await life.turn()
    assert (totals(life)[2:], life.counts["answers_refused_by_broker"]) == ((0, 0, 0), 1)


# ---- in order: behind a question whose window has no provisional Result


async def behind_a_question(case: Case) -> Life:
    """The cloud is asked about window 0 by an earlier life that knew no provisional Results, and about 1 by this."""
    plain = [msgspec.structs.replace(one, provisional=False) for one in ROUTES]
    first = case.live(unsure={0}, routes=plain)
    (number,) = send(first, "rows", 1)
    await until(lambda: number in first.verdicts)
    await first.crash()
    life = case.live(unsure={1})
    sent = send(life, "rows", 3)
    await until(lambda: set(sent) <= set(life.verdicts))
    await life.turn()
    assert (life.seqs, list(case.cloud.asked), life.pipeline.open) == ([], [0, 1], 3)
    return life


async def test_a_provisional_result_is_held_behind_earlier_windows(case: Case) -> None:
    life = await behind_a_question(case)
    await case.say(life, 0)
    assert [(one[0], *one[3:]) for one in said(life)] == [(0, False, 0), (1, True, 0), (2, False, 0)]
    assert life.pipeline.open == 1
    await case.say(life, 1)
    assert said(life)[3:] == [(1, "cloud 1", "cloud", False, 1)]


async def test_an_answer_takes_the_place_of_a_provisional_result_that_is_still_held(case: Case) -> None:
    life = await behind_a_question(case)
    await case.say(life, 1)
    assert (life.seqs, life.pipeline._decider.answering.order.held) == ([], 2)
    await case.say(life, 0)
    assert [(one[0], one[1], *one[3:]) for one in said(life)] == [
        (0, "cloud 0", False, 0), (1, "cloud 1", False, 0), (2, "yes", False, 0),
    ]  # fmt: skip
    assert life.pipeline.open == 0
    life.take_all()
    await life.turn()
    await life.crash()
    assert case.journalled() == ([], [])


async def test_both_answers_in_one_turn_give_a_provisional_and_a_final_one(case: Case) -> None:
    life = await behind_a_question(case)
    await case.say(life, 0, 1)
    assert [(one[0], *one[3:]) for one in said(life)] == [
        (0, False, 0), (1, True, 0), (2, False, 0), (1, False, 1),
    ]  # fmt: skip


async def test_a_held_provisional_result_outlives_the_process(case: Case) -> None:
    first = await behind_a_question(case)
    await first.crash()
    second = case.live()
    await second.turn()
    assert (second.seqs, list(case.cloud.asked), second.pipeline.open) == ([], [0, 1], 3)
    await case.say(second, 0)
    await case.say(second, 1)
    assert [(one[0], *one[3:]) for one in said(second)] == [
        (0, False, 0), (1, True, 0), (2, False, 0), (1, False, 1),
    ]  # fmt: skip


# ---- over `kill -9`


@pytest.mark.parametrize("stream", ["rows", "whole"])
@pytest.mark.parametrize("taken", [False, True])
async def test_the_final_one_comes_after_a_crash_too(case: Case, stream: str, *, taken: bool) -> None:
    first = case.live(unsure={1})
    sent = send(first, stream, 3)
    await until(lambda: len(first.seqs) == 3)
    if taken:
        first.take_all()
        await first.turn()
    await first.crash()
    assert case.journalled()[0] == [ROWS]
    second = case.live()
    for number in range(len(sent)):
        second.deliver(stream, number * ROWS)
    await until(lambda: case.cloud.asked)
    await second.turn()
    again = [one for one in second.results if one["seq"] == ROWS]
    assert [(one["provisional"], one["rev"], one["label"]) for one in again] == [(True, 0, "yes")]
    assert again[0]["reason"] == next(one["reason"] for one in first.results if one["seq"] == ROWS)
    await case.say(second, 1)
    second.take_all()
    await second.turn()
    await second.crash()
    assert [one for one in said(second) if one[0] == 1][1:] == [(1, "cloud 1", "cloud", False, 1)]
    assert case.journalled() == ([], [])


async def test_a_final_one_that_the_broker_did_not_take_comes_again_as_it_was(case: Case) -> None:
    first = case.live(unsure={0})
    send(first, "rows", 1)
    await until(lambda: case.cloud.asked)
    take(first)  # the PUBACK of the provisional one strikes nothing
    await case.say(first, 0)
    await first.turn()
    await first.crash()
    assert case.journalled() == ([], [(0, 1)])
    second = case.live()
    await until(lambda: second.seqs)
    assert (said(second), second.results[0]["reason"]) == (said(first), first.results[0]["reason"])
    assert case.cloud.asked == {}


async def test_without_a_cloud_the_next_process_confirms(case: Case) -> None:
    first = case.live(unsure={0})
    send(first, "rows", 1)
    await until(lambda: first.seqs)
    await first.crash()
    second = case.live(cloud=False)
    await until(lambda: len(second.seqs) == 2)
    assert said(second) == [(0, "yes", "bridge", True, 0), (0, "yes", "bridge", False, 1)]


async def test_a_bridge_that_was_away_for_too_long_confirms_at_once(case: Case) -> None:
    first = case.live(unsure={0})
    send(first, "brief", 1)
    await until(lambda: first.seqs)
    await first.crash()
    late = time.time() + 2 * SHORT
    await until(lambda: time.time() > late)
    second = case.live()
    await until(lambda: len(second.seqs) == 2)
    assert (said(second)[1][3:], case.cloud.asked) == ((False, 1), {})
    assert second.results[1]["reason"].endswith("but the bridge was away until it was too late")


async def test_a_window_whose_journal_was_lost_gets_a_final_one_that_says_there_was_another(tmp_path: Path) -> None:
    """The kept Results tell that a provisional one was published; nobody knows the question any more."""
    cloud, kept = PatientCloud(), Kept(tmp_path / "results.db", pytest.fail, age=3_600.0, size=1 << 28)
    cloud.in_time = 0.3
    kept.start()
    first = Life(tmp_path / "first.db", HeldEngine("slow"), ROUTES, kept, cloud)
    first.fast.unsure.update({0, 1})
    send(first, "rows", 2)
    await until(lambda: len(first.seqs) == 2)
    first.take_all()
    first.inbox.tell(cloud.answer(1))
    await until(lambda: len(first.seqs) == 3)
    first.take_all()
    await kept.flush()
    published = await kept.published()
    ids = [one["id"] for one in first.results[:2]]
    assert (list(published.final), published.provisional) == ([ids[1]], {ids[0]})
    await first.crash()
    second = Life(tmp_path / "second.db", HeldEngine("slow"), ROUTES, kept, cloud)
    send(second, "rows", 2)
    await until(lambda: len(second.seqs) == 2)  # a sure answer, and the final one again
    assert sorted((one[0], *one[3:]) for one in said(second)) == [(0, False, 1), (1, False, 1)]
    await second.crash()
    await kept.close()
