"""Lanes: what waits for a slow model runs in threads that the tests hold up and let go."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import numpy as np
import pytest

from bridge.catalog import Catalog
from bridge.errors import ModelError, Refused
from bridge.messages import Answer, SeriesKey, Window
from bridge.pipeline.lanes import MOST, Computed, Lanes
from bridge.pipeline.routes import Route
from bridge.pipeline.turn import Cut
from tests.support.engines import HeldEngine, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

Make: TypeAlias = "Callable[[HeldEngine], Bench]"

ROUTE = Route("fake", Catalog()["activity"], "wrist", "whole")
NOW = 1e9  # beyond the real clock, so that only the tests let time pass


class Bench:
    """Lanes of a held engine, and what they told."""

    def __init__(self, engine: HeldEngine) -> None:
        self.engines = [engine]
        self.told: list[Computed] = []
        self.lanes = Lanes(engine, self.told.append)
        self._each = _bytes_of_one()

    def swap(self, engine: HeldEngine) -> None:
        self.engines.append(engine)
        self.lanes.swap(engine)

    @property
    def waits(self) -> float:
        """How many windows the bytes held are those of; all are equally large."""
        return self.lanes.held / self._each

    @property
    def numbers(self) -> list[list[int]]:
        """Windows told, by what they were told in."""
        return [[cut.window.seq for cut in one.cuts] for one in self.told]

    @property
    def refused(self) -> list[tuple[int, str]]:
        return [
            (one.cuts[0].window.seq, outcome.reason)
            for one in self.told
            for outcome in one.outcomes
            if isinstance(outcome, Refused)
        ]


def cut(number: int, *, device: str = "d", patience: float = math.inf, reply_to: str | None = None) -> Cut:
    """A window whose values say its number; one that may be given up if it has a deadline."""
    key = SeriesKey("s", device, "wrist", "e")
    values = np.full((4, 3), number, np.float32)
    deadline = NOW + (9.0 if patience == math.inf else patience)
    window = Window(f"w{number}", key, number, values, 0.0, "device", NOW, "fake", "live", deadline, reply_to)
    return Cut(window, ROUTE, None, sheddable=patience < math.inf)


def _bytes_of_one() -> int:
    engine = HeldEngine()
    engine.lanes = 0  # nothing runs
    lanes = Lanes(engine, lambda _: None)
    lanes.add([cut(0)], NOW)
    assert lanes.held >= cut(0).window.values.nbytes
    return lanes.held


@pytest.fixture
async def make() -> AsyncIterator[Callable[[HeldEngine], Bench]]:
    """Makes benches; at the end no thread is left waiting."""
    benches: list[Bench] = []

    def made(engine: HeldEngine) -> Bench:
        benches.append(Bench(engine))
        return benches[-1]

    yield made
    for bench in benches:
        bench.lanes.close()
        for engine in bench.engines:
            engine.let_all_go()
            await engine.ended()


async def test_as_many_run_at_once_as_the_engine_has_lanes(make: Make) -> None:
    engine = HeldEngine(lanes=3)
    bench = make(engine)
    bench.lanes.add([cut(n) for n in range(5)], NOW)
    await until(lambda: len(engine.running) == 3)
    assert (sorted(engine.running), bench.told, bench.lanes.idle) == ([0, 1, 2], [], False)
    engine.let_go(1)
    await until(lambda: 3 in engine.running)
    engine.let_all_go()
    await until(lambda: bench.lanes.idle)
    assert engine.most == 3
    assert bench.numbers == [[0], [1], [2], [3], [4]]


async def test_a_lone_window_runs_at_once_and_what_waits_runs_together_up_to_the_learned_size(make: Make) -> None:
    engine = HeldEngine(batch=4)
    bench = make(engine)
    bench.lanes.add([cut(0)], NOW)
    bench.lanes.add([cut(n) for n in range(1, 7)], NOW)
    await until(lambda: engine.running)
    engine.let_all_go()
    await until(lambda: bench.lanes.idle)
    assert engine.began == [[0], [1, 2, 3, 4], [5, 6]]


async def test_a_model_that_gains_nothing_from_batches_gets_none(make: Make) -> None:
    engine = HeldEngine(batch=8)
    engine.cost = 100.0
    bench = make(engine)
    bench.lanes.add([cut(n) for n in range(3)], NOW)
    engine.let_all_go()
    await until(lambda: bench.lanes.idle)
    assert engine.began == [[0], [1], [2]]


async def test_they_are_told_in_the_order_in_which_they_began_whoever_ends_first(make: Make) -> None:
    engine = HeldEngine(lanes=2)
    bench = make(engine)
    bench.lanes.add([cut(n) for n in range(4)], NOW)
    engine.let_go(1)
    await until(lambda: 2 in engine.running)  # the second ended, so that the third began
    assert bench.told == []
    engine.let_go(2)
    await until(lambda: 3 in engine.running)
    assert bench.told == []
    engine.let_go(0)
    await until(lambda: bench.told)
    assert bench.numbers == [[0], [1], [2]]


async def test_owners_take_turns_and_the_earliest_deadline_is_first_within_each(make: Make) -> None:
    engine = HeldEngine()
    bench = make(engine)
    bench.lanes.add([cut(n, device="flood") for n in range(4)], NOW)
    bench.lanes.add([cut(9, device="b", patience=60.0), cut(8, device="b", patience=50.0)], NOW)
    bench.lanes.add([cut(7, reply_to="me")], NOW)
    engine.let_all_go()
    await until(lambda: bench.lanes.idle)
    order = [number for [number] in bench.numbers]
    assert order.index(8) < order.index(2)
    assert order.index(7) < order.index(2)
    assert [n for n in order if n in {8, 9}] == [8, 9]
    assert [n for n in order if n < 7] == [0, 1, 2, 3]


async def test_what_is_stale_is_given_up_and_says_so(make: Make) -> None:
    engine = HeldEngine()
    bench = make(engine)
    bench.lanes.add([cut(0)], NOW)
    bench.lanes.add([cut(1, patience=5.0), cut(2, patience=7.0), cut(3)], NOW)
    await until(lambda: engine.running)
    bench.lanes.add([], NOW + 6.0)
    assert bench.refused == [(1, "stale")]
    assert bench.waits == 3
    [outcome] = bench.told[0].outcomes
    assert isinstance(outcome, Refused)
    assert "6.0 s for fake" in outcome.detail
    bench.lanes.add([cut(4, patience=6.0)], NOW + 6.0)
    assert bench.refused == [(1, "stale"), (4, "stale")]
    assert bench.waits == 3


async def test_a_window_that_nobody_may_give_up_is_computed_however_late(make: Make) -> None:
    engine = HeldEngine()
    bench = make(engine)
    bench.lanes.add([cut(0), cut(1)], NOW)
    bench.lanes.add([], NOW + 1e6)
    engine.let_all_go()
    await until(lambda: bench.lanes.idle)
    assert (bench.numbers, bench.refused) == ([[0], [1]], [])


async def test_a_window_that_cannot_be_answered_in_time_any_more_is_not_begun(make: Make) -> None:
    """Else each window of an overloaded model begins just before its deadline, and ends just after it."""
    engine = HeldEngine(once=1.0)
    bench = make(engine)
    bench.lanes.add([cut(0)], NOW)
    bench.lanes.add([cut(1, patience=9.0)], NOW)
    bench.lanes.add([], NOW + 4.0)
    assert bench.refused == []
    bench.lanes.add([], NOW + 8.5)
    assert bench.refused == [(1, "stale")]


async def test_a_model_slower_than_the_deadline_answers_when_it_is_free(make: Make) -> None:
    engine = HeldEngine(once=100.0)
    bench = make(engine)
    bench.lanes.add([cut(0, patience=9.0)], NOW)
    await until(lambda: engine.running)
    bench.lanes.add([cut(1, patience=9.0)], NOW)
    bench.lanes.add([], NOW + 4.0)
    assert bench.refused == []
    bench.lanes.add([], NOW + 9.0)
    assert bench.refused == [(1, "stale")]


async def test_beyond_the_bound_the_fullest_owner_s_latest_goes_with_overload(make: Make) -> None:
    engine = HeldEngine()
    bench = make(engine)
    bench.lanes.add([cut(-1)], NOW)
    bench.lanes.add([cut(n, device="flood", patience=9.0 + n / MOST) for n in range(MOST)], NOW)
    assert bench.told == []
    bench.lanes.add([cut(MOST, device="flood", patience=9.0), cut(MOST + 1, device="other", patience=9.0)], NOW)
    assert bench.refused == [(MOST, "overload"), (MOST - 1, "overload")]
    assert bench.waits == MOST + 1


async def test_a_backlog_that_must_be_computed_turns_nobody_else_s_window_away(make: Make) -> None:
    bench = make(HeldEngine())
    bench.lanes.add([cut(n, device="flood") for n in range(MOST + 2)], NOW)
    bench.lanes.add([cut(MOST + 2, device="other", patience=9.0)], NOW)
    assert bench.refused == []


async def test_bytes_that_are_held_end_at_nothing(make: Make) -> None:
    engine = HeldEngine(batch=2)
    bench = make(engine)
    bench.lanes.add([cut(n, patience=9.0 if n % 2 else math.inf) for n in range(9)], NOW)
    assert bench.waits == 9
    await until(lambda: engine.running)
    bench.lanes.add([], NOW + 10.0)
    engine.let_all_go()
    await until(lambda: bench.lanes.idle)
    assert bench.lanes.held == 0
    assert sorted(n for numbers in bench.numbers for n in numbers) == list(range(9))


async def test_why_the_engine_failed_is_told_and_the_next_run_goes_on(make: Make) -> None:
    engine = HeldEngine()
    engine.fails[0] = ModelError("device lost")
    bench = make(engine)
    bench.lanes.add([cut(0), cut(1)], NOW)
    engine.let_all_go()
    await until(lambda: bench.lanes.idle)
    assert [one.failure for one in bench.told] == [engine.fails[0], None]
    assert (bench.numbers, bench.lanes.held) == ([[0], [1]], 0)
    assert bench.told[0].outcomes == []


async def test_where_a_question_is_to_be_answered_counts_if_it_is_long(make: Make) -> None:
    bench = make(HeldEngine())
    one = cut(0)
    one.window = msgspec.structs.replace(one.window, reply_to="r" * 60_000, correlation=b"c" * 60_000)
    bench.lanes.add([one, cut(1)], NOW)
    assert bench.lanes.held > 120_000
    bench.engines[0].let_all_go()
    await until(lambda: bench.lanes.idle)
    assert bench.lanes.held == 0


async def test_another_engine_takes_the_next_batch_and_the_old_one_finishes_its_own(make: Make) -> None:
    old, new = HeldEngine(lanes=2), HeldEngine(lanes=2, batch=2, version="1.1.0")
    bench = make(old)
    bench.lanes.add([cut(n) for n in range(6)], NOW)
    await until(lambda: len(old.running) == 2)
    bench.swap(new)
    new.let_all_go()
    assert new.began == []  # both lanes are busy yet
    old.let_go(0)
    await until(lambda: len(bench.told) == 1)
    old.let_go(1)
    await until(lambda: bench.lanes.idle)
    versions = {
        cut.window.seq: outcome.version
        for one in bench.told
        for cut, outcome in zip(one.cuts, one.outcomes, strict=True)
        if isinstance(outcome, Answer)
    }
    assert versions == {0: "1.0.0", 1: "1.0.0", 2: "1.1.0", 3: "1.1.0", 4: "1.1.0", 5: "1.1.0"}
    assert new.began == [[2, 3], [4, 5]]
    assert bench.numbers == [[0], [1], [2, 3], [4, 5]]


async def test_an_engine_with_more_lanes_starts_what_waits_at_once(make: Make) -> None:
    old, new = HeldEngine(), HeldEngine(lanes=3)
    bench = make(old)
    bench.lanes.add([cut(n) for n in range(3)], NOW)
    bench.swap(new)
    await until(lambda: len(old.running) + len(new.running) == 3)
    assert sorted(new.running) == [1, 2]


async def test_lanes_that_never_ran_can_change_their_engine_and_be_closed(make: Make) -> None:
    bench = make(HeldEngine())
    new = HeldEngine()
    bench.swap(new)
    new.let_all_go()
    bench.lanes.add([cut(0)], NOW)
    await until(lambda: bench.lanes.idle)
    assert new.began == [[0]]
    make(HeldEngine()).lanes.close()


async def test_once_closed_nothing_more_is_started_and_nothing_goes_wrong(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    engine = HeldEngine(lanes=2)
    bench = make(engine)
    bench.lanes.add([cut(n) for n in range(5)], NOW)
    await until(lambda: len(engine.running) == 2)
    with caplog.at_level(logging.ERROR):
        bench.lanes.close()
        engine.let_all_go()
        await until(lambda: len(bench.told) == 2)
        await asyncio.sleep(0)
    assert engine.began == [[0], [1]]
    assert not caplog.records, caplog.text


async def test_it_tells_how_long_a_window_that_comes_now_would_wait(make: Make) -> None:
    bench = make(HeldEngine(lanes=2, once=0.5))
    assert bench.lanes.wait(0) == pytest.approx(0.5)
    bench.lanes.add([cut(number) for number in range(4)], NOW)
    await until(lambda: len(bench.engines[0].running) == 2)
    assert [bench.lanes.wait(ahead) for ahead in (0, 1, 2)] == pytest.approx([1.5, 1.5, 2.0])  # two at once
    bench.engines[0].let_all_go()
    await until(lambda: len(bench.told) == 4)
    assert bench.lanes.wait(0) < 0.5  # runs are quicker than the engine says
