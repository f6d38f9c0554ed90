"""The batching queue and the batch size, case by case."""

from __future__ import annotations

from math import inf

import pytest

from bridge.batch import Queue, Shed, best_size

FAR = 1000.0


def fill(queue: Queue[str], *items: str, model: str = "m", deadline: float = FAR) -> None:
    """Each item is its owner's letter and a number."""
    for item in items:
        assert queue.add(item, model=model, deadline=deadline, owner=item[0], now=0.0) == []


def test_nothing_waits() -> None:
    queue: Queue[str] = Queue(4)
    assert (len(queue), queue.turn(0.0), queue.take(0.0, 8), queue.expired(0.0)) == (0, None, [], [])


def test_earliest_deadline_first_within_an_owner() -> None:
    queue: Queue[str] = Queue(4)
    for deadline in (3.0, 1.0, 2.0):
        queue.add(f"a{deadline}", model="m", deadline=deadline, owner="a", now=0.0)
    assert queue.take(0.0, 2) == ["a1.0", "a2.0"]
    assert queue.take(0.0, 2) == ["a3.0"]


def test_a_batch_ends_before_what_does_not_join_and_goes_on_with_it() -> None:
    queue: Queue[str] = Queue(8)
    fill(queue, "a1", "a2", "a3")
    assert queue.take(0.0, 8, joins=lambda taken, item: item != "a3" or len(taken) < 2) == ["a1", "a2"]
    assert queue.take(0.0, 8, joins=lambda *_: False) == ["a3"]


def test_what_comes_first_is_foretold_by_model() -> None:
    queue: Queue[str] = Queue(64)
    assert queue.ahead("a", FAR) == {}
    fill(queue, *(f"a{i}" for i in range(10)), deadline=10.0)
    fill(queue, *(f"b{i}" for i in range(10)), model="n", deadline=20.0)
    assert queue.ahead("a", 5.0) == {"n": 1}, "its owner's turn has come as far as b's"
    assert queue.ahead("a", 10.0) == {"m": 10, "n": 10}
    assert queue.ahead("b", 15.0) == {"m": 1}
    assert queue.ahead("c", FAR) == {"m": 1, "n": 1}
    queue.take(0.0, 4)
    assert queue.ahead("c", FAR) == {"n": 1}, "a has had four turns"


def test_what_is_withdrawn_is_its_owner_s_alone_and_the_rest_keeps_its_order() -> None:
    queue: Queue[str] = Queue(16)
    fill(queue, "a1", "a2", "a3", "b1")
    fill(queue, "a4", model="n")
    assert queue.withdraw("c", lambda _: False) == []
    assert queue.withdraw("a", lambda item: item == "a2") == ["a1", "a3", "a4"]
    assert (len(queue), queue.take(0.0, 8)) == (2, ["a2", "b1"])
    fill(queue, "a1")
    assert queue.withdraw("a", lambda _: False) == ["a1"]
    assert (len(queue), queue.turn(0.0)) == (0, None)


def test_owners_take_turns_and_the_more_urgent_one_starts() -> None:
    queue: Queue[str] = Queue(16)
    fill(queue, "a1", "a2", "a3", "a4")
    fill(queue, "b1", "b2", deadline=FAR - 1)
    assert queue.take(0.0, 3) == ["b1", "a1", "b2"]
    assert queue.take(0.0, 8) == ["a2", "a3", "a4"]


def test_a_debt_is_kept_while_others_wait() -> None:
    queue: Queue[str] = Queue(16)
    fill(queue, "b1", "b2", deadline=20.0)
    for number in range(2):  # a comes one by one, each time more urgent than b
        fill(queue, f"a{number}", deadline=10.0)
        assert queue.take(0.0, 2) == [f"a{number}", f"b{number + 1}"]
    fill(queue, "b3", "b4", deadline=20.0)
    fill(queue, "a3", deadline=10.0)
    assert queue.take(0.0, 1) == ["a3"]
    fill(queue, "a4", deadline=10.0)
    assert queue.take(0.0, 1) == ["b3"]


