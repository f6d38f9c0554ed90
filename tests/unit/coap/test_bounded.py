from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.coap.bounded import Bounded

STEPS = st.lists(st.tuples(st.sampled_from("pgd"), st.integers(0, 9), st.integers(0, 60), st.floats(0, 5)), max_size=80)


def test_least_recently_used_goes_first() -> None:
    box: Bounded[str, int] = Bounded(entries=2)
    box.put("a", 1, 1, 0)
    box.put("b", 2, 1, 1)
    assert box.get("a", 2) == 1
    box.put("c", 3, 1, 3)
    assert box.get("b", 4) is None
    assert list(box) == ["a", "c"]


def test_unused_entries_end() -> None:
    box: Bounded[str, int] = Bounded(entries=9, age=10)
    box.put("a", 1, 1, 0)
    assert box.get("a", 9) == 1
    assert box.get("a", 18.9) == 1
    assert box.get("a", 28.9) is None
    assert (len(box), box.size) == (0, 0)


def test_what_cannot_fit_is_not_kept_and_displaces_nothing() -> None:
    box: Bounded[str, int] = Bounded(entries=9, size=10)
    box.put("a", 1, 10, 0)
    box.put("b", 2, 11, 0)
    assert list(box) == ["a"]


@given(STEPS)
def test_no_sequence_passes_a_bound(steps: list[tuple[str, int, int, float]]) -> None:
    box: Bounded[int, int] = Bounded(entries=4, size=100, age=7)
    model: dict[int, int] = {}
    now = 0.0
    for action, key, size, wait in steps:
        now += wait
        if action == "p":
            box.put(key, size, size, now)
            model[key] = size
        elif action == "g":
            assert box.get(key, now) in (None, model.get(key))
        else:
            box.drop(key)
        assert len(box) <= 4
        assert box.size == sum(model[k] for k in box) <= 100
