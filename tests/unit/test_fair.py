"""The queue that is fair in bytes, case by case."""

from __future__ import annotations

import pytest

from bridge.batch import FairQueue
from bridge.batch.fair import QUANTUM, fair_share

EVERYTHING = 1 << 40


def queue_of(*items: tuple[str, int]) -> FairQueue[tuple[str, int]]:
    """Each item is its owner's letter and a number, and its bytes."""
    queue: FairQueue[tuple[str, int]] = FairQueue(owner=lambda item: item[0][0], size=lambda item: item[1])
    queue.add(list(items), sum(size for _, size in items))
    return queue


def names(items: list[tuple[str, int]]) -> list[str]:
    return [name for name, _ in items]


def test_nothing_waits() -> None:
    queue = queue_of()
    assert (len(queue), queue.size, queue.take(9, EVERYTHING)) == (0, 0, [])
    queue.keep(lambda _: True)
    assert queue.shed(0, lambda _: True) == []


def test_what_fits_into_one_take_comes_as_it_came() -> None:
    queue = queue_of(("a1", 10 * QUANTUM), ("a2", 1), ("b1", 1), ("a3", 1))
    assert names(queue.take(4, 10 * QUANTUM + 3)) == ["a1", "a2", "b1", "a3"]
    assert (len(queue), queue.size) == (0, 0)


def test_owners_take_turns_of_a_quantum() -> None:
    half = QUANTUM // 2
    queue = queue_of(*((f"a{i}", half) for i in range(5)), ("b1", half), ("c1", half))
    assert names(queue.take(6, EVERYTHING)) == ["a0", "a1", "b1", "c1", "a2", "a3"]
    assert names(queue.take(9, EVERYTHING)) == ["a4"]


def test_an_item_bigger_than_a_quantum_is_saved_up_for() -> None:
    queue = queue_of(("a1", 3 * QUANTUM), *((f"b{i}", QUANTUM) for i in range(4)))
    assert names(queue.take(4, EVERYTHING)) == ["b0", "b1", "a1", "b2"]


def test_who_is_alone_waits_for_no_quantum() -> None:
    queue = queue_of(("a1", 50 * QUANTUM), ("a2", 50 * QUANTUM))
    assert names(queue.take(1, EVERYTHING)) == ["a1"]
    assert names(queue.take(1, EVERYTHING)) == ["a2"]


def test_alone_saves_up_nothing_for_later() -> None:
    queue = queue_of(*((f"a{i}", QUANTUM) for i in range(9)))
    queue.take(3, EVERYTHING)
    queue.add([("b1", 1)], 1)
    assert names(queue.take(1, EVERYTHING)) == ["b1"]


def test_a_take_ends_by_number_or_by_bytes_but_takes_one() -> None:
    queue = queue_of(("a1", 9), ("a2", 9), ("a3", 9), ("a4", 9))
    assert names(queue.take(2, EVERYTHING)) == ["a1", "a2"]
    assert names(queue.take(9, 1)) == ["a3"]
    assert (len(queue), queue.size) == (1, 9)


def test_what_is_given_back_is_next_of_its_owners_but_who_had_enough_comes_last() -> None:
    queue = queue_of(("a1", 9), ("a2", 9), ("b1", 9), ("a3", 9), ("c1", 9))
    taken = queue.take(9, EVERYTHING)
    queue.give_back(taken[1:], taken[0])
    assert (len(queue), queue.size) == (4, 36)
    queue.add([("b2", 9), ("d1", 9)], 18)
    assert names(queue.take(3, EVERYTHING)) == ["b1", "b2", "c1"]
    assert names(queue.take(9, EVERYTHING)) == ["d1", "a2", "a3"]
    assert (len(queue), queue.size) == (0, 0)


