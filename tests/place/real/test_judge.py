"""The judge sees what is wrong: fed with windows that are missing, late, contradicted, or held by an open breaker."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bridge.offload import desk
from bridge.offload.agents import Agents
from tests.place.real.judge import (
    LEFT_ALONE,
    SILENT,
    Heard,
    Life,
    Sent,
    answers,
    first_in_time,
    open_spans,
    provisional,
    waited,
    waits,
)

DEADLINE, GRACE, AGAIN = 1.0, 3.0, 0.5
LATELY = "unsure: 0.500 < 0.950, but the cloud did not answer lately"
WITHIN = "unsure: 0.500 < 0.950, but the cloud did not answer within 1.0 s"


def sent(name: str, at: float = 0.0) -> Sent:
    return Sent(name, "d0", at, "walk", 0.9)


def heard(name: str, at: float, **more: Any) -> Heard:
    usual = Heard(at, name, "d0", "walk", 0.9, "bridge", provisional=False, rev=0, latency_ms=1.0, reason="confident")
    return msgspec.structs.replace(usual, **more)


def test_windows_answered_once_and_in_time_are_all_right() -> None:
    found = answers([sent("a"), sent("b")], [heard("b", 0.5), heard("a", 1.0)], deadline=DEADLINE)
    assert (found.answered, found.in_time, found.worst) == (100.0, 100.0, 1.0)
    assert (found.missing, found.contradicted, found.strange, found.late) == ([], [], [], [])


def test_a_missing_window_is_neither_answered_nor_in_time() -> None:
    found = answers([sent("a"), sent("b")], [heard("a", 0.5)], deadline=DEADLINE)
    assert (found.missing, found.answered, found.in_time) == (["b"], 50.0, 50.0)


def test_a_provisional_result_answers_nothing() -> None:
    found = answers([sent("a")], [heard("a", 0.5, provisional=True)], deadline=DEADLINE)
    assert (found.missing, found.answered) == (["a"], 0.0)


@pytest.mark.parametrize("late", [{"at": 1.001}, {"at": 0.5, "latency_ms": 1_001.0}])
def test_a_late_answer_is_late_by_either_clock(late: dict[str, float]) -> None:
    found = answers([sent("a")], [heard("a", **late)], deadline=DEADLINE)
    assert (found.late, found.in_time, found.answered) == (["a"], 0.0, 100.0)


@pytest.mark.parametrize("other", [{"label": "run"}, {"score": 0.8}, {"tier": "cloud"}, {"rev": 1}])
def test_two_different_finals_contradict(other: dict[str, Any]) -> None:
    said = [heard("a", 0.5), heard("a", 0.6, **other)]
    assert answers([sent("a")], said, deadline=DEADLINE).contradicted == ["a"]
    assert answers([sent("a")], said, deadline=DEADLINE).answered == 0.0


def test_a_repeat_is_no_contradiction() -> None:
    found = answers([sent("a")], [heard("a", 0.5), heard("a", 9.0, latency_ms=9_000.0)], deadline=DEADLINE)
    assert (found.answered, found.in_time) == (100.0, 100.0)


def test_the_bridge_has_to_say_what_its_engine_says_and_the_cloud_has_not() -> None:
    wrong = answers([sent("a")], [heard("a", 0.5, label="run")], deadline=DEADLINE)
    assert wrong.contradicted == ["a"]
    right = answers([sent("a")], [heard("a", 0.5, label="run", tier="cloud")], deadline=DEADLINE)
    assert (right.contradicted, right.cloud) == ([], 1)


def test_a_result_for_no_window_is_counted() -> None:
    found = answers([sent("a"), sent("b")], [heard(name, 0.5) for name in "abc"], deadline=DEADLINE)
    assert (found.strange, found.answered) == (["c"], 50.0)


def test_nothing_sent_is_no_success() -> None:
    assert answers([], [], deadline=DEADLINE).answered == 0.0


# ---- the breaker


def test_the_words_looked_for_are_those_of_the_bridge() -> None:
    agents = Agents()
    agents.told("gpu-1", {"online": True, "models": {"activity": "1"}})
    assert LEFT_ALONE.search(agents.why_not("activity"))
    assert SILENT.search(desk._silence(1.0))


def proof(name: str, at: float) -> Heard:
    """A Result that came at once, of a window sent 0.05 s earlier, and says that the cloud is left alone."""
    return heard(name, at + 0.05, reason=LATELY)


def test_an_open_breaker_is_seen_between_two_results_that_tell_of_it() -> None:
    windows = [sent("a", 1.0), sent("b", 3.0), sent("c", 5.0)]
    said = [proof("a", 1.0), proof("b", 3.0), proof("c", 5.0)]
    assert open_spans(windows, said) == [(1.05, 5.0)]
    assert open_spans(windows, said[:1]) == []
    assert waited(windows, said, deadline=DEADLINE) == []


def test_an_answer_of_the_cloud_closes_it() -> None:
    windows = [sent("a", 1.0), sent("b", 2.0), sent("c", 2.5), sent("d", 3.0), sent("e", 4.0)]
    said = [proof("a", 1.0), proof("b", 2.0), heard("c", 2.6, tier="cloud"), proof("d", 3.0), proof("e", 4.0)]
    assert open_spans(windows, said) == [(1.05, 2.0), (3.05, 4.0)]


def test_several_silences_in_between_mean_that_it_was_closed_and_one_may_be_a_probe() -> None:
    windows = [sent("a", 1.0), sent("b", 2.0), sent("c", 2.1), sent("d", 5.0)]
    said = [proof("a", 1.0), heard("b", 3.0, reason=WITHIN), heard("c", 3.1, reason=WITHIN), proof("d", 5.0)]
    assert open_spans(windows, said) == []
    assert open_spans(windows, said[:2] + said[3:]) == [(1.05, 5.0)]


def test_a_result_that_did_not_come_at_once_proves_nothing() -> None:
    windows = [sent("a", 1.0), sent("b", 2.0), sent("c", 5.0)]
    said = [heard("a", 1.9, reason=LATELY), proof("b", 2.0), proof("c", 5.0)]
    assert open_spans(windows, said) == [(2.05, 5.0)]


@pytest.mark.parametrize(
    ("begin", "end", "reason"),
    [
        (0.7, 1.6, WITHIN),  # asked before it opened, and left to wait
        (2.0, 3.0, WITHIN),  # a probe
        (2.1, 2.9, "confident"),  # behind one
        (2.1, 2.9, LATELY),
    ],
)
def test_whoever_is_under_way_while_it_is_open_waits_for_it(begin: float, end: float, reason: str) -> None:
    windows = [sent("a", 1.0), sent("c", begin), sent("b", 5.0)]
    said = [proof("a", 1.0), heard("c", end, reason=reason), proof("b", 5.0)]
    assert waited(windows, said, deadline=DEADLINE) == ["c"]
    assert waits(windows, said)["c"] == pytest.approx(end - max(1.05, begin))


def test_waiting_before_it_opened_is_no_waiting_for_it() -> None:
    windows = [sent("a", 1.0), sent("c", 0.2), sent("b", 5.0)]
    said = [proof("a", 1.0), heard("c", 1.2, reason=WITHIN), proof("b", 5.0)]
    assert waited(windows, said, deadline=DEADLINE) == []


# ---- provisional Results


def first(name: str, at: float) -> Heard:
    return heard(name, at, provisional=True)


def final(name: str, at: float, **more: Any) -> Heard:
    return heard(name, at, rev=1, **more)


def lives(*ready: float) -> list[Life]:
    return [Life(moment - 0.3, moment) for moment in ready]


def judged(said: list[Heard], *ready: float) -> Any:
    return provisional([sent("a"), sent("b")], said, deadline=DEADLINE, grace=GRACE, lives=lives(*ready), again=AGAIN)


def test_one_final_each() -> None:
    found = judged([first("a", 0.5), heard("b", 0.5), final("a", 3.9, label="run", tier="cloud")])
    assert (found.count, found.share, found.worst) == (1, 100.0, 3.9)


def test_none_provisional_is_no_success() -> None:
    assert judged([heard("a", 0.5), heard("b", 0.5)]).share == 0.0


def test_a_provisional_without_a_final() -> None:
    found = judged([first("a", 0.5), first("b", 0.5), final("b", 1.0)])
    assert (found.without, found.share) == (["a"], 50.0)


@pytest.mark.parametrize("other", [{"label": "run"}, {"tier": "cloud"}, {"rev": 0}])
def test_two_different_finals(other: dict[str, Any]) -> None:
    again = msgspec.structs.replace(final("a", 2.0), **other)
    assert judged([first("a", 0.5), final("a", 1.0), again]).several == ["a"]
    assert judged([first("a", 0.5), final("a", 1.0), again]).share == 0.0


def test_a_final_with_another_revision() -> None:
    assert judged([first("a", 0.5), heard("a", 1.0)]).several == ["a"]


def test_repeats_say_the_same() -> None:
    assert judged([first("a", 0.5), first("a", 0.6), final("a", 1.0), final("a", 7.0)]).share == 100.0


def test_a_late_final_unless_the_bridge_was_killed_meanwhile() -> None:
    said = [first("a", 0.5), final("a", 4.1)]
    assert judged(said).late == ["a"]
    assert judged(said, 3.5).late == ["a"]
    assert judged(said, 0.1, 3.7).late == []
    assert judged(said, 4.3).late == [], "it may be heard before the bridge says that it is ready"
    assert judged(said, 4.5).late == ["a"], "a restart after it excuses nothing"


def test_a_final_that_was_never_announced() -> None:
    assert judged([first("a", 0.5), final("a", 1.0), final("b", 1.0)]).unprompted == ["b"]
    assert judged([first("a", 0.5), final("a", 1.0), final("b", 1.0)]).share == 0.0
    assert judged([first("a", 0.5), final("a", 1.0), final("b", 1.0)], 0.9).unprompted == []
    assert judged([first("a", 0.5), final("a", 1.0), final("b", 1.0)], 9.0).unprompted == ["b"]


def test_a_first_result_after_the_deadline_is_late() -> None:
    said = [first("a", 1.1), final("a", 2.0), heard("b", 1.1)]
    assert first_in_time([sent("a"), sent("b")], said, deadline=DEADLINE, lives=[]) == 0.0
    assert first_in_time([sent("a"), sent("b")], said, deadline=DEADLINE, lives=lives(0.5)) == 100.0
    assert first_in_time([sent("a"), sent("b")], said[:2], deadline=DEADLINE, lives=lives(0.5)) == 50.0
