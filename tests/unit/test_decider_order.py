"""Windows behind one that the cloud is asked about wait for it, through the whole pipeline and over its end.

The whole bridge but its sockets, on a real journal; the tests hold up the cloud's answers and the broker's PUBACKs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from bridge.pipeline import answering as answering_module
from bridge.store.journal import Journal
from tests.support.engines import ROWS, until
from tests.support.lives import Life, PatientCloud, World, route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path


def cascade(stream: str, windows: str, **more: Any) -> Any:
    return msgspec.structs.replace(route(stream, windows, model="fast"), policy="cascade", below=0.7, **more)


ROUTES = [
    cascade("rows", "rows"),
    cascade("whole", "whole"),
    cascade("free", "rows", order="free"),
    cascade("loose", "whole", order="free"),
    route("quick", "whole", model="fast"),
    route("slow", "whole"),
]


class Case:
    """Lives of a bridge, each with a cloud."""

    def __init__(self, path: Path) -> None:
        self.world = World(path)
        self.cloud = PatientCloud()

    def live(self, unsure: Iterable[int] = (), *, cloud: bool = True) -> Life:
        self.cloud = PatientCloud()
        life = self.world.live(routes=ROUTES, cloud=self.cloud if cloud else None)
        life.fast.unsure.update(unsure)
        return life

    async def say(self, life: Life, *numbers: int) -> None:
        """The cloud answers about these windows, and that is taken in."""
        for number in numbers:
            life.inbox.tell(self.cloud.answer(number))
        await life.turn()

    def journalled(self) -> tuple[list[int], list[int]]:
        """First rows of the windows of the journal without and with an answer."""
        journal = Journal(self.world.path, pytest.fail)
        saved = journal.load()
        journal.close()
        return sorted(one.seq for one in saved.asked), sorted(one.result.seq for one in saved.results)


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[Case]:
    found = Case(tmp_path / "journal.db")
    yield found
    for life in found.world.lives:
        if not life.running.done():
            await life.crash()
        await life.slow.ended()


def numbers(life: Life) -> list[int]:
    return [seq // ROWS for seq in life.seqs]


def send(life: Life, stream: str, count: int, *, begin: int = 0, **more: Any) -> list[int]:
    """So many windows' rows, a message each."""
    return [life.deliver(stream, number * ROWS, **more) for number in range(begin, begin + count)]


@pytest.mark.parametrize("stream", ["rows", "whole"])
async def test_windows_behind_a_question_wait_for_its_answer_and_their_senders_do_not(case: Case, stream: str) -> None:
    life = case.live(unsure={2})
    sent = send(life, stream, 6)
    await until(lambda: set(sent[2:]) <= set(life.verdicts))  # the journal has them
    await life.turn()
    assert (numbers(life), list(case.cloud.asked), life.pipeline.open) == ([0, 1], [2], 4)
    await case.say(life, 2)
    assert (numbers(life), life.pipeline.open) == ([0, 1, 2, 3, 4, 5], 0)
    assert [one["reason"].split(":")[0] for one in life.results] == [*["confident"] * 2, "unsure", *["confident"] * 3]
    assert life.results[3]["latency_ms"] > 0
    life.take_all()
    await life.turn()
    await life.crash()
    assert case.journalled() == ([], [])


