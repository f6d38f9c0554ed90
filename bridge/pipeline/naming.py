"""Observations → rows of a series, and what is cut from them → windows; what is said of rows that come too late."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from bridge.errors import Refused
from bridge.messages import SeriesKey, Window, window_id
from bridge.pipeline.series import Chunk

if TYPE_CHECKING:
    from bridge.catalog import Manifest
    from bridge.messages import Observation
    from bridge.pipeline.routes import Route
    from bridge.pipeline.series import Cut, Series
    from bridge.topics import DataTopic

REMEMBERED = 16_384  # series whose key is known without making it


@lru_cache(maxsize=REMEMBERED)
def key_of(topic: DataTopic, epoch: str) -> SeriesKey:
    """The key of a series, as one object while it is remembered: what finds itself needs no comparison of names."""
    return SeriesKey(*topic, epoch)


def window_of(route: Route, key: SeriesKey, cut: Cut) -> Window:
    """What was cut, with its name and until when an answer helps."""
    return Window(
        window_id(key, cut.seq, route.model), key, cut.seq, cut.values, cut.t, cut.t_source, cut.arrived, route.model,
        cut.lane, cut.arrived + route.deadline,
    )  # fmt: skip


def late_rows(series: Series, first: int, end: int) -> tuple[int, int] | None:
    """Which of the rows, inclusive, had been given up.

    Raises:
        Refused: `malformed` for rows far beyond the known ones, `stale` where nothing new follows the late ones.
    """
    if series.too_far(first, end):
        raise too_far(first, series.next_row)
    found = series.skipped(first, end)
    if found is not None and end <= series.next_row:
        raise stale(found, first)
    return found


def too_far(first: int, wanted: int) -> Refused:
    """What is told of a message whose first row was `first`, where `wanted` is the next one."""
    detail = f"row {first} is far beyond row {wanted}, the next one; a new numbering needs a new epoch"
    return Refused("malformed", detail, seq=first)


def stale(late: tuple[int, int], first: int) -> Refused:
    """What is told of late rows, inclusive, of a message whose first row was `first`."""
    return Refused(
        "stale",
        f"rows {late[0]}–{late[1]} came after their gap had been given up; a restarted numbering needs a new epoch",
        seq=first,
    )


def chunk_of(manifest: Manifest, seen: Observation, first: int, now: float, wall: float) -> Chunk:
    """Rows as a series takes them, the first one's number being `first`."""
    t, dt, t_source = stamp(manifest, seen, wall)
    return Chunk(first, seen.values, t, dt, t_source, now, seen.lane)


def stamp(manifest: Manifest, seen: Observation, wall: float) -> tuple[float, float, Literal["device", "bridge"]]:
    """Time of the first row, seconds between rows, and who stamped them."""
    dt = seen.dt if seen.dt is not None else 1.0 / manifest.input.rate_hz
    if seen.t is None:
        return wall - (len(seen.values) - 1) * dt, dt, "bridge"
    return seen.t, dt, "device"
