"""Whatever is appended, released and reopened: exactly the rows that nobody vouched for are kept."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bridge.store.outbox import NOT_FINITE, OVERHEAD, Append, Limits, Outbox, Release

STREAMS = st.sampled_from(["a", "b"])


class OutboxMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.kept: dict[str, dict[int, float]] = {"a": {}, "b": {}}
        self.next = {"a": 0, "b": 0}
        self.given = 0.0
        self.lost = 0
        self.open()

    def open(self) -> None:
        self.box = Outbox(self.folder / "outbox.db", Limits(), tell=pytest.fail)
        self.ids = {stream: self.box.begin(stream, "e").id for stream in self.kept}

    @rule(stream=STREAMS, count=st.integers(1, 40), skip=st.integers(0, 3), align=st.sampled_from([1, 7, 1024]))
    def append(self, stream: str, count: int, skip: int, align: int) -> None:
        numbers = np.arange(self.given, self.given + count, dtype=np.float32)
        self.given += count
        values = np.repeat(numbers[:, None], 2, axis=1)
        (first,) = self.box.apply([Append(self.ids[stream], values, skip=skip, align=align)], 1.0)
        assert first == self.next[stream] + skip
        self.kept[stream].update(zip(range(first, first + count), numbers.tolist(), strict=True))
        self.next[stream] = first + count

    @rule(stream=STREAMS, ranges=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60)), max_size=4))
    def receipt(self, stream: str, ranges: list[tuple[int, int]]) -> None:
        self.box.apply([Release(self.ids[stream], first, first + more) for first, more in ranges], 1.0)
        for first, more in ranges:
            for row in range(first, first + more + 1):
                self.kept[stream].pop(row, None)

    @rule(stream=STREAMS, first=st.integers(0, 300), more=st.integers(0, 60))
    def give_up(self, stream: str, first: int, more: int) -> None:
        self.box.apply([Release(self.ids[stream], first, first + more, rule="shape")], 1.0)
        self.lost += sum(self.kept[stream].pop(row, None) is not None for row in range(first, first + more + 1))

    @rule()
    def reopen(self) -> None:
        self.box.close()
        self.open()

    @rule()
    def crash(self) -> None:
        """The files as a kill would leave them, write-ahead log and all."""
        copy = Path(tempfile.mkdtemp())
        for part in self.folder.iterdir():
            shutil.copy(part, copy)
        self.box.close()
        shutil.rmtree(self.folder)
        self.folder = copy
        self.open()

    @invariant()
    def exactly_the_unreceipted_rows_are_kept(self) -> None:
        blobs = 0
        for stream, expected in self.kept.items():
            found: dict[int, float] = {}
            for piece in self.box.read(self.ids[stream], 0, 2**53):
                blobs += 1
                found.update(zip(range(piece.first, piece.last + 1), piece.values[:, 1].tolist(), strict=True))
            assert found == expected
            assert list(found) == sorted(found)
            ranges = self.box.kept(self.ids[stream], most=10_000)
            assert [row for first, last in ranges for row in range(first, last + 1)] == list(found)
        rows = sum(map(len, self.kept.values()))
        assert self.box.rows() == rows
        assert self.box.bytes == rows * 8 + blobs * OVERHEAD
        assert sum(d.last - d.first + 1 for d in self.box.dropped() if d.rule != NOT_FINITE) == self.lost

    def teardown(self) -> None:
        self.box.close()
        shutil.rmtree(self.folder)


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
