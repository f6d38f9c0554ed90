"""Journal records ↔ what the pipeline works with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from bridge.errors import Refused
from bridge.ledger.account import BRIDGE_RULES, FORGOTTEN, MODEL
from bridge.messages import Answer, Placement, SeriesKey, Tier, Window
from bridge.pipeline.entries import Entry
from bridge.pipeline.given import Given
from bridge.pipeline.pushed_out import give_up
from bridge.pipeline.series import Chunk, Series
from bridge.pipeline.turn import Decided
from bridge.ranges import count, minus, numbers
from bridge.store.records import (
    Changes,
    Saved,
    SavedResult,
    SavedRows,
    SavedSegment,
    SavedSeries,
    SavedTail,
    SavedWindow,
    packed,
)
from bridge.topics import DataTopic, parse_result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.pipeline.later import Later
    from bridge.pipeline.routes import Route, RouteTable
    from bridge.pipeline.window import Windower

NO_ROWS = np.empty((0, 0), np.float32)


def source(key: SeriesKey) -> DataTopic | None:
    """Whose rows a series holds; None for `_infer`."""
    return None if key.device == "_infer" else DataTopic(key.site, key.device, key.stream)


def placement(tier: Tier, reason: str) -> Placement:
    """A placement that depended on the cloud."""
    return Placement(tier, reason, firm=False)


def save_window(
    window: Window, local: Answer | None, why: str, *, now: float, wall: float, via: str, provisional: bool = False
) -> SavedWindow:
    """A window that came by that route and waits for a lane (no answer yet) or for the cloud, as the journal has it."""
    return SavedWindow(
        id=window.id,
        key=window.key,
        seq=window.seq,
        data=window.values.astype("<f4", copy=False).tobytes(),
        channels=window.values.shape[1],
        t=window.t,
        t_source=window.t_source,
        arrived=wall - (now - window.arrived),
        model=window.model,
        lane=window.lane,
        patience=window.deadline - window.arrived,
        local=local,
        why=why,
        reply_to=window.reply_to,
        correlation=window.correlation,
        provisional=provisional,
        via=via,
    )


def load_window(saved: SavedWindow, *, now: float, wall: float) -> Window:
    """The same window after a restart, with its patience begun anew; not where a provisional Result promised a time."""
    patience = saved.patience
    if saved.provisional:
        patience = min(patience, saved.arrived + patience - wall)
    return Window(
        id=saved.id,
        key=saved.key,
        seq=saved.seq,
        values=np.frombuffer(saved.data, "<f4").reshape(-1, saved.channels),
        t=saved.t,
        t_source=saved.t_source,
        arrived=now - max(0.0, wall - saved.arrived),
        model=saved.model,
        lane=saved.lane,
        deadline=now + patience,
        reply_to=saved.reply_to,
        correlation=saved.correlation,
    )


def route_of(window: Window, via: str, table: RouteTable) -> Route:
    """The route of a window of an earlier life that came by the route of that filter.

    Raises:
        Refused: `no_route` or `shape`: it cannot be computed any more.
    """
    route = table.for_window(window.key, window.model, via)
    if route is None:
        raise Refused("no_route", f"no route goes to {window.model} any more", seq=window.seq)
    rows, channels = route.manifest.input.rows, len(route.manifest.input.channels)
    if window.values.shape != (rows, channels):
        raise Refused("shape", f"cut before {window.model} took windows of {rows} × {channels}", seq=window.seq)
    return route


def load_provisional(saved: SavedWindow, window: Window, local: Answer) -> Decided:
    """The provisional Result that an earlier life promised, and maybe published: to be published, maybe once more."""
    return Decided(
        window, local, placement("bridge", saved.why), saved.arrived, journalled=True, provisional=True
    )  # fmt: skip


def load_decided(saved: SavedResult) -> Decided | None:
    """A window that waits for earlier ones, without its rows; None for an answer to `_infer`, which never does."""
    topic, result = parse_result(saved.topic), saved.result
    if topic is None:
        return None
    key = SeriesKey(topic.site, result.device, result.stream, result.epoch)
    source: Literal["device", "bridge"] = "device" if result.t_source == "device" else "bridge"
    window = Window(result.id, key, result.seq, NO_ROWS, result.t, source, 0.0, result.model, result.lane, 0.0)
    answer = Answer(result.label, result.score, result.version, "")
    said = placement(result.tier, result.reason)
    return Decided(window, answer, said, saved.arrived, result.local, journalled=True, whole=True, rev=result.rev)


def still_open(saved: Saved, was_published: Callable[[str], bool]) -> tuple[Saved, list[str]]:
    """Without the questions that were answered and published: a damaged journal may have forgotten that they were.

    Returns:
        What is to be taken up; ids of those questions.
    """
    answered = [one.id for one in saved.asked if was_published(one.id)]
    if not answered:
        return saved, []
    return msgspec.structs.replace(saved, asked=[one for one in saved.asked if one.id not in answered]), answered


def in_order(saved: Saved) -> list[SavedWindow | SavedResult]:
    """What an earlier life did not bring to an end: series as they began, each lane of them by rows.

    Rows and not times of arrival, for a clock may have been set back meanwhile.
    """
    named: list[tuple[tuple[str, ...], float, int, SavedWindow | SavedResult]] = [
        *(((*msgspec.structs.astuple(one.key), one.lane), one.arrived, one.seq, one) for one in saved.asked),
        *((_name(one), one.arrived, one.result.seq, one) for one in saved.results),
    ]
    begun: dict[tuple[str, ...], float] = {}
    for name, arrived, _, _ in named:
        begun[name] = min(arrived, begun.get(name, arrived))
    named.sort(key=lambda each: (begun[each[0]], each[2]))
    return [one for _, _, _, one in named]


def _name(saved: SavedResult) -> tuple[str, ...]:
    result, topic = saved.result, parse_result(saved.topic)
    return "" if topic is None else topic.site, result.device, result.stream, result.epoch, result.lane


def save(entries: Iterable[Entry], kept: list[tuple[Entry, Chunk]], changes: Changes) -> None:
    """Note what the journal is to have of these series.

    Args:
        entries: series whose state changed.
        kept: new rows, in the order in which they came; those of other series, pushed out since, are void.
        changes: where to note it.
    """
    newest = dict(kept)
    apart: set[Entry] = set()
    add = changes.tails.append
    for entry in entries:
        chunk, series = newest.get(entry), entry.series
        tail = None if chunk is None or entry.strand is not None else series.all_of(chunk)
        if tail is None:
            apart.add(entry)
            changes.series.append(save_series(entry))
            continue
        given, values = series.given, tail.values
        add(
            SavedTail(
                entry.key, entry.route.model, entry.numbered, series.next_row, series.next_window,
                () if given is None else tuple(given.ranges), series.windows, 0 if given is None else given.rows,
                entry.via, tail.first, packed(values), values.shape[1], tail.t, tail.dt, tail.t_source, tail.lane,
            )
        )  # fmt: skip
    if apart:
        changes.rows.extend([_save_rows(entry.key, chunk) for entry, chunk in kept if entry in apart])


def _save_rows(key: SeriesKey, chunk: Chunk) -> SavedRows:
    return SavedRows(key, chunk.first, chunk.values, chunk.t, chunk.dt, chunk.t_source, chunk.lane)


def save_series(entry: Entry) -> SavedSeries:
    """How far a series was cut, as the journal keeps it."""
    series, given, strand = entry.series, entry.series.given, entry.strand
    if given is None:
        return SavedSeries(
            entry.key, entry.route.model, entry.numbered, series.next_row, series.next_window, (), series.windows,
            0, (), entry.via,
        )  # fmt: skip
    return SavedSeries(
        entry.key,
        entry.route.model,
        entry.numbered,
        series.next_row,
        series.next_window,
        tuple(given.ranges),
        series.windows if strand is None else strand.windows,
        given.rows,
        () if strand is None else tuple(map(_save_later, strand.later)),
        entry.via,
    )


def note_forgotten(entries: Iterable[Entry]) -> None:
    """The journal was lost: whether rows before the first that came of these series came earlier, nobody knows."""
    for entry in entries:
        given = entry.series.given
        if given is not None and given.ranges and given.ranges[0].why in BRIDGE_RULES:
            given.rename_first(FORGOTTEN)


def _save_later(part: Later) -> SavedSegment:
    return SavedSegment(part.begin, part.keep, part.next_row, part.next_window)


def _load_series(kept: SavedSeries, route: Route, windower: Windower, now: float) -> Entry:
    shape = route.manifest.input
    start = -(-kept.next_window // shape.hop) * shape.hop  # a changed hop moves the next window, never back
    series = Series(shape.rows, shape.hop, next_row=kept.next_row, next_window=start, max_held=windower.held(shape))
    series.windows = kept.windows
    entry = Entry(kept.key, series, route, kept.numbered, route.via)
    if kept.skipped or kept.given_up:
        series.given = Given(kept.skipped, kept.given_up)
    if not kept.windows:  # an earlier version did not count them: begin with what fits into the rows that came
        gone = [(one.first, one.end - 1) for one in kept.skipped]
        series.windows = count(numbers(minus([(0, kept.next_row - 1)], gone), shape.rows, shape.hop))
    if kept.later or (series.given is not None and series.given.ahead(kept.next_row)):
        strand = windower.strand(entry, now)
        for segment in kept.later:
            strand.restore_later(segment)
    return entry


def take_up_series(saved: Saved, table: RouteTable, windower: Windower, *, now: float) -> Changes:
    """Hand journalled series and rows to the windower.

    Returns:
        What is to change in the journal: series that no route takes any more go; of those whose model takes other
        channels than their rows have, the rows go, given up.
    """
    entries: dict[SeriesKey, Entry] = {}
    changes = Changes()
    for kept in saved.series:
        route = table.of(kept.key, kept.model, kept.via)
        if route is None:
            changes.forgotten.append(kept.key)
            continue
        entries[kept.key] = _load_series(kept, route, windower, now)
    unfit: dict[SeriesKey, Entry] = {}
    for rows in saved.rows:
        entry = entries.get(rows.key)
        if entry is None:
            continue
        chunk = Chunk(rows.first, rows.values, rows.t, rows.dt, rows.t_source, now, rows.lane)
        (entry.strand or entry.series).restore(chunk, now)
        if rows.values.shape[1] != len(entry.route.manifest.input.channels):
            unfit[rows.key] = entry
    for key, entry in unfit.items():
        give_up(entry, MODEL)
        _note_ahead(entry, windower, now)
        changes.forgotten.append(key)  # with its rows
        changes.series.append(save_series(entry))
    for entry in entries.values():
        windower.restore(entry)
    return changes


def _note_ahead(entry: Entry, windower: Windower, now: float) -> None:
    """Rows given up beyond those known need a strand, which passes over them."""
    series = entry.series
    if entry.strand is None and series.given is not None and series.given.ahead(series.next_row):
        windower.strand(entry, now)