def test_a_newcomer_does_not_overtake_by_turns_it_did_not_use() -> None:
    queue: Queue[str] = Queue(64)
    fill(queue, *(f"a{i}" for i in range(20)))
    queue.take(0.0, 10)
    fill(queue, *(f"b{i}" for i in range(20)))
    assert sorted(item[0] for item in queue.take(0.0, 10)) == ["a"] * 5 + ["b"] * 5


def test_a_batch_is_of_one_model_and_the_models_alternate() -> None:
    queue: Queue[str] = Queue(16)
    fill(queue, "a1", "a2", "a3", "a4", model="small")
    fill(queue, "b1", "b2", model="big", deadline=FAR + 1)
    assert queue.turn(0.0) == "small"
    assert queue.take(0.0, 2) == ["a1", "a2"]
    assert queue.turn(0.0) == "big"
    assert queue.take(0.0, 1) == ["b1"]
    assert queue.take(0.0, 9) == ["b2"]
    assert queue.take(0.0, 9) == ["a3", "a4"]
    assert queue.turn(0.0) is None


def test_one_owner_s_turns_count_over_all_models() -> None:
    queue: Queue[str] = Queue(16)
    fill(queue, "a1", "a2", model="small")
    fill(queue, "a3", "b1", model="big", deadline=FAR + 1)
    assert queue.take(0.0, 2) == ["a1", "a2"]
    assert queue.take(0.0, 2) == ["b1", "a3"]


def test_what_is_stale_is_never_handed_out() -> None:
    queue: Queue[str] = Queue(8)
    fill(queue, "a1", deadline=1.0)
    fill(queue, "a2", "b1", deadline=2.0)
    assert queue.take(1.0, 1) == ["a2"]
    assert len(queue) == 2
    assert queue.expired(1.0) == ["a1"]
    assert queue.expired(2.0) == ["b1"]
    assert queue.add("c1", model="m", deadline=2.0, owner="c", now=2.0) == [Shed("c1", "stale")]
    assert len(queue) == 0


def test_when_full_the_stale_go_first() -> None:
    queue: Queue[str] = Queue(2)
    fill(queue, "a1", deadline=1.0)
    fill(queue, "a2")
    assert queue.add("a3", model="m", deadline=FAR, owner="a", now=1.0) == [Shed("a1", "stale")]
    assert queue.take(1.0, 9) == ["a2", "a3"]


def test_when_full_who_holds_its_share_is_turned_away() -> None:
    queue: Queue[str] = Queue(4)
    fill(queue, "a1", "a2", "b1", "b2")
    assert queue.add("a3", model="m", deadline=1.0, owner="a", now=0.0) == [Shed("a3", "overload")]


def test_when_full_who_holds_most_gives_up_its_latest() -> None:
    queue: Queue[str] = Queue(4)
    fill(queue, "a1", "a3", deadline=9.0)
    fill(queue, "a2", deadline=10.0, model="other")
    fill(queue, "b1")
    assert queue.add("c1", model="m", deadline=FAR, owner="c", now=0.0) == [Shed("a2", "overload")]
    assert queue.turn(0.0) == "m"
    assert queue.take(0.0, 9) == ["a1", "b1", "c1", "a3"]
    assert len(queue) == 0


def test_without_a_deadline_an_item_is_never_stale_nor_turned_away_and_comes_after_those_with_one() -> None:
    queue: Queue[str] = Queue(2)
    fill(queue, "a1", "a2", "a3", deadline=inf)
    fill(queue, "a4", deadline=9.0)
    assert queue.expired(1e12) == ["a4"]
    fill(queue, "a5", deadline=9.0)
    assert queue.take(0.0, 9) == ["a5", "a1", "a2", "a3"]


def test_items_without_a_deadline_leave_those_with_one_their_room() -> None:
    queue: Queue[str] = Queue(2)
    fill(queue, "a1", "a2", "a3", deadline=inf)
    fill(queue, "b1", "c1")
    assert queue.add("b2", model="m", deadline=FAR, owner="b", now=0.0) == [Shed("b2", "overload")]
    assert queue.take(0.0, 3) == ["b1", "c1", "a1"]