async def test_answers_of_the_cloud_are_put_in_order(case: Case) -> None:
    life = case.live(unsure={1, 3, 4})
    send(life, "rows", 6)
    await until(lambda: len(case.cloud.asked) == 3)
    await case.say(life, 4, 3)
    assert (numbers(life), life.pipeline.open) == ([0], 5)
    life.inbox.tell(case.cloud.silence(1))
    await life.turn()
    assert [(one["seq"] // ROWS, one["label"]) for one in life.results] == [
        (0, "yes"), (1, "yes"), (2, "yes"), (3, "cloud 3"), (4, "cloud 4"), (5, "yes"),
    ]  # fmt: skip


async def test_the_line_ends_at_the_next_question(case: Case) -> None:
    life = case.live(unsure={0, 2})
    send(life, "rows", 4)
    await until(lambda: len(case.cloud.asked) == 2)
    await case.say(life, 0)
    assert numbers(life) == [0, 1]
    await case.say(life, 2)
    assert numbers(life) == [0, 1, 2, 3]


async def test_other_devices_streams_lanes_and_askers_do_not_wait(case: Case) -> None:
    life = case.live(unsure={0})
    life.deliver("rows", 0)
    await until(lambda: case.cloud.asked)
    send(life, "whole", 1, begin=1, device="other")
    send(life, "whole", 1, begin=2)
    send(life, "rows", 1, begin=1, lane="backlog")
    life.deliver("slow", 3 * ROWS, topic="edge/v1/_infer/slow", reply_to="edge/v1/_reply/me", correlation=b"c")
    life.slow.let_all_go()
    await until(lambda: len(life.seqs) == 4)
    assert sorted(numbers(life)) == [1, 1, 2, 3]
    assert life.pipeline.open == 1


@pytest.mark.parametrize("stream", ["free", "loose"])
async def test_free_windows_do_not_wait(case: Case, stream: str) -> None:
    life = case.live(unsure={1})
    sent = send(life, stream, 4)
    await until(lambda: sent[1] in life.verdicts and len(life.seqs) == 3)
    assert numbers(life) == [0, 2, 3]
    await case.say(life, 1)
    assert numbers(life) == [0, 2, 3, 1]


async def test_a_coap_sender_that_wants_its_result_waits_for_it(case: Case) -> None:
    life = case.live(unsure={0})
    life.deliver("whole", 0)
    held = life.deliver("whole", ROWS, transient=True, wants_result=True)
    await until(lambda: case.cloud.asked)
    await life.turn()
    assert held not in life.verdicts
    await case.say(life, 0)
    assert [one.seq for one in life.verdicts[held].results] == [ROWS]


async def test_a_copy_of_a_held_window_is_settled_at_once_and_answered_once(case: Case) -> None:
    life = case.live(unsure={0})
    send(life, "whole", 2)
    await until(lambda: case.cloud.asked)
    copy = life.deliver("whole", ROWS)
    await life.turn()
    assert copy in life.verdicts
    await case.say(life, 0)
    assert numbers(life) == [0, 1]


async def test_whole_windows_that_come_again_after_a_restart_are_put_before_later_ones(case: Case) -> None:
    first = case.live(unsure={4})
    sent = send(first, "whole", 4, begin=4)
    await until(lambda: set(sent) <= set(first.verdicts))
    await first.crash()
    second = case.live(unsure={1, 3})
    sent = send(second, "whole", 5)
    await until(lambda: set(sent) <= set(second.verdicts) | {sent[0]})
    assert (numbers(second), sorted(case.cloud.asked)) == ([0], [1, 3, 4])
    await case.say(second, 4)
    await case.say(second, 3)
    assert numbers(second) == [0]
    await case.say(second, 1)
    assert numbers(second) == [0, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("stream", ["rows", "whole"])
async def test_what_is_held_outlives_the_process_as_it_was_decided(case: Case, stream: str) -> None:
    first = case.live(unsure={1, 3})
    sent = send(first, stream, 5)
    await until(lambda: set(sent[1:]) <= set(first.verdicts))
    first.take_all()
    await case.say(first, 3)
    await first.crash()
    assert numbers(first) == [0]
    assert case.journalled() == ([ROWS], [2 * ROWS, 3 * ROWS, 4 * ROWS])
    second = case.live()
    send(second, stream, 6)  # all of it comes again, and one more
    await second.turn()
    assert (list(case.cloud.asked), second.pipeline.open) == ([1], 5)
    assert numbers(second) == ([0] if stream == "whole" else [])  # a whole window that the journal had not is new
    await case.say(second, 1)
    assert numbers(second)[-5:] == [1, 2, 3, 4, 5]
    assert {one["seq"] // ROWS: one["label"] for one in second.results}[3] == "cloud 3"
    second.take_all()
    await second.turn()
    await second.crash()
    assert case.journalled() == ([], [])


async def test_the_order_is_kept_where_the_next_process_has_no_cloud(case: Case) -> None:
    first = case.live(unsure={1, 3})
    sent = send(first, "rows", 5)
    await until(lambda: set(sent) <= set(first.verdicts))
    await first.crash()  # the first Result's PUBACK had not come
    second = case.live(cloud=False)
    await until(lambda: len(second.seqs) == 5)
    assert numbers(second) == [0, 1, 2, 3, 4]
    assert second.results[1]["reason"].endswith("but no cloud is configured any more")


async def test_questions_of_a_free_route_hold_up_nothing_after_a_restart(case: Case) -> None:
    first = case.live(unsure={0})
    send(first, "free", 2)
    await until(lambda: first.seqs)
    await first.crash()
    second = case.live()
    await until(lambda: second.seqs)
    assert (numbers(second), list(case.cloud.asked)) == ([1], [0])


async def test_a_clock_set_back_between_windows_does_not_reverse_them(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = case.live(unsure={0, 1})
    first.deliver("rows", 0)
    await until(lambda: 0 in case.cloud.asked)
    with monkeypatch.context() as patch:
        patch.setattr("bridge.pipeline.pipeline.time.time", lambda: 1_000.0)
        first.deliver("rows", ROWS)
        await until(lambda: 1 in case.cloud.asked)
    await first.crash()
    second = case.live()
    await until(lambda: len(case.cloud.asked) == 2)
    await case.say(second, 1)
    assert numbers(second) == []
    await case.say(second, 0)
    assert numbers(second) == [0, 1]


async def test_where_too_many_wait_the_bridge_answers_what_most_of_them_wait_for(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering_module, "MOST_HELD", 4)
    life = case.live(unsure={0, 10, 12})
    send(life, "whole", 2)
    send(life, "whole", 4, begin=10, device="other")
    await until(lambda: len(case.cloud.asked) == 3)
    await life.turn()
    assert (life.seqs, life.pipeline.open) == ([], 6)  # three of them are held
    send(life, "whole", 2, begin=14, device="other")
    await until(lambda: life.seqs)
    assert numbers(life) == [10, 11]
    assert life.results[0]["reason"].endswith("but too many windows wait for that")
    await case.say(life, 10)  # too late
    await case.say(life, 12)
    assert numbers(life) == [10, 11, 12, 13, 14, 15]


async def test_whole_windows_before_one_that_the_journal_has_are_in_it_too(case: Case) -> None:
    """Else the next process would publish the one, and the broker would send the other again after that."""
    life = case.live(unsure={1, 2})
    case.cloud.there = False
    send(life, "whole", 4)
    send(life, "quick", 1)
    await until(lambda: len(life.seqs) == 5)
    await life.turn()
    await life.crash()
    asked, results = case.journalled()
    assert asked == []
    assert results[:3] == [0, ROWS, 2 * ROWS]
    second = case.live()
    await until(lambda: len(second.seqs) == len(results))
    assert numbers(second) == [seq // ROWS for seq in results]
