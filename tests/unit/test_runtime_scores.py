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
    hnp.arrays(np.float32, st.tuples(st.integers(0, 12), st.just(3)), elements=FINITE),
    st.floats(0.05, 20.0),
)
def test_the_score_is_the_highest_softmax_however_many_rows(logits: Logits, temperature: float) -> None:
    together = of(logits, temperature)
    for row, outcome in zip(logits, together, strict=True):
        assert isinstance(outcome, Answer)
        scaled = row.astype(np.longdouble) / temperature
        shares = np.exp(scaled - scaled.max())
        assert outcome.label == LABELS[int(row.argmax())]
        assert outcome.score == pytest.approx(float(shares.max() / shares.sum()), abs=0.6e-9)
        (alone,) = of(row[None], temperature)
        assert isinstance(alone, Answer)
        assert alone.label == outcome.label
        assert alone.score == pytest.approx(outcome.score, abs=1.1e-9)


@pytest.mark.parametrize("row", [[math.nan, 0, 0], [math.inf, 0, 0], [-math.inf] * 3, [math.inf, math.inf, 0]])
def test_a_row_that_is_not_finite_carries_its_error_and_harms_no_other(row: list[float]) -> None:
    logits = np.array([[5, 0, 0], row, [0, 5, 0]], np.float32)
    for copies in (1, 5):  # few rows, and many
        found = of(np.tile(logits, (copies, 1)))
        assert len(found) == 3 * copies
        for before, bad, after in zip(found[::3], found[1::3], found[2::3], strict=True):
            assert isinstance(before, Answer)
            assert isinstance(after, Answer)
            assert (before.label, after.label) == ("a", "b")
            assert isinstance(bad, Refused)
            assert bad.reason == "not_finite"


def test_a_class_may_be_ruled_out() -> None:
    for rows in (1, 20):
        found = of(np.array([[0.0, -math.inf, 0.0]] * rows, np.float32))
        assert found == [Answer(label="a", score=0.5, version="2", variant="v")] * rows


def test_the_fake_obeys_a_rule_and_fails_on_demand() -> None:
    engine = FakeEngine(["low", "high"], rows=2, channels=1, rule=lambda window: (0.0, float(window.max())))
    windows = np.array([[[0.0], [9.0]], [[-9.0], [-9.0]]], np.float32)
    assert [one.label for one in engine.answers(windows) if isinstance(one, Answer)] == ["high", "low"]
    assert engine.batches == [2]
    engine.failure = RuntimeError("no power")
    with pytest.raises(RuntimeError, match="no power"):
        engine.run(windows)
