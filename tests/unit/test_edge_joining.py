from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.store.outbox import Append, End, Limits, Outbox
from edge_agent.joining import join

if TYPE_CHECKING:
    from pathlib import Path


def row(series: int = 1, t: float | None = None, dt: float | None = None, skip: int = 0, channels: int = 1) -> Append:
    return Append(series, np.zeros((1, channels), np.float32), t, dt, skip)


@pytest.mark.parametrize(
    ("pair", "together"),
    [
        ((row(), row()), True),
        ((row(t=1.0, dt=0.5), row(t=1.6, dt=0.5)), True),
        ((row(t=1.0, dt=0.5), row(t=2.5, dt=0.5)), False),
        ((row(t=1.0), row(t=1.0)), False),
        ((row(t=1.0, dt=0.5), row()), False),
        ((row(), row(skip=1)), False),
        ((row(), row(channels=2)), False),
        ((row(), row(series=2)), False),
        ((row(), End(1)), False),
        ((End(1), row()), False),
    ],
)
def test_what_follows_is_joined(pair: tuple[Append | End, Append | End], together: bool) -> None:
    assert (len(join(pair).changes) == 1) == together


@settings(max_examples=50, deadline=None)
@given(
    given_=st.lists(
        st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(0, 1), st.sampled_from([None, 0.0, 1.0])),
        max_size=12,
    )
)
def test_joined_or_not_the_outbox_holds_the_same(
    tmp_path_factory: pytest.TempPathFactory, given_: list[tuple[int, int, int, float | None]]
) -> None:
    folder: Path = tmp_path_factory.mktemp("boxes")
    changes, value = [], 0.0
    for series, count, skip, t in given_:
        values = np.arange(value, value + count, dtype=np.float32)[:, None]
        changes.append(Append(series, values, t, 0.5 if t is not None else None, skip))
        value += count
    boxes = [Outbox(folder / name, Limits(), tell=pytest.fail) for name in ("one", "two")]
    for box in boxes:
        assert [box.begin(name, "e").id for name in ("a", "b")] == [1, 2]
    joined = join(changes)
    apart = boxes[0].apply(changes, 1.0)
    numbers = boxes[1].apply(joined.changes, 1.0)
    assert [(numbers[place] or 0) + away for place, away in joined.places] == apart
    for series in (1, 2):
        found = [
            [(piece.first + i, v) for piece in box.read(series, 0, 1000) for i, v in enumerate(piece.values[:, 0])]
            for box in boxes
        ]
        assert found[0] == found[1]
    for box in boxes:
        box.close()
