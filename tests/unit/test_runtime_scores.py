"""Labels and scores from logits, and the fake engine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bridge.errors import Refused
from bridge.messages import Answer
from bridge.runtime.fake import FakeEngine
from bridge.runtime.scores import outcomes

if TYPE_CHECKING:
    from bridge.runtime.port import Logits, Outcome

LABELS = ("a", "b", "c")
FINITE = st.floats(-(2.0**100), 2.0**100, width=32)


def of(logits: Logits, temperature: float = 1.0) -> list[Outcome]:
    return outcomes(logits, LABELS, temperature=temperature, model="m", version="2", variant="v")


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(0, 5), st.just(3)), elements=FINITE),
    st.floats(0.05, 20.0),
)
def test_the_score_is_the_highest_softmax(logits: Logits, temperature: float) -> None:
    for row, outcome in zip(logits.tolist(), of(logits, temperature), strict=True):
        scaled = [(value - max(row)) / temperature for value in row]
        highest = 1.0 / sum(math.exp(value) for value in scaled)
        assert isinstance(outcome, Answer)
        assert outcome.label == LABELS[row.index(max(row))]
        assert outcome.score == pytest.approx(highest, rel=1e-4)


@pytest.mark.parametrize("row", [[math.nan, 0, 0], [math.inf, 0, 0], [-math.inf] * 3, [math.inf, math.inf, 0]])
def test_a_row_that_is_not_finite_carries_its_error_and_harms_no_other(row: list[float]) -> None:
    logits = np.array([[5, 0, 0], row, [0, 5, 0]], np.float32)
    before, bad, after = of(logits)
    assert isinstance(before, Answer)
    assert isinstance(after, Answer)
    assert (before.label, after.label) == ("a", "b")
    assert isinstance(bad, Refused)
    assert bad.reason == "not_finite"


def test_a_class_may_be_ruled_out() -> None:
    (outcome,) = of(np.array([[0.0, -math.inf, 0.0]], np.float32))
    assert outcome == Answer(label="a", score=0.5, version="2", variant="v")


def test_the_fake_obeys_a_rule_and_fails_on_demand() -> None:
    engine = FakeEngine(["low", "high"], rows=2, channels=1, rule=lambda window: (0.0, float(window.max())))
    windows = np.array([[[0.0], [9.0]], [[-9.0], [-9.0]]], np.float32)
    assert [one.label for one in engine.answers(windows) if isinstance(one, Answer)] == ["high", "low"]
    assert engine.batches == [2]
    engine.failure = RuntimeError("no power")
    with pytest.raises(RuntimeError, match="no power"):
        engine.run(windows)
