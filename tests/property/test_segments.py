"""Outages, backlogs, rows given up and restarts: each window whose rows all came is cut once, in its lane's order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from unittest.mock import patch

import msgspec
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.catalog import load_manifest
from bridge.errors import Refused
from bridge.messages import Observation, SeriesKey, Skip
from bridge.pipeline import restore
from bridge.pipeline.entries import Patience
from bridge.pipeline.routes import Route, RouteTable
from bridge.pipeline.window import Windower
from bridge.store.index import Index
from bridge.store.records import Changes, Saved, decode, encode
from bridge.topics import DataTopic
from tests.support.feeds import feed

if TYPE_CHECKING:
    from random import Random

    from bridge.messages import Lane, Window
    from bridge.pipeline.chunk import Chunk
    from bridge.store.records import SavedSeries

ACTIVITY = load_manifest(Path(__file__).parents[2] / "models" / "activity")
WHO = DataTopic("s", "d", "x")
KEY = SeriesKey("s", "d", "x", "e")
Span = tuple[int, int]


class Shape(NamedTuple):
    rows: int
    hop: int


SHAPES = st.integers(1, 9).flatmap(lambda rows: st.builds(Shape, st.just(rows), st.integers(1, rows)))


class Log:
    """The journal in memory: records as bytes, moved and dropped as `Journal` does."""

    def __init__(self) -> None:
        self.bodies: dict[int, bytes] = {}
        self.index = Index()

    def commit(self, changes: Changes) -> None:
        index = self.index
        worth = index.worth(changes)
        body = encode(worth)
        if not worth:
            return
        gone, moved = [], []
        for number, needed in index.movable(len(body)):
            gone.append(number)
            if needed:
                moved.append(index.still(number, decode(self.bodies[number])))
        for number, held in list(enumerate([*moved, worth], index.last + 1)):
            self.bodies[number] = encode(held)
            index.add(number, held)
        index.drop(gone)
        for number in gone:
            del self.bodies[number]

    def load(self) -> Saved:
        self.index = Index()
        for number, body in self.bodies.items():
            self.index.add(number, decode(body))
        still = [self.index.still(number, decode(body)) for number, body in self.bodies.items()]
        series = {one.key: one for held in still for one in held.series}
        rows = {(one.key, one.first): one for held in still for one in held.rows}
        return Saved(list(series.values()), sorted(rows.values(), key=lambda one: one.first), [], [], [])


class Bridge:
    """Windower and journal as the pipeline uses them, for one series; every message is a turn."""

    def __init__(self, shape: Shape, **patience: float) -> None:
        model = msgspec.structs.replace(ACTIVITY.input, rows=shape.rows, hop=shape.hop, channels=("x",), rate_hz=10.0)
        self.shape = shape
        self.route = Route(model="m", manifest=msgspec.structs.replace(ACTIVITY, input=model), stream="x")
        self.patience = msgspec.convert(patience, Patience)
        self.log = Log()
        self.cut: list[Window] = []
        self.now = 0.0
        self.restart()

    def restart(self) -> None:
        self.windower = Windower(self.patience, str)
        restore.take_up_series(self.log.load(), RouteTable([self.route]), self.windower, now=self.now)

    def rows(self, first: int, end: int, lane: Lane = "live", live_from: int | None = None) -> list[int]:
        """Take a message; returns the first rows of the windows that it completed."""
        values = np.arange(first, end, dtype=np.float32).reshape(-1, 1)
        seen = Observation(values, first, "e", float(first), 1.0, lane, receipt=True, live_from=live_from)
        try:
            taken = self.windower.take(feed(self.windower, self.route, WHO), seen, self.now, 0.0)
        except Refused:
            return []
        return self._turn(taken.windows, taken.chunk)

    def skip(self, *ranges: Span) -> list[int]:
        """Take a Skip of these rows, `end` being the row after the last."""
        said = Skip([(first, end - 1) for first, end in ranges], "age", "e", receipt=True)
        return self._turn(self.windower.skip(feed(self.windower, self.route, WHO), said, self.now).windows)

    def expire(self) -> list[int]:
        windows = [window for _, some in self.windower.expire(self.now) for window in some]
        return self._turn(windows)

    def _turn(self, windows: list[Window], chunk: Chunk | None = None) -> list[int]:
        self.cut += windows
        if (entry := self.windower.entry(KEY)) is not None:
            changes = Changes()
            restore.save([entry], [] if chunk is None else [(entry, chunk)], changes)
            self.log.commit(changes)
        return [window.seq for window in windows]

    @property
    def saved(self) -> SavedSeries:
        entry = self.windower.entry(KEY)
        assert entry is not None
        return restore.save_series(entry)

    def check(self, known: set[int], given_up: set[int]) -> None:
        """All that can come has come: the windows are those of the rows known, and nothing is left open."""
        rows, hop = self.shape
        starts = [seq for seq in range(0, max(known, default=0) + 1, hop) if known.issuperset(range(seq, seq + rows))]
        assert sorted(window.seq for window in self.cut) == starts
        for window in self.cut:
            assert window.values[:, 0].tolist() == list(range(window.seq, window.seq + rows))
            assert (window.t, window.key) == (window.seq, KEY)
        saved, entry = self.saved, self.windower.entry(KEY)
        assert entry is not None
        assert (entry.strand, entry.series.gap_since) == (None, None)
        assert (saved.later, saved.next_row) == ((), len(known | given_up))
        assert (saved.rows, saved.windows, saved.given_up) == (len(known), len(starts), len(given_up))
        left = self.log.load()
        assert sum(len(one.values) for one in left.rows if one.first + len(one.values) <= saved.next_window) == 0

    def lane(self, lane: Lane) -> list[int]:
        return [window.seq for window in self.cut if window.lane == lane]


class Said(NamedTuple):
    """A message: rows, or rows given up; `end` is the row after the last."""

    first: int
    end: int
    lane: Lane = "live"
    live_from: int | None = None
    skip: bool = False


class Story:
    """A bridge, and what came to it: rows that came in time, rows given up before they came."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.known: set[int] = set()
        self.given_up: set[int] = set()

    def tell(self, said: Said) -> None:
        rows = set(range(said.first, said.end))
        if said.skip:
            self.bridge.skip((said.first, said.end))
            self.given_up |= rows - self.known
        else:
            self.bridge.rows(said.first, said.end, said.lane, said.live_from)
            self.known |= rows - self.given_up

    def missing(self, end: int, size: int) -> list[Span]:
        """What did not come yet, in messages of at most so many rows; nothing is sent twice."""
        spans: list[Span] = []
        for row in sorted(set(range(end)) - self.known - self.given_up):
            if spans and spans[-1][1] == row and row - spans[-1][0] < size:
                spans[-1] = (spans[-1][0], row + 1)
            else:
                spans.append((row, row + 1))
        return spans


