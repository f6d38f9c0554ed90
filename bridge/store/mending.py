"""Series of a journal that lost records: what they say they have, and have not any more. Pure.

Rows below `next_row` count as known, so nobody sends them again, and windows are cut of them: where some are missing,
they are given up as `damaged`, and the windows that need them are passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

from bridge.store.records import GivenUp, Saved, SavedRows, SavedSegment, SavedSeries

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.messages import SeriesKey

DAMAGED = "damaged"  # the rule by which such rows are given up
Span: TypeAlias = "tuple[int, int]"  # first row, row after the last


def mended(saved: Saved) -> list[tuple[SavedSeries, list[Span]]]:
    """Series of which rows are missing, brought up to date, and which rows these are."""
    rows: dict[SeriesKey, list[SavedRows]] = {}
    for one in saved.rows:
        rows.setdefault(one.key, []).append(one)
    found = []
    for series in saved.series:
        have = sorted((one.first, one.first + len(one.values)) for one in rows.get(series.key, ()))
        mended_one, lost = _mend(series, have)
        if lost:
            found.append((mended_one, lost))
    return found


def _mend(series: SavedSeries, have: list[Span]) -> tuple[SavedSeries, list[Span]]:
    have = sorted([*have, *((one.first, one.end) for one in series.skipped)])
    first = _holes(series.next_window, series.next_row, have)
    later = [_mend_later(part, have) for part in series.later]
    lost = _joined([*first, *(hole for _, holes in later for hole in holes)])
    given_up = [GivenUp(low, end, DAMAGED) for low, end in lost]
    return msgspec.structs.replace(
        series,
        next_window=max(series.next_window, first[-1][1]) if first else series.next_window,
        skipped=tuple(sorted((*series.skipped, *given_up), key=lambda one: one.first)),
        given_up=series.given_up + sum(end - low for low, end in lost),
        later=tuple(part for part, _ in later),
    ), lost


def _mend_later(part: SavedSegment, have: list[Span]) -> tuple[SavedSegment, list[Span]]:
    head = _holes(part.begin, min(part.keep, part.next_row), have)
    own = _holes(part.next_window, part.next_row, have)
    keep = min(part.keep, head[0][0]) if head else part.keep
    start = own[-1][1] if own else part.next_window
    return msgspec.structs.replace(part, keep=keep, next_window=start), [*head, *own]


def _holes(first: int, end: int, have: Iterable[Span]) -> list[Span]:
    """What of these rows is missing; the ranges are sorted."""
    found = []
    for low, high in have:
        if low >= end:
            break
        if low > first:
            found.append((first, low))
        first = max(first, high)
    if first < end:
        found.append((first, end))
    return found


def _joined(spans: Iterable[Span]) -> list[Span]:
    found: list[Span] = []
    for low, end in sorted(spans):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((low, end))
    return found
