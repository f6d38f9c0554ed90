"""What may be forgotten while rows were sent that are not on disk yet."""

from __future__ import annotations

import numpy as np

from bridge.store.outbox import Append, Release
from edge_agent.early import Early

ROWS = Append(7, np.zeros((5, 2), np.float32))


def test_rows_that_are_not_on_disk_are_forgotten_once_they_are_and_all_others_at_once() -> None:
    early = Early()
    assert early.hold([Release(7, 0, 99)]) == [Release(7, 0, 99)]
    early.begin(ROWS, 100)
    assert early
    others = [Release(7, 0, 99), Release(8, 100, 104)]
    assert early.hold(others) == others, "a disk that is full needs the room"
    assert early.hold([Release(7, 90, 104), Release(7, 102, 102)]) == [Release(7, 90, 99)]
    assert early.end() == [Release(7, 100, 104), Release(7, 102, 102)]
    assert not early
    assert early.end() == []


def test_a_commit_is_known_by_what_it_was_of() -> None:
    early = Early()
    assert not early.is_all([ROWS])
    early.begin(ROWS, 0)
    assert early.is_all([ROWS])
    assert not early.is_all([ROWS, Release(7, 0, 0)])
    assert not early.is_all([Append(7, ROWS.values)])
