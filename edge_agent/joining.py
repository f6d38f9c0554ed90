"""Rows that came one by one, joined before they are written: a blob costs 15 µs, however few rows it holds. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bridge.store.outbox import Append, End, Release
from edge_agent.sampler import TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Joined(msgspec.Struct, frozen=True):
    """What to write for what was given.

    Attributes:
        changes: in order.
        places: for each change given, which of `changes` holds it, and how many rows into that it begins.
    """

    changes: list[Append | End]
    places: list[tuple[int, int]]


def join(given: Sequence[Append | End]) -> Joined:
    """Joins appends to one series that follow each other, in number and in time."""
    if len(given) == 1:
        return Joined(list(given), [(0, 0)])
    groups: list[list[Append | End]] = []
    newest: dict[int, int] = {}  # of each series, its last group
    places: list[tuple[int, int]] = []
    rows: list[int] = []  # of each group
    for change in given:
        at = newest.get(change.series)
        count = len(change.values) if isinstance(change, Append) else 0
        if at is None or not _follows(groups[at], change, rows[at]):
            at = newest[change.series] = len(groups)
            groups.append([])
            rows.append(0)
        groups[at].append(change)
        places.append((at, rows[at]))
        rows[at] += count
    return Joined([_one(group) for group in groups], places)


def merged(releases: Iterable[Release]) -> list[Release]:
    """Joins releases of one series whose ranges follow each other."""
    found: list[Release] = []
    for one in releases:
        last = found[-1] if found else None
        if last is not None and (last.series, last.rule, last.last + 1) == (one.series, one.rule, one.first):
            found[-1] = msgspec.structs.replace(last, last=one.last)
        else:
            found.append(one)
    return found


def _follows(group: list[Append | End], change: Append | End, rows: int) -> bool:
    head = group[0]
    if not (isinstance(head, Append) and isinstance(change, Append)) or change.skip:
        return False
    if (head.dt, head.align, head.values.shape[1]) != (change.dt, change.align, change.values.shape[1]):
        return False
    if head.t is None or change.t is None:
        return head.t is change.t
    return head.dt is not None and abs(change.t - (head.t + rows * head.dt)) <= TOLERANCE * head.dt


def _one(group: list[Append | End]) -> Append | End:
    head = group[0]
    if len(group) == 1 or not isinstance(head, Append):
        return head
    values = np.concatenate([one.values for one in group if isinstance(one, Append)])
    return msgspec.structs.replace(head, values=values)
