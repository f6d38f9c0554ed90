"""A bridge that would answer too late asks the cloud at once, without an answer of its own, and keeps the order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from bridge.errors import Refused
from tests.support.engines import ROWS, HeldEngine, until
from tests.support.lives import Life, PatientCloud, World, route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

RUN, DEADLINE = 10.0, 15.0  # seconds: what the engine says of one run; one window is in time, a second behind it is not


def busy(stream: str, **more: Any) -> Any:
    fields = {"policy": "cascade", "below": 0.7, "deadline": DEADLINE, **more}
    return msgspec.structs.replace(route(stream, "rows"), **fields)


ROUTES = [
    busy("rows"),
    busy("whole", windows="whole"),
    busy("here", policy="bridge", windows="whole"),
    busy("never", below=None),
    busy("private", private=(1,)),
    busy("dear", price=0.95),
    route("quick", "whole", model="fast"),
]


class Case:
    """Lives with one cloud, in which a window of another device keeps the only lane busy."""

    def __init__(self, path: Path) -> None:
        self.world = World(path)
        self.cloud = PatientCloud()

    async def live(self) -> Life:
        self.cloud = PatientCloud()
        life = self.world.live(HeldEngine("slow", once=RUN), ROUTES, self.cloud)
        life.deliver("here", 99 * ROWS, device="other")
        await until(lambda: life.slow.running)
        return life

    async def ask(self, life: Life, *numbers: int, stream: str = "rows") -> None:
        for number in numbers:
            life.deliver(stream, number * ROWS)
        await until(lambda: set(numbers) <= set(self.cloud.asked))


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[Case]:
    found = Case(tmp_path / "journal.db")
    yield found
    for life in found.world.lives:
        if not life.running.done():
            await life.crash()
        await life.slow.ended()


def said(life: Life) -> list[tuple[int, str, str]]:
    return [(one["seq"] // ROWS, one["label"], one["tier"]) for one in life.results if one["device"] == "d"]


async def test_a_window_that_the_bridge_would_answer_too_late_goes_to_the_cloud(case: Case) -> None:
    life = await case.live()
    number = life.deliver("rows", 0)
    await until(lambda: case.cloud.asked)
    await until(lambda: number in life.verdicts)  # the journal has it
    life.inbox.tell(case.cloud.answer(0))
    await until(lambda: life.seqs)
    assert said(life) == [(0, "cloud 0", "cloud")]
    assert life.results[0]["reason"].startswith("busy: the bridge would take 20.000 s of 1")
    assert (life.results[0]["local"], life.slow.began) == (None, [[99]])


async def test_who_asks_by_infer_gets_the_cloud_s_answer(case: Case) -> None:
    life = await case.live()
    life.pipeline._intake._admission._infer["slow"] = busy("_infer", windows="whole")  # as if configured
    life.deliver("", 0, topic="edge/v1/_infer/slow", reply_to="edge/v1/_reply/me", correlation=b"c")
    await until(lambda: case.cloud.asked)
    life.inbox.tell(case.cloud.answer(0))
    await until(lambda: life.sent)
    assert [(one["label"], one["tier"]) for one in life.results] == [("cloud 0", "cloud")]


@pytest.mark.parametrize("stream", ["here", "never", "private", "dear", "whole"])
async def test_where_the_cloud_is_not_wished_for_the_bridge_is_late(case: Case, stream: str) -> None:
    life = await case.live()
    life.deliver(stream, 0)
    await life.turn()
    assert case.cloud.asked == {}


@pytest.mark.parametrize("fields", [{"there": False}, {"in_time": 0.4}])
async def test_a_cloud_that_would_hardly_be_in_time_is_not_asked(case: Case, fields: dict[str, Any]) -> None:
    life = await case.live()
    for name, value in fields.items():
        setattr(case.cloud, name, value)
    life.deliver("rows", 0)
    await life.turn()
    assert case.cloud.asked == {}


async def test_windows_of_its_stream_that_wait_for_a_lane_are_not_overtaken(case: Case) -> None:
    life = await case.live()
    case.cloud.there = False
    life.deliver("rows", 0)
    await life.turn()
    case.cloud.there = True
    life.deliver("rows", ROWS)
    await life.turn()
    assert case.cloud.asked == {}
    life.slow.let_all_go()
    await until(lambda: len(life.seqs) == 3)
    assert [one[0] for one in said(life)] == [0, 1]


async def test_answers_of_the_cloud_are_put_in_order(case: Case) -> None:
    life = await case.live()
    await case.ask(life, 0, 1)
    life.inbox.tell(case.cloud.answer(1))
    await life.turn()
    assert said(life) == []
    life.inbox.tell(case.cloud.answer(0))
    await life.turn()
    assert said(life) == [(0, "cloud 0", "cloud"), (1, "cloud 1", "cloud")]


async def test_a_silent_cloud_has_the_bridge_compute_after_all_and_in_order(case: Case) -> None:
    life = await case.live()
    await case.ask(life, 0, 1)
    life.inbox.tell(case.cloud.silence(0))
    life.inbox.tell(case.cloud.answer(1))
    await life.turn()
    assert (said(life), life.pipeline.open) == ([], 2)
    life.slow.let_all_go()
    await until(lambda: len(said(life)) == 2)
    assert said(life) == [(0, "yes", "bridge"), (1, "cloud 1", "cloud")]
    assert list(case.cloud.asked) == [0, 1], "nobody is asked twice"
    life.take_all()
    await life.turn()
    assert life.pipeline.open == 0


async def test_a_window_that_nobody_can_answer_holds_up_no_later_one(case: Case) -> None:
    life = await case.live()
    await case.ask(life, 0, 1)
    life.inbox.tell(case.cloud.answer(1))
    life.inbox.tell(case.cloud.silence(0))
    await life.turn()
    no = Refused("not_finite", "its values overflow")
    life.slow.answers = lambda windows: [no for _ in windows]  # type: ignore[method-assign] # from the next run on
    life.slow.let_all_go()
    await until(lambda: said(life))
    assert (said(life), life.errors) == ([(1, "cloud 1", "cloud")], [("not_finite", 0)])
    assert life.pipeline._decider.answering.order.lines == {}


async def test_a_window_that_its_own_turn_refuses_is_refused_in_the_ledger_and_not_under_way(case: Case) -> None:
    life = await case.live()
    no = Refused("not_finite", "its values overflow")
    life.fast.answers = lambda windows: [no for _ in windows]  # type: ignore[method-assign]
    before = life.pipeline._out.book.totals()["in_flight"]
    life.deliver("quick", 0)
    await until(lambda: life.errors)
    totals = life.pipeline._out.book.totals()
    assert (totals["refused"], totals["in_flight"]) == ({"not_finite": 1}, before)


async def test_a_window_that_is_with_the_cloud_outlives_the_process(case: Case) -> None:
    first = await case.live()
    await case.ask(first, 0, 1)
    first.inbox.tell(case.cloud.answer(1))
    await first.turn()
    await first.crash()
    assert case.world.pending() == [(0, False)]
    second = case.world.live(HeldEngine("slow", once=RUN), ROUTES, case.cloud)
    second.slow.let_all_go()
    await until(lambda: len(said(second)) == 2)
    assert said(second) == [(0, "yes", "bridge"), (1, "cloud 1", "cloud")]
    second.take_all()
    await second.turn()
    await second.crash()
    assert case.world.pending() == []