def test_who_has_enough_with_each_item_takes_turns_with_the_others_item_by_item() -> None:
    queue = queue_of(*((f"{owner}{i}", 9) for owner in "ab" for i in range(3)))
    order = []
    while taken := queue.take(9, EVERYTHING):
        order.append(taken[0])
        queue.give_back(taken[1:], taken[0])
    assert names(order) == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_those_whose_items_were_not_handed_out_keep_their_places() -> None:
    queue = queue_of(("a1", QUANTUM), ("b1", QUANTUM), ("c1", QUANTUM), ("a2", QUANTUM), ("b2", QUANTUM))
    taken = queue.take(2, EVERYTHING)
    assert names(taken) == ["a1", "b1"]
    queue.give_back(taken[1:], taken[0])
    assert names(queue.take(9, EVERYTHING)) == ["b1", "c1", "b2", "a2"]


def test_only_the_wanted_are_kept() -> None:
    queue = queue_of(("a1", 1), ("b1", 2), ("a2", 4), ("c1", 8))
    queue.keep(lambda item: item[0] in {"a2", "c1"})
    assert (len(queue), queue.size) == (2, 12)
    assert names(queue.take(1, EVERYTHING)) == ["a2"]
    assert names(queue.take(1, EVERYTHING)) == ["c1"]


def test_who_holds_most_gives_up_its_oldest() -> None:
    queue = queue_of(("b1", 2), *((f"a{i}", 4) for i in range(5)), ("c1", 4))
    assert names(queue.shed(14, lambda _: True)) == ["a0", "a1", "a2"]  # a's share is 8
    assert (len(queue), queue.size) == (4, 14)
    assert names(queue.take(9, EVERYTHING)) == ["b1", "a3", "a4", "c1"]


def test_what_may_not_go_stays_and_its_younger_goes_instead() -> None:
    queue = queue_of(("a1", 4), ("a2", 4), ("a3", 4), ("b1", 4))
    assert names(queue.shed(8, lambda item: item[0] != "a1")) == ["a2", "a3"]
    assert queue.shed(0, lambda _: False) == []
    assert queue.size == 8


def test_no_more_is_given_up_than_has_to_be_however_many_owners_there_are() -> None:
    queue = queue_of(*((f"{letter}1", 4) for letter in "abcdefgh"))
    assert names(queue.shed(24, lambda _: True)) == ["a1", "b1"]
    assert (len(queue), queue.size) == (6, 24)


def test_owners_that_lost_everything_are_forgotten() -> None:
    queue = queue_of(("a1", 4), ("b1", 4))
    assert names(queue.shed(0, lambda _: True)) == ["a1", "b1"]
    assert (len(queue), queue.size, queue.take(9, EVERYTHING)) == (0, 0, [])
    assert (len(queue._flows), len(queue._ring)) == (0, 0)


@pytest.mark.parametrize(
    ("held", "room", "level"),
    [
        ([], 9, 0),
        ([], -1, 0),
        ([0], -1, 0),
        ([5], 9, 5),
        ([5], 3, 3),
        ([1, 9, 9], 9, 4),
        ([1, 9, 9], 10, 4),
        ([1, 9, 9], 11, 5),
        ([2, 4, 9], 15, 9),
        ([7, 7, 7], 2, 0),
        ([7, 7], -5, 0),
    ],
)
def test_a_fair_share(held: list[int], room: int, level: int) -> None:
    assert fair_share(held, room) == level


def test_blocked_owners_stay_and_lose_nothing() -> None:
    queue = queue_of(("a1", 1), ("b1", 1), ("a2", 1))
    assert names(queue.take(9, EVERYTHING, {"a"}.__contains__)) == ["b1"]
    assert queue.take(9, EVERYTHING, {"a"}.__contains__) == []
    queue.add([("b2", 1)], 1)
    assert (len(queue), queue.size) == (3, 3)
    assert names(queue.take(9, EVERYTHING, {"c"}.__contains__)) == ["a1", "a2", "b2"]
    assert (len(queue), queue.size) == (0, 0)
