"""Whatever a cloud seems to do: chances are chances, more time never hurts, memory is bounded, nothing sticks."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.place.backlog import REMEMBERED
from bridge.place.chances import Chances
from bridge.place.cost import RemoteCost
from bridge.place.decide import HOPELESS, LATE_WORTH, CloudView, Terms, at_once, decide
from bridge.place.explore import Explore
from bridge.place.samples import KEPT
from tests.support.far_cloud import FarCloud, Weather

steady = settings(deadline=None)  # the machine may be busy

STEPS = st.floats(-0.5, 3.0) | st.sampled_from([0.0, 0.001, 0.05, -3600.0, 86_400.0, math.nan, math.inf, -1e300])
SECONDS = st.floats() | st.floats(0.0, 5.0)
COUNTS = st.integers(-5, 2**70) | st.integers(0, 100)
SIZES = st.integers(0, 2**20)
EVENTS = st.one_of(
    st.tuples(st.just("asked"), COUNTS),
    st.tuples(st.just("answered"), SECONDS, SECONDS, SECONDS, COUNTS, COUNTS, SIZES),
    st.tuples(st.just("silent"), SECONDS, SIZES),
)


def tell(cost: RemoteCost, at: float, event: tuple[object, ...]) -> None:
    match event:
        case ("asked", int(windows)):
            cost.asked(at, windows)
        case ("answered", float(took), float(wait), float(run), int(batch), int(queue), int(size)):
            cost.answered(at, took=took, wait=wait, run=run, batch=batch, queue=queue, size=size)
        case ("silent", float(waited), int(size)):
            cost.silent(at, waited, size=size)


@settings(steady, max_examples=300)
@given(st.lists(st.tuples(STEPS, EVENTS), max_size=80), st.lists(st.floats(0.0, 100.0), min_size=2, max_size=5), SIZES)
def test_any_history_gives_chances_that_grow_with_time(
    happened: list[tuple[float, tuple[object, ...]]], lefts: list[float], size: int
) -> None:
    cost, now = RemoteCost(), 1000.0
    for step, event in happened:
        at = now + step
        now = at if abs(at) < 1e9 else now
        tell(cost, at, event)
    chances = [cost.in_time(now, left, size=size) for left in sorted(lefts)]
    assert all(0.0 <= chance <= 1.0 for chance in chances)
    assert all(after - before >= -1e-9 for before, after in pairwise(chances))
    said = cost.predict(now, size=size)
    assert 0.0 <= said.seconds < math.inf
    assert 0.0 <= said.spread < math.inf
    assert 0 <= said.samples <= KEPT
    assert cost.predict(now, size=2 * size).seconds >= said.seconds
    assert cost.in_time(now, lefts[0], size=2 * size) <= cost.in_time(now, lefts[0], size=size) + 1e-9
    assert len(cost._backlog._times) < 2 * REMEMBERED


@settings(steady, max_examples=20)
@given(st.integers(0, 2), st.sampled_from([1e-4, 1e-2, 1.0]))
def test_memory_is_bounded_however_much_happens(ends: int, gap: float) -> None:
    cost = RemoteCost()
    for each in range(4 * REMEMBERED):
        at = each * gap
        cost.asked(at)
        if ends == 1:
            cost.silent(at, 0.1)
        elif ends == 2:
            cost.answered(at, took=0.1, wait=0.0, run=0.01, batch=1, queue=3, size=each)
    assert len(cost._backlog._times) == len(cost._backlog._waits) == len(cost._backlog._before) < 2 * REMEMBERED
    assert len(cost._samples._kept) <= KEPT


SHARES = st.floats(0.0, 1.0)


@settings(steady, max_examples=500)
@given(
    certainty=SHARES,
    right=SHARES,
    below=st.none() | SHARES,
    price=st.floats(0.0, 0.5),
    provisional=st.booleans(),
    grace=st.floats(0.0, 20.0),
    in_time=SHARES,
    more=SHARES,
    there=st.booleans(),
    left=st.floats(-1.0, 5.0),
)
def test_no_other_place_would_have_been_worth_more(
    certainty: float,
    right: float,
    below: float | None,
    price: float,
    provisional: bool,
    grace: float,
    in_time: float,
    more: float,
    there: bool,
    left: float,
) -> None:
    terms = Terms(below=below, price=price, provisional=provisional, grace=grace)
    q = in_time if left > 0 else 0.0
    later = in_time + more * (1 - in_time)
    choice = decide(
        certainty, Chances(default=right), terms, CloudView(there, "away", "", 0.1, in_time, later), left=left
    )
    values = {"bridge": certainty}
    if below is not None and certainty < below and there:
        if q >= HOPELESS:
            values["cloud"] = q * right + (1 - q) * certainty - price
        if provisional and later >= HOPELESS and left + grace > 0:
            values["both"] = certainty + LATE_WORTH * later * (right - certainty) - price
    assert values[choice.where] >= max(values.values()) - 1e-9
    assert choice.reason
    assert not (choice.explore and (choice.firm or choice.where != "bridge"))
    if choice.firm:
        for cloud in (CloudView(there=False, why="away"), CloudView(there=True, in_time=1.0, in_grace=1.0)):
            assert decide(certainty, Chances(default=right), terms, cloud, left=left) == choice
    assert at_once(certainty, terms) in {None, choice}


WEATHERS = st.builds(
    Weather,
    network=st.sampled_from([0.02, 0.2, 1.0, 3.0]),
    jitter=st.sampled_from([0.001, 0.1]),
    loss=st.sampled_from([0.0, 0.2, 0.9]),
    resent=st.sampled_from([0.3, math.inf]),
    service=st.sampled_from([0.001, 0.01]),
    others=st.sampled_from([0.0, 30.0, 90.0]),
    up=st.booleans(),
)


@settings(steady, max_examples=40)
@given(
    phases=st.lists(WEATHERS, max_size=4),
    rate=st.sampled_from([2.0, 20.0]),
    price=st.sampled_from([0.0, 0.1]),
    jumps=st.lists(st.sampled_from([0.0, -50.0, 3.0, 1e4]), min_size=5, max_size=5),
)
def test_after_any_weather_a_cloud_that_is_well_again_is_asked_again(
    phases: list[Weather], rate: float, price: float, jumps: list[float]
) -> None:
    """Twelve seconds a phase; the agent has then done what others left it."""
    end = 12.0 * len(phases)
    far = FarCloud(lambda now: phases[int(now // 12)] if now < end else Weather())
    far.skew = lambda now: sum(jumps[: int(min(now, end) // 12)])
    explore, terms, now, asked = Explore(), Terms(below=0.7, price=price), 0.0, []
    while now < end + 30:
        now += far.rng.expovariate(rate)
        q, expected = far.look(now, 1.0)
        view = CloudView(there=True, in_time=q, expected=expected)
        choice = decide(0.5, Chances(default=0.7), terms, view, left=1.0)
        clock = now + far.skew(now)
        shadow = choice.explore and explore.due(clock)
        if shadow:
            explore.counted(clock)
        if shadow or choice.where == "cloud":
            far.ask(now, 1.0)
        if now > end + 20:
            asked.append(choice.where == "cloud")
    assert sum(asked) > 0.9 * len(asked)
