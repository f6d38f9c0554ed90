"""Where windows are answered, by what their route declares: value, price, privacy, devices of their own.

The whole bridge but its sockets, on a real journal; the tests say what the cloud promises.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from bridge.pipeline.placing import Curve, placing_of
from bridge.pipeline.routes import Override, RouteTable
from bridge.store.journal import Journal
from tests.support.engines import ROWS, HeldEngine, until
from tests.support.lives import Life, PatientCloud, manifest_of, route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def cascade(stream: str, **more: Any) -> Any:
    return msgspec.structs.replace(route(stream, "rows", model="fast"), **{"policy": "cascade", "below": 0.7, **more})


class Stage:
    """Lives with one cloud."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cloud = PatientCloud()
        self.lives: list[Life] = []

    def live(self, *routes: Any) -> Life:
        life = Life(self.path, HeldEngine("slow"), [*routes, route("quick", "whole", model="fast")], cloud=self.cloud)
        life.fast.unsure.update(range(8))
        self.lives.append(life)
        return life

    async def answered(self, life: Life, stream: str = "rows", count: int = 1) -> list[dict[str, Any]]:
        """Results of so many windows of which the engine is unsure."""
        for number in range(count):
            life.deliver(stream, number * ROWS)
        await until(lambda: len(life.seqs) == count)
        return life.results


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    found = Stage(tmp_path / "journal.db")
    yield found
    for life in found.lives:
        if not life.running.done():
            await life.crash()
        await life.slow.ended()


async def test_the_reason_tells_what_was_weighed(stage: Stage) -> None:
    stage.cloud.expected = 0.084
    life = stage.live(cascade("rows"))
    life.deliver("rows", 0)
    await until(lambda: stage.cloud.asked)
    life.inbox.tell(msgspec.structs.replace(stage.cloud.answer(0), note="asked a second agent"))
    await until(lambda: life.seqs)
    (result,) = life.results
    assert result["reason"] == (
        f"unsure: {result['local']['score']:.3f} < 0.700; cloud 1.00 right, 0.90 in time, expected 0.084 s; "
        "gpu answered on x (asked a second agent)"
    )


async def test_a_cloud_that_would_hardly_answer_in_time_is_passed_over_and_explored(stage: Stage) -> None:
    stage.cloud.in_time = stage.cloud.in_grace = 0.01
    (result, _) = await stage.answered(stage.live(cascade("rows")), count=2)
    assert "0.01 in time" in result["reason"]
    assert (stage.cloud.asked, stage.cloud.explored) == ({}, [0, 1])


async def test_a_price_above_the_gain_keeps_a_window_here(stage: Stage) -> None:
    life = stage.live(cascade("rows", price=0.9))
    (result,) = await stage.answered(life)
    assert "at a price of 0.900" in result["reason"]
    assert (stage.cloud.asked, stage.cloud.explored, stage.cloud.views) == ({}, [], 1)


async def test_waiting_ends_before_the_deadline(stage: Stage) -> None:
    life = stage.live(cascade("rows", deadline=3.0))
    before = time.monotonic()
    life.deliver("rows", 0)
    await until(lambda: stage.cloud.asked)
    assert before + 3.0 - 0.05 <= stage.cloud.deadlines[0] <= time.monotonic() + 3.0 - 0.05


async def test_where_no_time_is_left_the_cloud_is_not_asked(stage: Stage) -> None:
    (result,) = await stage.answered(stage.live(cascade("rows", deadline=1e-4)))
    assert result["reason"].endswith("s are left")
    assert stage.cloud.asked == {}