ROWS = st.integers(0, 60)
LONGEST = 20
SPANS = st.tuples(ROWS, st.integers(1, LONGEST)).map(lambda one: (one[0], sum(one)))
LANES: st.SearchStrategy[Lane] = st.sampled_from(["live", "backlog"])


@st.composite
def chaos(draw: st.DrawFn) -> list[Said]:
    """Anything in any order."""
    story = []
    for _ in range(draw(st.integers(1, 25))):
        first, end = draw(SPANS)
        if draw(st.integers(0, 5)) == 0:
            story.append(Said(first, end, skip=True))
        else:
            story.append(Said(first, end, draw(LANES), draw(st.none() | ROWS | st.just(first))))
    return story


@settings(deadline=None, max_examples=300)
@given(
    chaos(), SHAPES, st.sets(st.integers(0, 40)), st.integers(0, 8), st.integers(1, 30),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_each_window_is_cut_once_whatever_comes_in_whatever_order(
    said: list[Said], shape: Shape, restarts: set[int], share: int, size: int, random: Random
) -> None:
    with patch.multiple("bridge.store.index", SLACK=0, SHARE=share):
        story = Story(Bridge(shape, segments=1_000))
        for step, one in enumerate(said):
            if step in restarts:
                story.bridge.restart()
            story.tell(one)
        rest = [Said(*span, random.choice(["live", "backlog"])) for span in story.missing(80, size)]
        random.shuffle(rest)
        for step, one in enumerate(rest):
            if step in restarts:
                story.bridge.restart()
            story.tell(one)
        story.bridge.check(story.known, story.given_up)
        live = story.bridge.lane("live")
        assert live == sorted(live)


class Sender:
    """An agent: what it could not send at once it sends in the backlog, oldest first, or gives up."""

    def __init__(self) -> None:
        self.row = 0
        self.live_from = 0
        self.backlog: list[Span] = []

    def measure(self, count: int, *, online: bool) -> Said | None:
        span = self.row, self.row + count
        self.row += count
        if not online:
            self.backlog.append(span)
            self.live_from = self.row
            return None
        return Said(*span, "live", self.live_from if self.backlog else None)

    def older(self, *, drop: bool) -> Said | None:
        if not self.backlog:
            return None
        return Said(*self.backlog.pop(0), "backlog", skip=drop)


STEPS = st.lists(
    st.tuples(st.sampled_from(["live", "live", "offline", "older", "older", "drop", "again"]), st.integers(1, 12)),
    max_size=40,
)


def told(steps: list[tuple[str, int]]) -> list[Said]:
    """What a sender says; some of it again; in the end all of its backlog."""
    sender, story = Sender(), list[Said]()
    for kind, count in [*steps, *[("older", 0)] * 40]:
        said = None
        if kind in {"live", "offline"}:
            said = sender.measure(count, online=kind == "live")
        elif kind != "again":
            said = sender.older(drop=kind == "drop")
        elif story:
            said = story[-1 - count % len(story)]
        if said is not None:
            story.append(said)
    return story


def due(said: Said, known: set[int], shape: Shape) -> set[int]:
    """Windows of rows that are live without a break, up to those of this message."""
    begin = said.live_from or 0
    starts = range(-(-begin // shape.hop) * shape.hop, said.end - shape.rows + 1, shape.hop)
    return {seq for seq in starts if known.issuperset(range(seq, seq + shape.rows))}


@settings(deadline=None, max_examples=300)
@given(STEPS, SHAPES, st.sets(st.integers(0, 60)))
def test_live_rows_never_wait_for_the_backlog_and_each_lane_is_in_order(
    steps: list[tuple[str, int]], shape: Shape, restarts: set[int]
) -> None:
    story = Story(Bridge(shape))
    for step, said in enumerate(told(steps)):
        if step in restarts:
            story.bridge.restart()
        story.tell(said)
        if said.lane == "live" and not said.skip:
            assert due(said, story.known, shape) <= {window.seq for window in story.bridge.cut}
    if story.known | story.given_up:
        story.bridge.check(story.known, story.given_up)
    for lane in ("live", "backlog"):
        assert story.bridge.lane(lane) == sorted(story.bridge.lane(lane))


@settings(deadline=None, max_examples=100)
@given(chaos(), SHAPES, st.integers(0, 3), st.integers(1, 30), st.sets(st.integers(0, 40)))
@example([Said(2, 3), *[Said(0, 1, skip=True)] * 4, Said(0, 1, live_from=2)], Shape(1, 1), 0, 1, set())  # refused last
def test_what_is_kept_is_bounded_and_no_window_is_wrong_or_twice_where_the_bounds_bite(
    story: list[Said], shape: Shape, segments: int, held: int, restarts: set[int]
) -> None:
    bridge = Bridge(shape, segments=segments, held_rows=held, all_held_rows=40, gap_receipts=6.0, gap_backlog=9.0)
    for step, said in enumerate(story):
        if step in restarts:
            bridge.restart()
        if said.skip:
            bridge.skip((said.first, said.end))
        else:
            bridge.rows(said.first, said.end, said.lane, said.live_from)
        entry = bridge.windower.entry(KEY)
        assert entry is not None
        parts = [entry.series] if entry.strand is None else [entry.series, *entry.strand.later]
        assert len(parts) <= segments + 1
        assert bridge.windower._gaps.get(KEY, 0) == bridge.windower._held == sum([part.held_rows for part in parts])
        assert all(part.held_rows <= max(held, LONGEST) for part in parts)  # one message is always held
        for later in [] if entry.strand is None else entry.strand.later:
            assert sum([len(chunk.values) for chunk in later.head]) < shape.rows
        for part in parts:
            assert sum([len(chunk.values) for chunk in part.contents()[0]]) < 2 * shape.rows + 20
        bridge.now += 1.0
        bridge.expire()
    bridge.now += 1e6
    bridge.expire()
    entry = bridge.windower.entry(KEY)
    assert entry is not None
    assert entry.strand is None or not entry.strand.later  # what was given up ahead keeps nobody waiting
    assert (entry.series.gap_since, bridge.windower._held) == (None, 0)
    seqs = [window.seq for window in bridge.cut]
    assert len(seqs) == len(set(seqs))
    for window in bridge.cut:
        assert window.values[:, 0].tolist() == list(range(window.seq, window.seq + shape.rows))
