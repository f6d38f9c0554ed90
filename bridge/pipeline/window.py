"""Rows of all series → windows. Numbers rows whose sender does not; knows what was seen; bounded in every direction."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Literal

from bridge.errors import Refused
from bridge.messages import Observation, SeriesKey, Window, window_id
from bridge.pipeline.chunk import EACH
from bridge.pipeline.entries import Entry, Patience, Skipped, Taken
from bridge.pipeline.naming import chunk_of, key_of, late_rows, stamp, window_of
from bridge.pipeline.privacy import turn
from bridge.pipeline.pushed_out import Idle, PushedOut, unfinished
from bridge.pipeline.series import Cut, Series
from bridge.pipeline.strands import Strands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.catalog.schema import Input
    from bridge.messages import Skip
    from bridge.pipeline.routes import Feed, Route
    from bridge.pipeline.strand import Strand
    from bridge.topics import DataTopic


_DEVICE: Literal["device", "bridge"] = "device"


class Windower:
    """All series of the bridge. Pure but for `new_epoch`.

    Attributes:
        lost: series of which an earlier process answered windows, and which it no longer knows: what comes before the
            first rows seen was mostly receipted, and does not come again.
        evicted: series forgotten for want of room, for the journal.
    """

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
        self._idle = Idle(patience.series)
        self._numbering: dict[tuple[str, str, str], str] = {}
        self._seen: set[str] = set()  # whole windows, the newest
        self._seen_before: set[str] = set()  # as many before them
        self._gaps: dict[SeriesKey, int] = {}  # rows held, of each series that waits
        self._overdue: dict[SeriesKey, None] = {}
        self.lost: set[SeriesKey] = set()
        self._strands = Strands(patience, self.lost)
        self._held = 0
        self.evicted: list[SeriesKey] = []
        self.pushed_out = PushedOut()

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, key: SeriesKey) -> Entry | None:
        """What is known of a series."""
        return self._entries.get(key)

    @property
    def entries(self) -> list[Entry]:
        """What is known of all series, to be counted."""
        return list(self._entries.values())

    def strand(self, entry: Entry, now: float) -> Strand:
        """The parts of a series that is being taken up from the journal."""
        return self._strands.strand(entry, now)

    @property
    def keys(self) -> list[SeriesKey]:
        """Of all series, in no order."""
        return list(self._entries)

    def restore(self, entry: Entry) -> None:
        """Take up a series from the journal."""
        key = entry.key
        self._entries[key] = entry
        self._use(entry)
        self._strands.note(entry)
        self._note_gap(entry)
        who = (key.site, key.device, key.stream)
        if not entry.numbered and (who not in self._numbering or unfinished(entry)):  # not one that was pushed out
            self._numbering[who] = key.epoch

    def take(self, feed: Feed, seen: Observation, now: float, wall: float) -> Taken:
        """Cut an Observation into windows.

        Args:
            feed: by what it came.
            seen: the rows.
            now: monotonic seconds of arrival.
            wall: the same in seconds since 1970.

        Raises:
            Refused: `shape` for a whole window of another length, `stale` for rows whose gap was given up, `no_route`
                for rows of a series that another route takes to another model, `overload` for rows beyond a gap for
                which there is no room, of a sender that keeps them.
        """
        route = feed.route
        if route.windows == "whole":
            return self._whole(route, feed.source, seen, now, wall)
        entry = self._find(feed, seen.epoch, seen.seq)
        key, series = entry.key, entry.series
        first = series.next_row if seen.seq is None else seen.seq
        if self._held and seen.receipt:
            self._check_room(entry, first, len(seen.values))
        chunk = chunk_of(route.manifest, seen, first, now, wall)
        if entry.strand is None and (seen.live_from is None or seen.live_from <= series.next_row):
            late = None if first == series.next_row else late_rows(series, first, chunk.end)
            series.patient = seen.receipt
            added, cuts = series.add(chunk, now)
            if series.gap_since is not None or (self._gaps and key in self._gaps):
                self._note_gap(entry)
        else:
            added, cuts, late = self._strands.take(entry, chunk, seen, now)
            self._note_gap(entry)
        if self._held:
            self._bound_held()
        windows = [window_of(route, key, cut) for cut in cuts]
        return Taken(key, first, windows, added, "" if added is None and not cuts else None, late, entry)

    def skip(self, feed: Feed, skip: Skip, now: float) -> Skipped:
        """End the wait for rows that their sender gave up.

        Args:
            feed: by what it came.
            skip: the rows.
            now: monotonic seconds of arrival.

        Raises:
            Refused: `no_route` for rows of a series that another route takes to another model.
        """
        if feed.route.windows == "whole":
            return Skipped(SeriesKey(*feed.source, skip.epoch))
        entry = self._find(feed, skip.epoch, skip.ranges[0][0])
        rows, cuts = self._strands.skip(entry, skip, now)
        self._note_gap(entry)
        return Skipped(entry.key, rows, [window_of(entry.route, entry.key, cut) for cut in cuts], entry)

    def _note_gap(self, entry: Entry) -> None:
        """Keep the account of rows held beyond gaps."""
        held = entry.series.held_rows if entry.strand is None else entry.strand.held_rows
        self._held += held - self._gaps.pop(entry.key, 0)
        if held:
            self._gaps[entry.key] = held

    def _check_room(self, entry: Entry, first: int, rows: int) -> None:
        """Rows beyond a gap of a sender that keeps them need room: it is not the missing ones that are given up.

        Raises:
            Refused: `overload`: they are to come again, when those before them have come, or have been given up.
        """
        held = self._gaps.get(entry.key, 0)
        if entry.strand is not None:
            if not entry.strand.holds(first):
                return
        elif first <= entry.series.next_row:
            return
        most, of_all = self._patience.held(entry.route.manifest.input), self._patience.all_held_rows
        if (held and held + rows > most) or self._held + rows > of_all:
            at = entry.series.next_row
            raise Refused("overload", f"{held} rows are held already behind row {at}, which is missing", seq=first)

    def _bound_held(self) -> None:
        """Over the bound of all series: wait no longer where nothing has come for longest; `expire` cuts there.

        Not for those who keep their rows: what they send beyond the bound is refused.
        """
        excess = self._held - self._patience.all_held_rows
        for key, rows in self._gaps.items():
            if excess <= 0:
                return
            if not self._entries[key].series.patient:
                self._overdue[key] = None
                excess -= rows

    def held(self, shape: Input) -> int:
        """Rows held beyond a gap, a series of such windows."""
        return self._patience.held(shape)

    def remember(self, window: str) -> None:
        """A whole window is known from before a restart: its copies are not asked about again."""
        self._seen.add(window)
        if len(self._seen) >= self._patience.seen:
            self._seen, self._seen_before = set(), self._seen

    def forget(self, window: str) -> None:
        """A whole window was not answered after all: its next copy is new."""
        self._seen.discard(window)
        self._seen_before.discard(window)

    def expire(self, now: float) -> list[tuple[SeriesKey, list[Window]]]:
        """Give up gaps that were waited for long enough; of very many windows the rest comes with the next call.

        Returns:
            The series that went on, and the windows that are complete without what is missing.
        """
        moved: list[tuple[SeriesKey, list[Window]]] = []
        made = 0
        for entry, cuts in chain(self._expired(now), self._strands.expire(now, self._overdue)):
            moved.append((entry.key, [window_of(entry.route, entry.key, cut) for cut in cuts]))
            self._note_gap(entry)
            self._overdue.pop(entry.key, None)
            made += sum([EACH + cut.values.nbytes for cut in cuts])
            if made >= self._patience.cut:
                return moved
        self._overdue.clear()
        return moved

    def _expired(self, now: float) -> Iterator[tuple[Entry, list[Cut]]]:
        """The series of one run of rows that go on, and what is cut of them."""
        for key in list(self._gaps):
            entry = self._entries[key]
            series = entry.series
            if entry.strand is not None:
                continue
            patient = series.patient and (series.next_row > 0 or key not in self.lost)
            wait = self._patience.gap_receipts if patient else self._patience.gap
            cuts: list[Cut] = []
            overdue = False
            while series.gap_since is not None and (key in self._overdue or now - series.gap_since >= wait):
                cuts += series.give_up(now, "held_rows" if key in self._overdue else "gap")
                overdue = True
            if overdue:
                yield entry, cuts

    def _whole(self, route: Route, topic: DataTopic, seen: Observation, now: float, wall: float) -> Taken:
        wanted = route.manifest.input.rows
        if len(seen.values) != wanted:
            raise Refused(
                "shape", f"{len(seen.values)} rows; a whole window of {route.model} has {wanted}", seq=seen.seq
            )
        first = seen.seq
        if first is None or topic.device == "_infer":  # two askers may use the same row number
            key, first = SeriesKey(*topic, self._new_epoch()), first or 0
            name = window_id(key, first, route.model)
        else:
            key = key_of(topic, seen.epoch)
            name = window_id(key, first, route.model)
            known = name in self._seen or name in self._seen_before
            self.remember(name)
            if known:
                return Taken(key, first, [], known=name)
        t, t_source = seen.t, _DEVICE
        if t is None:
            t, _, t_source = stamp(route.manifest, seen, wall)
        window = Window(
            name, key, first, seen.values, t, t_source, now, route.model, seen.lane, now + route.deadline
        )  # fmt: skip
        return Taken(key, first, [window])

    def _find(self, feed: Feed, epoch: str, seq: int | None) -> Entry:
        entry = feed.entry
        if entry is None or not entry.used or seq is None or entry.key.epoch != epoch or entry.route is not feed.route:
            entry = feed.entry = self._search(feed.route, feed.source, epoch, seq)
        self._uses += 1
        entry.used = self._uses
        return entry

    def _search(self, route: Route, topic: DataTopic, epoch: str, seq: int | None) -> Entry:
        numbered = seq is not None
        if not numbered:
            who = (topic.site, topic.device, topic.stream)
            epoch = self._numbering.get(who) or self._new_epoch()
            self._numbering[who] = epoch
        key = SeriesKey(topic.site, topic.device, topic.stream, epoch)
        entry = self._entries.get(key) or self._back(key, route)
        if entry is None:
            shape = route.manifest.input
            series = Series(shape.rows, shape.hop, max_held=self._patience.held(shape))
            entry = Entry(key, series, route, numbered, route.via)
            self._entries[key] = entry
            self._use(entry)
            self._evict()
        else:
            if entry.route is not route:
                if entry.route.model != route.model:  # its windows have another shape
                    raise Refused(
                        "no_route", f"{topic.stream} of {topic.device} goes to {entry.route.model} already", seq=seq
                    )
                turn(entry, route)
        return entry

    def _use(self, entry: Entry) -> None:
        self._uses += 1
        entry.used = self._uses

    def _back(self, key: SeriesKey, route: Route) -> Entry | None:
        """A series that was pushed out goes on; None if it is not remembered."""
        entry = self.pushed_out.take(key, route.model)
        if entry is None:
            return None
        if entry.series.given is not None and entry.series.given.ahead(entry.series.next_row):
            self._strands.strand(entry, 0.0)  # it is heard of in a moment
        self.restore(entry)
        self._evict()
        return entry

    def _evict(self) -> None:
        while len(self._entries) > self._patience.series:
            entry = self._idle.pop(self._entries.values())
            key = entry.key
            entry.used = 0
            del self._entries[key]
            self._held -= self._gaps.pop(key, 0)
            self._strands.forget(key)
            who = (key.site, key.device, key.stream)
            if self._numbering.get(who) == key.epoch:
                del self._numbering[who]
            self.pushed_out.add(entry)
            self.evicted.append(key)