async def test_what_nobody_waits_for_any_more_is_cancelled(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.pipeline.answering.MOST_HELD", 1)
    life = stage.live(cascade("rows"))
    life.fast.unsure -= {1, 2}
    for number in range(3):
        life.deliver("rows", number * ROWS)
    await until(lambda: len(life.seqs) == 3)
    assert stage.cloud.cancelled == [life.results[0]["id"]]


# ---- what never leaves


async def test_a_window_with_private_channels_never_leaves(stage: Stage) -> None:
    life = stage.live(cascade("rows", private=(0, 2)), cascade("one", private=(1,)))
    (result,) = await stage.answered(life)
    assert result["reason"].endswith(", but private: x, z never leave")
    assert result["tier"] == "bridge"
    stage.cloud.in_time = 0.0
    life.deliver("one", 0)
    await until(lambda: len(life.seqs) == 2)
    assert life.results[1]["reason"].endswith(", but private: y never leaves")
    assert (stage.cloud.asked, stage.cloud.explored) == ({}, [])


async def test_masked_channels_are_named_in_the_question_and_in_a_shadow(stage: Stage) -> None:
    life = stage.live(cascade("rows", private=(0, 2), private_rule="mask"))
    life.deliver("rows", 0)
    await until(lambda: stage.cloud.asked)
    assert stage.cloud.private == {0: (0, 2)}
    stage.cloud.in_time = 0.0
    life.deliver("rows", ROWS)
    await until(lambda: stage.cloud.explored)
    assert set(stage.cloud.explored_private) == {(0, 2)}


@pytest.mark.parametrize(("rule", "asked"), [("refuse", {}), ("mask", {0: (1,)})])
async def test_what_became_private_over_a_restart_does_not_leave_after_it(
    stage: Stage, rule: str, asked: dict[int, tuple[int, ...]]
) -> None:
    first = stage.live(cascade("rows"))
    number = first.deliver("rows", 0)
    await until(lambda: number in first.verdicts)
    await first.crash()
    stage.cloud = PatientCloud()
    second = stage.live(cascade("rows", private=(1,), private_rule=rule))
    await second.turn()
    assert stage.cloud.private == asked
    if not asked:
        assert second.results[0]["reason"].endswith("but private: y never leaves")


@pytest.mark.parametrize(
    ("later", "why"),
    [
        (route("rows", "rows"), "no route goes to fast any more"),
        (cascade("rows", manifest=manifest_of(2 * ROWS)), f"cut before fast took windows of {2 * ROWS} × 3"),
    ],
    ids=["no route", "another shape"],
)
async def test_an_open_question_that_no_route_takes_any_more_is_not_asked_again(
    stage: Stage, later: Any, why: str
) -> None:
    first = stage.live(cascade("rows", private=(1,), private_rule="mask"))
    first.deliver("rows", 0)
    await until(lambda: stage.cloud.asked)
    await first.crash()
    stage.cloud = PatientCloud()
    second = Life(stage.path, HeldEngine("slow"), [later], cloud=stage.cloud)
    stage.lives.append(second)
    await until(lambda: second.results)
    assert second.results[0]["reason"].endswith(f", but {why}")
    assert stage.cloud.asked == {}


async def test_an_open_question_goes_on_by_its_own_route_not_one_of_the_same_stream_name(stage: Stage) -> None:
    hidden = cascade("{1}", filter="acme/+", device="d", private=(0, 2), private_rule="mask")
    first = stage.live(cascade("rows"), hidden)
    first.deliver("rows", 0, topic="acme/rows")
    await until(lambda: stage.cloud.asked)
    assert stage.cloud.private == {0: (0, 2)}
    await first.crash()
    stage.cloud = PatientCloud()
    second = stage.live(cascade("rows"), hidden)
    await until(lambda: stage.cloud.asked)
    assert stage.cloud.private == {0: (0, 2)}
    second.deliver("rows", ROWS, topic="acme/rows")
    await until(lambda: len(stage.cloud.asked) == 2)
    assert stage.cloud.private == {0: (0, 2), 1: (0, 2)}


# ---- devices of their own


def test_the_first_override_that_fits_counts() -> None:
    table = RouteTable(
        [cascade("rows"), cascade("other", filter="acme/+/imu", device="{1}")],
        [
            Override("wrist-1", "*", {"deadline": 0.5}),
            Override("wrist-*", "fa?t", {"policy": "bridge", "price": 0.2}),
            Override("*", "slow", {"deadline": 9.0}),
        ],
    )

    def of(topic: str) -> tuple[float, str, float]:
        found, _ = table.find(topic)
        return found.deadline, found.policy, found.price

    assert of("edge/v1/s/wrist-1/data/rows") == (0.5, "cascade", 0.0)
    assert of("edge/v1/s/wrist-2/data/rows") == (1e6, "bridge", 0.2)
    assert of("edge/v1/s/ankle/data/rows") == (1e6, "cascade", 0.0)
    assert of("acme/wrist-3/imu")[1] == "bridge"
    assert table.find("edge/v1/s/wrist-2/data/rows")[0] is table.find("edge/v1/s/wrist-7/data/rows")[0]


async def test_an_override_holds_over_a_restart(stage: Stage) -> None:
    """Its series is taken up under the route as it is for that device."""
    routes = [cascade("rows")]
    table = RouteTable(routes, [Override("d", "*", {"deadline": 7.0})])
    life = stage.live(*routes)
    number = life.deliver("rows", 0)
    await until(lambda: number in life.verdicts)
    await life.crash()
    journal = Journal(stage.path, pytest.fail)
    saved = journal.load()
    journal.close()
    (series,), (asked,) = saved.series, saved.asked
    for found in (table.of(series.key, "fast", series.via), table.for_window(asked.key, "fast", asked.via)):
        assert found is not None
        assert found.deadline == 7.0


# ---- how likely the cloud is right


def test_the_model_s_curve_counts_with_the_model_s_threshold() -> None:
    curve = Curve(((0.4, 0.5), (0.8, 0.7)), 0.9)
    placing = placing_of(cascade("rows", below=None), 0.6, curve)
    assert placing.terms.below == 0.6
    assert placing.chances.cloud(0.4) == pytest.approx(0.5)
    assert placing_of(cascade("rows", below=None), 0.6, Curve((), 0.9)).chances.cloud(0.4) == 0.9


def test_the_owner_s_own_threshold_says_where_both_are_equally_good() -> None:
    curve = Curve(((0.4, 0.5), (0.8, 0.97)), 0.5)
    placing = placing_of(cascade("rows", below=0.95), 0.6, curve)
    assert placing.terms.below == 0.95
    assert [placing.chances.cloud(sure) for sure in (0.3, 0.4, 0.8)] == pytest.approx([0.95, 0.95, 0.97])
    assert placing_of(cascade("rows", below=0.95), 0.6, Curve((), 0.5)).chances.cloud(0.4) == 0.95


def test_provisional_results_are_for_cascades_alone() -> None:
    both = placing_of(cascade("rows", provisional=True, grace=4.0), None, Curve())
    assert (both.terms.provisional, both.terms.grace) == (True, 4.0)
    for other in (cascade("rows"), cascade("rows", provisional=True, policy="cloud")):
        placing = placing_of(other, None, Curve())
        assert (placing.terms.provisional, placing.terms.grace) == (False, 0.0)


async def test_another_version_of_the_model_brings_its_own_curve_and_threshold(stage: Stage) -> None:
    life = stage.live(cascade("rows", below=None))
    life.fast.below = 0.7
    life.deliver("rows", 0)
    await until(lambda: stage.cloud.asked)
    new = HeldEngine("fast", version="2.0.0", once=0.0)
    new.let_all_go()
    new.unsure, new.below = {1, 2}, 0.7
    life.pipeline.swap(new, Curve((), 0.1))
    life.deliver("rows", ROWS)
    life.deliver("rows", 2 * ROWS)
    life.inbox.tell(stage.cloud.answer(0))
    await until(lambda: len(life.seqs) == 3)
    assert life.results[1]["reason"].endswith("but the cloud is right with 0.100")
