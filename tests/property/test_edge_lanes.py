"""Whatever becomes of link, bridge and receipts: every row is sent until it is safe, in the lane that it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_agent.lanes import Lanes

if TYPE_CHECKING:
    from edge_agent.flights import Span

ROWS = 5


class LanesMachine(RuleBasedStateMachine):
    """`here`: rows that the bridge has heard of; `safe`: those that a receipt for has come."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.lanes = Lanes(0, rows=ROWS, longest_wait=1.0, backlog_after=2.0)
        self.end = 0
        self.here: set[int] = set()
        self.safe: set[int] = set()
        self.seams: list[int] = []

    @rule(count=st.integers(1, 40))
    def grow(self, count: int) -> None:
        self.end += count
        self.lanes.live.grew(self.end, self.now)

    @rule(seconds=st.sampled_from([0.5, 3.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(outcome=st.sampled_from(["taken", "lost", "open"]), between=st.sampled_from(["", "split", "receipt"]))
    def send_live(self, outcome: str, between: str) -> None:
        self.send(self.lanes.pick_live(self.now, 3), outcome, between, live=True)

    @rule(outcome=st.sampled_from(["taken", "lost", "open"]), between=st.sampled_from(["", "split", "receipt"]))
    def send_backlog(self, outcome: str, between: str) -> None:
        self.send(self.lanes.pick_backlog(self.now, fresh=True), outcome, between, live=False)

    def send(self, span: Span | None, outcome: str, between: str, *, live: bool) -> None:
        if span is None:
            return
        if between == "split":
            self.split()
        elif between == "receipt":
            self.receipts(range(self.end))
        for first in range(span.first, span.last + 1, ROWS):
            last = min(first + ROWS - 1, span.last)
            lane = self.lanes.of(first)
            if between == "":
                assert (lane is self.lanes.live) == live
            if lane is self.lanes.live and self.lanes.live_from is not None:
                assert first >= self.lanes.live_from
            lane.sent(first, last, span.attempts, self.now)
            if outcome != "lost":
                self.here.update(range(first, last + 1))
            if outcome == "taken":
                self.lanes.of(first).taken(first, self.now)
            elif outcome == "lost":
                self.lanes.of(first).again(first, self.now)
        self.lanes.read(untold=False)

    @rule(picks=st.sets(st.integers(0, 60), max_size=20))
    def some_receipts(self, picks: set[int]) -> None:
        self.receipts(picks)

    def receipts(self, rows: range | set[int]) -> None:
        known = sorted(self.here & set(rows))
        self.safe.update(known)
        self.lanes.receipt([(row, row) for row in known], self.now)
        self.lanes.settle(untold=False)

    @rule(everything=st.booleans())
    def reconnect(self, everything: bool) -> None:
        self.lanes.link_lost(self.now, everything=everything)
        self.split()

    def split(self) -> None:
        if self.lanes.split():
            seam = self.lanes.live_from
            assert seam == self.end
            self.seams.append(seam)

    @invariant()
    def the_seam_stands_as_long_as_something_before_it_is_not_safe(self) -> None:
        if self.seams:
            older = set(range(self.seams[-1])) - self.safe
            if older:
                assert self.lanes.live_from is not None
            elif not len(self.lanes.backlog):  # a message sent although its receipt came meanwhile is awaited again
                assert self.lanes.live_from is None

    @precondition(lambda self: self.end > 0)
    @rule()
    def at_last_all_is_safe(self) -> None:
        self.lanes.live.ended = True
        self.lanes.link_lost(self.now, everything=True)
        for _ in range(10 * self.end):
            self.now += 100.0
            if len(self.safe) == self.end:
                break
            self.send(self.lanes.pick_live(self.now, 3), "taken", "", live=True)
            self.send(self.lanes.pick_backlog(self.now, fresh=True), "taken", "", live=False)
            self.receipts(range(self.end))
        assert self.safe == set(range(self.end))
        assert self.lanes.live_from is None
        assert not self.lanes.backlog
        assert len(self.lanes.live) == 0
        self.lanes.live.ended = False


TestLanes = LanesMachine.TestCase
TestLanes.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
