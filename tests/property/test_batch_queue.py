"""Whatever comes and goes: nothing lost, nothing twice, the bound held, deadlines in order, nobody starved."""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bridge.batch import Queue, best_size

if TYPE_CHECKING:
    from random import Random


class Item(NamedTuple):
    number: int
    owner: int
    model: str
    deadline: float


class QueueMachine(RuleBasedStateMachine):
    """A model beside the queue: a plain list of what must be in it."""

    @initialize(limit=st.integers(1, 6))
    def start(self, limit: int) -> None:
        self.limit = limit
        self.queue: Queue[Item] = Queue(limit)
        self.inside: dict[int, Item] = {}
        self.now = 0.0
        self.added = 0

    def leave(self, item: Item) -> None:
        assert self.inside.pop(item.number) == item

    @property
    def bounded(self) -> list[Item]:
        """Items with a deadline: those that the limit is for."""
        return [item for item in self.inside.values() if item.deadline < inf]

    @rule(
        what=st.lists(
            st.tuples(st.integers(0, 4), st.sampled_from("xy"), st.sampled_from([0, 1, 2, 5, 9, inf])),
            min_size=1,
            max_size=5,
        )
    )
    def add(self, what: list[tuple[int, str, float]]) -> None:
        for owner, model, patience in what:
            self.add_one(owner, model, patience)

    def add_one(self, owner: int, model: str, patience: float) -> None:
        item = Item(self.added, owner, model, self.now + patience)
        self.added += 1
        held = Counter(one.owner for one in self.bounded)
        full = len(self.bounded) == self.limit and patience < inf
        self.inside[item.number] = item
        for gone, reason in self.queue.add(item, model=model, deadline=item.deadline, owner=owner, now=self.now):
            self.leave(gone)
            assert gone.deadline < inf
            assert (reason == "stale") == (gone.deadline <= self.now)
            assert full or reason == "stale"
            if reason == "overload" and gone is not item:
                assert held[gone.owner] == max(held.values()) > held[owner] + 1

    @rule(limit=st.integers(1, 6))
    def take(self, limit: int) -> None:
        alive = [one for one in self.inside.values() if one.deadline > self.now]
        model = self.queue.turn(self.now)
        batch = self.queue.take(self.now, limit)
        for item in batch:
            self.leave(item)
        same = [one for one in alive if one.model == model]
        assert len(batch) == min(limit, len(same))
        for owner in range(5):
            due = sorted((one.deadline, one.number) for one in same if one.owner == owner)
            got = [(one.deadline, one.number) for one in batch if one.owner == owner]
            assert due[: len(got)] == got
        assert not batch or model == batch[0].model

    @rule(owner=st.integers(0, 4), cancelled=st.sets(st.integers(0, 30)))
    def withdraw(self, owner: int, cancelled: set[int]) -> None:
        wanted = [one for one in self.inside.values() if one.owner == owner and one.number not in cancelled]
        for item in self.queue.withdraw(owner, lambda one: one.number not in cancelled):
            assert (item.owner, item.number in cancelled) == (owner, True)
            self.leave(item)
        left = [one for one in self.inside.values() if one.owner == owner and one.deadline > self.now]
        assert left == [one for one in wanted if one.deadline > self.now]

    @rule(owner=st.integers(0, 5), patience=st.integers(0, 9))
    def foretell(self, owner: int, patience: int) -> None:
        found = self.queue.ahead(owner, self.now + patience)
        held = Counter(one.model for one in self.inside.values())
        assert all(0 < count <= held[model] for model, count in found.items())

    @rule(limit=st.integers(2, 6), after=st.integers(1, 4))
    def take_while_they_join(self, limit: int, after: int) -> None:
        batch = self.queue.take(self.now, limit, joins=lambda taken, _: len(taken) < after)
        for item in batch:
            self.leave(item)
        assert len(batch) <= min(limit, after)
        assert batch or all(one.deadline <= self.now for one in self.inside.values())

    @rule(seconds=st.integers(1, 5))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        stale = self.queue.expired(self.now)
        for item in stale:
            self.leave(item)
            assert item.deadline <= self.now
        assert all(item.deadline > self.now for item in self.inside.values())

    @invariant()
    def holds_what_it_should(self) -> None:
        if hasattr(self, "queue"):
            assert len(self.queue) == len(self.inside)
            assert len(self.bounded) <= self.limit

    def teardown(self) -> None:
        if hasattr(self, "queue"):
            rest = self.queue.expired(self.now)
            while batch := self.queue.take(self.now, 3):
                rest += batch
            assert sorted(item.number for item in rest) == sorted(self.inside)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@given(
    flood=st.lists(st.integers(0, 12), min_size=1, max_size=30),
    neighbours=st.integers(0, 4),
    rank=st.integers(0, 3),
    batch=st.integers(1, 6),
    random=st.randoms(use_true_random=False),
)
def test_a_flood_delays_others_by_a_few_batches(
    flood: list[int], neighbours: int, rank: int, batch: int, random: Random
) -> None:
    """However urgent a flooding owner calls its items, the victim's r-th waits for r + 2 of each other owner's."""
    queue: Queue[str] = Queue(10_000)

    def others(count: int) -> None:
        for owner in range(neighbours + 1):
            for _ in range(count if owner == 0 else min(count, 2)):
                deadline = 1.0 + random.random()
                queue.add(f"other {owner}", model="m", deadline=deadline, owner=owner, now=0.0)

    others(flood[0])
    for i in range(rank + 1):
        queue.add(f"victim {i}", model="m", deadline=1e6 + i, owner="victim", now=0.0)
    bound = ((rank + 2) * (neighbours + 1) + rank) // batch + 1
    for turn in range(bound):
        if f"victim {rank}" in queue.take(0.0, batch):
            return
        others(flood[turn % len(flood)])
    raise AssertionError(f"victim {rank} still waits after {bound} batches")


@given(
    owners=st.lists(st.integers(0, 3), max_size=25),
    taken=st.integers(0, 10),
    owner=st.integers(0, 3),
    random=st.randoms(use_true_random=False),
)
def test_no_more_comes_first_than_was_foretold(owners: list[int], taken: int, owner: int, random: Random) -> None:
    queue: Queue[str] = Queue(100)
    for other in owners:
        queue.add("other", model="m", deadline=1.0 + random.random(), owner=other, now=0.0)
    queue.take(0.0, taken)
    due = 1.0 + random.random()
    foretold = queue.ahead(owner, due).get("m", 0)
    assert foretold <= len(queue)
    queue.add("new", model="m", deadline=due, owner=owner, now=0.0)
    assert queue.take(0.0, 100).index("new") <= foretold


@given(st.floats(1e-6, 1), st.floats(1e-6, 1), st.integers(1, 200), st.floats(0, 1))
def test_a_chosen_size_costs_at_most_a_tenth_of_the_throughput(
    once: float, each: float, most: int, overhead: float
) -> None:
    def seconds(size: int) -> float:
        return once + each * size

    size = best_size(seconds, most, overhead=overhead)
    assert 1 <= size <= most
    assert (seconds(size) + overhead) / size <= 1.1 * (seconds(most) + overhead) / most * (1 + 1e-9)