def test_when_full_who_holds_most_of_those_with_a_deadline_gives_one_up() -> None:
    queue: Queue[str] = Queue(4)
    fill(queue, *(f"a{i}" for i in range(9)), deadline=inf)
    fill(queue, "a9", "b1", "b2", "b3")
    assert queue.add("c1", model="m", deadline=FAR, owner="c", now=0.0) == [Shed("b3", "overload")]
    fill(queue, "d1", deadline=inf)
    assert len(queue) == 14


def test_only_who_has_items_with_a_deadline_has_a_share() -> None:
    queue: Queue[str] = Queue(4)
    fill(queue, "a1", "d1", deadline=inf)
    fill(queue, "b1", "c1", "c2", "c3")
    assert queue.add("b2", model="m", deadline=FAR, owner="b", now=0.0) == [Shed("c3", "overload")]


def test_what_is_stale_takes_room_until_it_is_told() -> None:
    queue: Queue[str] = Queue(1)
    fill(queue, "a1", deadline=1.0)
    assert queue.take(2.0, 1) == []
    assert queue.add("a2", model="m", deadline=FAR, owner="a", now=2.0) == [Shed("a1", "stale")]
    assert len(queue) == 1


@pytest.mark.parametrize("taken", [True, False])
def test_what_it_remembers_is_bounded(taken: bool) -> None:
    queue: Queue[int] = Queue(4)
    queue.add(-1, model="m", deadline=FAR, owner="stays", now=0.0)
    for i in range(100):  # each owner comes once; none is served, or each
        queue.add(i, model="m", deadline=i + 1.5, owner=i, now=float(i))
        queue.add(i, model="m", deadline=i + 1.2, owner=i, now=float(i))
        if taken:
            assert queue.take(float(i), 1) == [i]
        assert queue.expired(i + 2.0) == ([i] if taken else [i, i])
        assert max(map(len, (queue._owners, queue._deadlines, queue._agenda["m"]))) <= 9
    assert queue.take(200.0, 9) == [-1]


def test_what_it_remembers_is_bounded_while_the_most_urgent_item_pays_a_debt() -> None:
    queue: Queue[str] = Queue(5)
    fill(queue, "b1", model="other", deadline=FAR + 9)
    fill(queue, "a1", "a2", "a3", "a4")
    queue.take(0.0, 4)
    fill(queue, "a5", deadline=5.0)
    for i in range(100):
        queue.add(f"c{i}", model="m", deadline=FAR, owner=f"c{i}", now=0.0)
        assert queue.take(0.0, 1) == [f"c{i}"]
        assert max(map(len, (queue._owners, queue._deadlines, queue._agenda["m"]))) <= 11
    assert queue.take(0.0, 1) == ["b1"]
    assert queue.take(0.0, 1) == ["a5"]


def test_a_batch_stops_growing_where_throughput_does() -> None:
    assert best_size(lambda n: 0.001 * n, 64) == 1  # a CNN on a CPU
    assert best_size(lambda n: 0.001 * n, 64, overhead=0.001) == 16
    assert best_size(lambda n: 0.001 + 0.000_001 * n, 48) == 48  # a GPU
    assert best_size(lambda _: 1.0, 1) == 1


def test_an_owner_s_items_come_as_they_are_due_and_go_by_their_deadlines() -> None:
    queue: Queue[str] = Queue(4)
    for item, due, deadline in (("a1", 1.0, FAR), ("a2", 2.0, 5.0), ("a3", 3.0, 4.0), ("a4", 4.0, FAR)):
        assert queue.add(item, model="m", deadline=deadline, owner="a", now=0.0, due=due) == []
    assert queue.expired(4.5) == ["a3"]
    assert queue.add("b1", model="m", deadline=FAR, owner="b", now=5.0) == []
    assert queue.expired(5.0) == ["a2"]
    assert queue.take(5.0, 4) == ["a1", "b1", "a4"]


def test_what_is_due_last_is_given_up_first() -> None:
    queue: Queue[str] = Queue(3)
    for item, due in (("a1", 3.0), ("a2", 1.0), ("a3", 2.0)):
        assert queue.add(item, model="m", deadline=FAR, owner="a", now=0.0, due=due) == []
    assert queue.add("b1", model="m", deadline=FAR, owner="b", now=0.0) == [Shed("a1", "overload")]
