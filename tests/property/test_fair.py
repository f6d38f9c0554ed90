"""Whatever comes and goes: nothing lost, nothing twice, bytes accounted, first in first out, nobody starved."""

from __future__ import annotations

from collections import Counter, deque
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bridge.batch import FairQueue
from bridge.batch.fair import QUANTUM, fair_share

OWNERS = st.integers(0, 3)
SIZES = st.one_of(
    st.integers(1, 600), st.integers(1, 3 * QUANTUM), st.sampled_from([QUANTUM - 1, QUANTUM, 20 * QUANTUM])
)


class Item(NamedTuple):
    number: int
    owner: int
    size: int
    may_go: bool


def fair_queue() -> FairQueue[Item]:
    return FairQueue(owner=lambda item: item.owner, size=lambda item: item.size)


class FairMachine(RuleBasedStateMachine):
    """A model beside the queue: what each owner has in it, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = fair_queue()
        self.inside: dict[int, deque[Item]] = {owner: deque() for owner in range(4)}
        self.added = 0

    @property
    def held(self) -> Counter[int]:
        return Counter({owner: sum(item.size for item in items) for owner, items in self.inside.items()})

    @rule(what=st.lists(st.tuples(OWNERS, SIZES, st.booleans()), max_size=6))
    def add(self, what: list[tuple[int, int, bool]]) -> None:
        items = [Item(self.added + i, *one) for i, one in enumerate(what)]
        self.added += len(items)
        for item in items:
            self.inside[item.owner].append(item)
        self.queue.add(items, sum(item.size for item in items))

    @rule(most=st.integers(1, 8), size=st.one_of(st.integers(1, 2_000), st.integers(1, 30 * QUANTUM)))
    def take(self, most: int, size: int) -> None:
        before = len(self.queue)
        taken = self.queue.take(most, size)
        for item in taken:
            assert self.inside[item.owner].popleft() == item
        assert len(taken) <= most
        assert sum(item.size for item in taken[:-1]) < size
        assert len(taken) in {before, most} or sum(item.size for item in taken) >= size

    @rule(most=st.integers(1, 8), handled=st.integers(1, 8))
    def take_and_give_back(self, most: int, handled: int) -> None:
        taken = self.queue.take(most, 1 << 40)
        if taken:
            self.queue.give_back(taken[handled:], taken[:handled][-1])
        for item in taken[:handled]:
            assert self.inside[item.owner].popleft() == item

    @rule(odd=st.integers(0, 2))
    def keep(self, odd: int) -> None:
        self.queue.keep(lambda item: item.number % 3 != odd)
        for owner, items in self.inside.items():
            self.inside[owner] = deque(item for item in items if item.number % 3 != odd)

    @rule(size=st.one_of(st.integers(0, 3_000), st.integers(0, 40 * QUANTUM)))
    def shed(self, size: int) -> None:
        before = self.held
        share = fair_share(before.values(), size)
        gone = self.queue.shed(size, lambda item: item.may_go)
        lost = Counter[int]()
        for item in gone:
            assert item.may_go
            assert next(one for one in self.inside[item.owner] if one.may_go) == item, "the oldest that may go first"
            self.inside[item.owner].remove(item)
            assert before[item.owner] - lost[item.owner] > share, "nobody loses anything at or below its share"
            lost[item.owner] += item.size
        if self.queue.size > size:
            assert not any(item.may_go for o, items in self.inside.items() if self.held[o] > share for item in items)

    @invariant()
    def holds_what_it_should(self) -> None:
        assert len(self.queue) == sum(map(len, self.inside.values()))
        assert self.queue.size == self.held.total()

    def teardown(self) -> None:
        while taken := self.queue.take(3, 1 << 40):
            for item in taken:
                assert self.inside[item.owner].popleft() == item
        assert not any(self.inside.values())


TestFairMachine = FairMachine.TestCase
TestFairMachine.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


@given(
    before=st.lists(st.tuples(OWNERS, SIZES), max_size=30),
    takes=st.integers(0, 5),
    meanwhile=st.lists(st.lists(st.tuples(OWNERS, SIZES), max_size=6), max_size=8),
    size=st.integers(1, QUANTUM),
    most=st.integers(1, 6),
)
def test_a_small_item_waits_for_about_a_quantum_or_one_big_item_of_each_other_owner(
    before: list[tuple[int, int]],
    takes: int,
    meanwhile: list[list[tuple[int, int]]],
    size: int,
    most: int,
) -> None:
    """Shreedhar and Varghese, 1996: in its turn an owner sends less than a quantum and its biggest item."""
    queue = fair_queue()

    def add(what: list[tuple[int, int]]) -> None:
        queue.add([Item(0, *one, may_go=False) for one in what], sum(one[1] for one in what))

    add(before)
    for _ in range(takes):
        queue.take(most, 4 * QUANTUM)
    victim = Item(1, 99, size, may_go=False)
    queue.add([victim], size)
    sent = Counter[int]()
    biggest = Counter[int]()
    for more in meanwhile + [[]] * 200:
        add(more)
        taken = queue.take(most, 4 * QUANTUM)
        if victim in taken and not len(queue):
            return  # all that waited fitted into one take
        for item in taken[: taken.index(victim)] if victim in taken else taken:
            sent[item.owner] += item.size
            biggest[item.owner] = max(biggest[item.owner], item.size)
        if victim in taken:
            break
    else:
        raise AssertionError("it still waits")
    for owner, bytes_sent in sent.items():
        assert bytes_sent < QUANTUM + biggest[owner]


@given(before=st.lists(st.tuples(OWNERS, SIZES), min_size=1, max_size=40), size=st.integers(1, QUANTUM))
def test_where_each_item_is_enough_for_a_turn_owners_take_turns_item_by_item(
    before: list[tuple[int, int]], size: int
) -> None:
    queue = fair_queue()
    queue.add([Item(0, *one, may_go=False) for one in before], sum(one[1] for one in before))
    victim = Item(1, 99, size, may_go=False)
    first, *rest = queue.take(64, 1 << 40)
    queue.give_back(rest, first)
    queue.add([victim], size)
    sent = Counter[int]()
    while (taken := queue.take(64, 1 << 40))[0] != victim:
        queue.give_back(taken[1:], taken[0])
        sent[taken[0].owner] += 1
    assert max(sent.values(), default=0) <= 1


@given(held=st.lists(st.integers(0, 12), max_size=6), room=st.integers(-3, 80))
def test_a_fair_share_is_the_highest_level_that_fits(held: list[int], room: int) -> None:
    levels = [level for level in range(max(held, default=0) + 1) if sum(min(one, level) for one in held) <= room]
    assert fair_share(held, room) == max(levels, default=0)
