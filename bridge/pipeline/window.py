"""Rows of all series → windows. Numbers rows whose sender does not; knows what was seen; bounded in every direction."""

from __future__ import annotations

from collections import OrderedDict
from operator import attrgetter
from typing import TYPE_CHECKING, Literal

import msgspec

from bridge.errors import Refused
from bridge.messages import Observation, SeriesKey, Window, window_id
from bridge.pipeline.routes import Route
from bridge.pipeline.series import Chunk, Cut, Series

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.catalog import Manifest
    from bridge.topics import DataTopic


_DEVICE: Literal["device", "bridge"] = "device"
_SHARE = 16  # the longest idle are looked for rarely: this part of all series at a time


class Patience(msgspec.Struct, frozen=True):
    """How long and how much the windower keeps.

    Attributes:
        gap: seconds to wait for missing rows of a plain device.
        gap_receipts: seconds to wait for them where the sender keeps rows until receipted.
        held_rows: rows held beyond a gap, a series.
        all_held_rows: the same over all series.
        series: series kept; the longest idle goes first.
        seen: ids of whole windows remembered.
    """

    gap: float = 2.0
    gap_receipts: float = 60.0
    held_rows: int = 8_192
    all_held_rows: int = 1_048_576
    series: int = 50_000
    seen: int = 65_536


class Taken(msgspec.Struct, eq=False, gc=False):
    """What became of an Observation.

    Attributes:
        key: its series.
        first: row number of its first row.
        windows: windows it completed.
        chunk: its new rows, to be journalled until their windows are cut; None if it was known or a whole window.
        known: id of the whole window seen before; "" for known rows; None if it was new.
        late: rows of it, inclusive, that came after their gap had been given up; new rows follow them.
        entry: what is known of its series; None of a whole window's.
    """

    key: SeriesKey
    first: int
    windows: list[Window]
    chunk: Chunk | None = None
    known: str | None = None
    late: tuple[int, int] | None = None
    entry: Entry | None = None


class Entry(msgspec.Struct, eq=False, gc=False):
    """A series and what is known of it.

    Attributes:
        key: the series, as one object: what finds itself needs no comparison of names.
        series: its rows.
        route: route it came by.
        numbered: whether its sender numbers the rows.
        used: number of its latest use.
    """

    key: SeriesKey
    series: Series
    route: Route
    numbered: bool
    used: int = 0


