"""Watermarks of what nobody heard, by topic."""

from __future__ import annotations

from collections import Counter

import pytest

from bridge.pipeline import unheard as module
from bridge.pipeline.unheard import Mark, Unheard


@pytest.fixture
def unheard() -> Unheard:
    return Unheard(Counter())


def test_a_mark_is_the_first_unheard(unheard: Unheard) -> None:
    for n in (5, 7, 3, 4):
        unheard.note("a", b"%d" % n, n)
    assert unheard.marks == {"a": Mark(3, b"3")}
    assert unheard.low == 3
    assert [unheard.covers("a", n) for n in (2, 3, 9)] == [False, True, True]
    assert not unheard.covers("b", 9)


def test_who_is_heard_again_is_found_once_from_the_mark_on(unheard: Unheard) -> None:
    unheard.note("a", b"", 3)
    assert unheard.heard("a")
    assert not unheard.heard("a")
    unheard.note("a", b"", 9)
    assert unheard.heard("a")
    assert unheard.take_found() == {"a": 3}
    assert unheard.take_found() == {}


def test_low_stays_until_all_were_heard_and_published_again(unheard: Unheard) -> None:
    unheard.note("a", b"", 3)
    unheard.note("b", b"", 4)
    unheard.heard("a")
    unheard.settle()
    assert unheard.low == 3
    unheard.heard("b")
    unheard.settle()
    assert unheard.low == 3
    unheard.take_found()
    unheard.settle()
    assert unheard.low is None


def test_topics_are_tried_in_turn(unheard: Unheard) -> None:
    for topic in "abc":
        unheard.note(topic, b"", 1)
    assert [topic for _ in range(4) for topic, _ in unheard.probes(1)] == ["a", "b", "c", "a"]
    assert [topic for topic, _ in unheard.probes()] == ["b", "c", "a"]


def test_topics_are_bounded_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    counts: Counter[str] = Counter()
    unheard = Unheard(counts)
    for topic in "abc":
        unheard.note(topic, b"", 5)
    unheard.note("a", b"", 1)
    assert (list(unheard.marks), unheard.marks["a"].n) == (["a", "b"], 1)
    assert counts == {"results_unheard_unmarked": 1}
