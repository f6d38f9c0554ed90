"""What a cloud agent may say, and what is refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest

from bridge.offload.agents import SHARED, Agents
from bridge.offload.judge import COUNT, EVERY, LONGEST, LONGEST_LABEL, Judge, shown
from bridge.offload.late import Late
from bridge.offload.questions import Open
from bridge.offload.refusals import UNUSABLE
from bridge.offload.sending import Sending
from bridge.wire.offload import Reply

GOOD = Reply("w", "gpu-1", "sit", 0.5, version="1.0.0", variant="large", engine="cuda")
NO_NAME = f"is not a name of at most {LONGEST} printable characters"


@pytest.fixture
def counts() -> Counter[str]:
    return Counter()


@pytest.fixture
def agents() -> Agents:
    agents = Agents()
    agents.connected(1, 0.0)
    agents.told("gpu-1", {"models": {"m": "1"}})
    return agents


@pytest.fixture
def judge(agents: Agents, counts: Counter[str]) -> Judge:
    return Judge(agents, {"m": Sending(labels=frozenset({"sit", "run"}))}, counts)


@pytest.mark.parametrize("lies", [{"label": "run"}, {"score": 0.0}, {"score": 1.0}, {"version": "x" * LONGEST}])
def test_what_may_be_an_answer_is_taken(judge: Judge, counts: Counter[str], lies: dict[str, Any]) -> None:
    assert judge.wrong("m", msgspec.structs.replace(GOOD, **lies), 0.0) == ""
    assert not counts


@pytest.mark.parametrize(
    ("lies", "why"),
    [
        ({"label": "made-up"}, "'made-up' is not a label of m"),
        ({"label": ""}, "'' is not a label of m"),
        ({"label": "x" * 100_000}, f"'{'x' * LONGEST}' is not a label of m"),
        ({"score": -1e-9}, "its score is -1e-09, not 0 to 1"),
        ({"score": 7.0}, "its score is 7, not 0 to 1"),
        ({"version": "9" * (LONGEST + 1)}, f"its version {NO_NAME}"),
        ({"variant": "a\tb"}, f"its variant {NO_NAME}"),
        ({"engine": "\x00\n"}, f"its engine {NO_NAME}"),
        ({"cloud": "g" * (LONGEST + 1)}, f"its cloud {NO_NAME}"),
    ],
)
def test_what_cannot_be_an_answer_is_refused_and_counted(
    judge: Judge, counts: Counter[str], lies: dict[str, Any], why: str
) -> None:
    assert judge.wrong("m", msgspec.structs.replace(GOOD, **lies), 0.0) == why
    assert counts == {COUNT: 1}


@pytest.mark.parametrize(
    ("label", "sound"),
    [("any", True), ("x" * LONGEST_LABEL, True), ("x" * (LONGEST_LABEL + 1), False), ("", False), ("\n", False)],
)
def test_where_labels_are_not_known_they_are_only_bounded(judge: Judge, label: str, sound: bool) -> None:
    assert (not judge.wrong("other", msgspec.structs.replace(GOOD, label=label), 0.0)) == sound


def test_only_who_was_asked_may_answer(judge: Judge, counts: Counter[str]) -> None:
    assert not judge.stranger(GOOD, {"gpu-1"}, 0.0)
    assert not judge.stranger(GOOD, {SHARED}, 0.0)
    assert not counts
    assert judge.stranger(GOOD, {"gpu-2"}, 0.0)
    assert judge.stranger(msgspec.structs.replace(GOOD, cloud="never told"), {SHARED}, 0.0)
    assert judge.stranger(msgspec.structs.replace(GOOD, cloud=SHARED), {SHARED}, 0.0)
    assert counts == {COUNT: 3}


def test_refusals_are_logged_seldom(judge: Judge, caplog: pytest.LogCaptureFixture) -> None:
    for now in (0.0, 1.0, EVERY - 0.1, EVERY):
        judge.wrong("m", msgspec.structs.replace(GOOD, score=2.0), now)
    assert [record.getMessage() for record in caplog.records] == [
        "an answer of cloud agent 'gpu-1' is refused: its score is 2, not 0 to 1 (1 so far)",
        "an answer of cloud agent 'gpu-1' is refused: its score is 2, not 0 to 1 (4 so far)",
    ]


def test_words_of_others_are_repeated_on_one_line_and_bounded() -> None:
    assert shown("a\nb\x00", 3) == "a b"


@pytest.mark.parametrize(("lies", "learned"), [({}, True), ({"label": "made-up"}, False), ({"cloud": "x"}, False)])
def test_a_late_answer_that_would_be_refused_is_not_learned_from(
    agents: Agents, judge: Judge, lies: dict[str, Any], learned: bool
) -> None:
    (shared,) = agents.serving("m")
    late, one = Late(judge), Open("w", "m", np.ones((4, 2), np.float32), 32, 0.0, 1.0)
    late.keep(one, one.sent(shared, 0.0))
    late.replied(msgspec.structs.replace(GOOD, **lies), 1.5)
    assert (shared.cost.predict(1.5, size=32).samples > 0) == learned


def test_late_answers_are_waited_for_of_the_newest_questions_alone(agents: Agents, judge: Judge) -> None:
    (shared,) = agents.serving("m")
    late = Late(judge, most=1)
    for name in ("forgotten", "kept"):
        one = Open(name, "m", np.ones((4, 2), np.float32), 32, 0.0, 1.0)
        late.keep(one, one.sent(shared, 0.0))
    learned: list[int] = []
    for name in ("forgotten", "kept", "kept"):
        late.replied(msgspec.structs.replace(GOOD, id=name), 1.5 + len(learned))
        learned.append(shared.cost.predict(9.0, size=32).samples)
    assert learned == [0, 1, 1]


@pytest.mark.parametrize(
    ("lies", "error", "why"),
    [
        ({"error": "stopping: goes away\nsoon"}, "stopping: goes away soon", "gpu-1 refused: stopping: goes away soon"),
        ({"label": None}, "no label", "gpu-1 refused: no label"),
        ({"score": None}, "no label", "gpu-1 refused: no label"),
        ({"score": 7.0}, UNUSABLE, "the answer of gpu-1 is refused: its score is 7, not 0 to 1"),
    ],
)
def test_why_a_reply_is_no_answer_is_told_with_a_word_for_it(
    judge: Judge, lies: dict[str, Any], error: str, why: str
) -> None:
    assert judge.refusal("m", msgspec.structs.replace(GOOD, **lies), 0.0) == (error, why)
    assert judge.refusal("m", GOOD, 0.0) is None