class Windower:
    """All series of the bridge. Pure but for `new_epoch`."""

    def __init__(self, patience: Patience, new_epoch: Callable[[], str]) -> None:
        """Begin empty.

        Args:
            patience: the bounds.
            new_epoch: makes a name, never repeated, for rows that the bridge numbers.
        """
        self._patience = patience
        self._new_epoch = new_epoch
        self._entries: dict[SeriesKey, Entry] = {}  # in no order: moving an entry would touch others, which are cold
        self._uses = 0
        self._idle: list[tuple[int, Entry]] = []  # the longest idle when last looked for, the longest last
        self._numbering: dict[tuple[str, str, str], str] = {}
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._gaps: dict[SeriesKey, int] = {}  # rows held, of each series that waits
        self._overdue: dict[SeriesKey, None] = {}
        self._held = 0
        self.evicted: list[SeriesKey] = []

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, key: SeriesKey) -> Entry | None:
        """What is known of a series."""
        return self._entries.get(key)

    def restore(self, entry: Entry) -> None:
        """Take up a series from the journal."""
        key = entry.key
        self._entries[key] = entry
        self._use(entry)
        self._note_gap(key, entry.series)
        if not entry.numbered:
            self._numbering[key.site, key.device, key.stream] = key.epoch

    def take(self, route: Route, topic: DataTopic, seen: Observation, now: float, wall: float) -> Taken:
        """Cut an Observation into windows.

        Args:
            route: the route that took it.
            topic: whose rows these are.
            seen: the rows.
            now: monotonic seconds of arrival.
            wall: the same in seconds since 1970.

        Raises:
            Refused: `shape` for a whole window of another length, `stale` for rows whose gap was given up, `no_route`
                for rows of a series that another route takes to another model.
        """
        if route.windows == "whole":
            return self._whole(route, topic, seen, now, wall)
        entry = self._find(route, topic, seen)
        key, series = entry.key, entry.series
        first = series.next_row if seen.seq is None else seen.seq
        chunk = _chunk(route.manifest, seen, first, now, wall)
        late = None if first == series.next_row else _late(series, first, chunk.end)
        series.patient = seen.receipt
        added, cuts = series.add(chunk, now)
        if series.gap_since is not None or key in self._gaps:
            self._note_gap(key, series)
        if self._held:
            self._bound_held()
        windows = [_window(route, key, cut) for cut in cuts]
        return Taken(key, first, windows, added, "" if added is None else None, late, entry)

    def _note_gap(self, key: SeriesKey, series: Series) -> None:
        """Keep the account of rows held beyond gaps."""
        self._held += series.held_rows - self._gaps.pop(key, 0)
        if series.gap_since is not None:
            self._gaps[key] = series.held_rows

    def _bound_held(self) -> None:
        """Over the bound of all series: wait no longer where nothing has come for longest; `expire` cuts there."""
        excess = self._held - self._patience.all_held_rows
        for key, rows in self._gaps.items():
            if excess <= 0:
                return
            self._overdue[key] = None
            excess -= rows

    @property
    def held_rows(self) -> int:
        """Rows held beyond a gap, a series."""
        return self._patience.held_rows

    def remember(self, window: str) -> None:
        """A whole window is known from before a restart: its copies are not asked about again."""
        self._seen[window] = None
        if len(self._seen) > self._patience.seen:
            self._seen.popitem(last=False)

    def forget(self, window: str) -> None:
        """A whole window was not answered after all: its next copy is new."""
        self._seen.pop(window, None)

    def expire(self, now: float) -> list[tuple[SeriesKey, list[Window]]]:
        """Give up gaps that were waited for long enough.

        Returns:
            The series that went on, and the windows that are complete without what is missing.
        """
        moved: list[tuple[SeriesKey, list[Window]]] = []
        for key in list(self._gaps):
            entry = self._entries[key]
            series = entry.series
            begun = series.next_row > 0  # what a series begins with is hardly ever overtaken; a lost state is likelier
            wait = self._patience.gap_receipts if series.patient and begun else self._patience.gap
            cuts: list[Cut] = []
            overdue = False
            while series.gap_since is not None and (key in self._overdue or now - series.gap_since >= wait):
                cuts += series.give_up(now)
                overdue = True
            if overdue:
                moved.append((key, [_window(entry.route, key, cut) for cut in cuts]))
                self._note_gap(key, series)
        self._overdue.clear()
        return moved

    def _whole(self, route: Route, topic: DataTopic, seen: Observation, now: float, wall: float) -> Taken:
        wanted = route.manifest.input.rows
        if len(seen.values) != wanted:
            raise Refused(
                "shape", f"{len(seen.values)} rows; a whole window of {route.model} has {wanted}", seq=seen.seq
            )
        numbered = seen.seq is not None and topic.device != "_infer"  # two askers may use the same row number
        key = SeriesKey(*topic, seen.epoch if numbered else self._new_epoch())
        first = seen.seq or 0
        name = window_id(key, first, route.model)
        if numbered:
            if name in self._seen:
                self._seen.move_to_end(name)
                return Taken(key, first, [], known=name)
            self.remember(name)
        t, t_source = seen.t, _DEVICE
        if t is None:
            t, _, t_source = _stamp(route.manifest, seen, wall)
        window = Window(
            name, key, first, seen.values, t, t_source, now, route.model, seen.lane, now + route.deadline
        )  # fmt: skip
        return Taken(key, first, [window])

    def _find(self, route: Route, topic: DataTopic, seen: Observation) -> Entry:
        numbered = seen.seq is not None
        epoch = seen.epoch
        if not numbered:
            who = (topic.site, topic.device, topic.stream)
            epoch = self._numbering.get(who) or self._new_epoch()
            self._numbering[who] = epoch
        key = SeriesKey(topic.site, topic.device, topic.stream, epoch)
        entry = self._entries.get(key)
        if entry is None:
            shape = route.manifest.input
            entry = Entry(key, Series(shape.rows, shape.hop, max_held=self._patience.held_rows), route, numbered)
            self._entries[key] = entry
            self._use(entry)
            self._evict()
        else:
            if entry.route is not route and entry.route.model != route.model:  # its windows have another shape
                raise Refused(
                    "no_route", f"{topic.stream} of {topic.device} goes to {entry.route.model} already", seq=seen.seq
                )
            self._use(entry)
        return entry

    def _use(self, entry: Entry) -> None:
        self._uses += 1
        entry.used = self._uses

    def _evict(self) -> None:
        while len(self._entries) > self._patience.series:
            if not self._idle:
                longest = sorted(self._entries.values(), key=attrgetter("used"))[: 1 + self._patience.series // _SHARE]
                self._idle = [(entry.used, entry) for entry in reversed(longest)]
            used, entry = self._idle.pop()
            if entry.used != used:  # since it was looked for; what remains there is idle for longer than any other
                continue
            key = entry.key
            del self._entries[key]
            self._held -= self._gaps.pop(key, 0)
            if not entry.numbered:
                self._numbering.pop((key.site, key.device, key.stream), None)
            self.evicted.append(key)


def _window(route: Route, key: SeriesKey, cut: Cut) -> Window:
    return Window(
        window_id(key, cut.seq, route.model), key, cut.seq, cut.values, cut.t, cut.t_source, cut.arrived, route.model,
        cut.lane, cut.arrived + route.deadline,
    )  # fmt: skip


def _late(series: Series, first: int, end: int) -> tuple[int, int] | None:
    """Which of the rows, inclusive, had been given up.

    Raises:
        Refused: `malformed` for rows far beyond the known ones, `stale` where nothing new follows the late ones.
    """
    if series.too_far(first, end):
        detail = f"row {first} is far beyond row {series.next_row}, the next one; a new numbering needs a new epoch"
        raise Refused("malformed", detail, seq=first)
    late = series.skipped(first, end)
    if late is not None and end <= series.next_row:
        raise stale(late, first)
    return late


def stale(late: tuple[int, int], first: int) -> Refused:
    """What is told of late rows, inclusive, of a message whose first row was `first`."""
    return Refused(
        "stale",
        f"rows {late[0]}–{late[1]} came after their gap had been given up; a restarted numbering needs a new epoch",
        seq=first,
    )


def _chunk(manifest: Manifest, seen: Observation, first: int, now: float, wall: float) -> Chunk:
    t, dt, t_source = _stamp(manifest, seen, wall)
    return Chunk(first, seen.values, t, dt, t_source, now, seen.lane)


def _stamp(manifest: Manifest, seen: Observation, wall: float) -> tuple[float, float, Literal["device", "bridge"]]:
    """Time of the first row, seconds between rows, and who stamped them."""
    dt = seen.dt if seen.dt is not None else 1.0 / manifest.input.rate_hz
    if seen.t is None:
        return wall - (len(seen.values) - 1) * dt, dt, "bridge"
    return seen.t, dt, "device"
