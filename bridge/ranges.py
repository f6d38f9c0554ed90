"""Arithmetic on inclusive ranges of row numbers. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

Range: TypeAlias = tuple[int, int]

SHOWN = 8


def union(ranges: Iterable[Range]) -> list[Range]:
    """The same rows as sorted ranges that neither overlap nor touch; ranges that end before they begin are nothing."""
    found: list[Range] = []
    for first, last in sorted(one for one in ranges if one[0] <= one[1]):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def minus(ranges: Iterable[Range], gone: Iterable[Range]) -> list[Range]:
    """The rows of `ranges` that are in none of `gone`, as `union` writes them; one walk along both."""
    left: list[Range] = []
    away = union(gone)
    at = 0
    for first, last in union(ranges):
        start = first
        while at < len(away) and away[at][1] < start:
            at += 1
        i = at
        while i < len(away) and away[i][0] <= last:
            if start < away[i][0]:
                left.append((start, away[i][0] - 1))
            start = away[i][1] + 1
            i += 1
        if start <= last:
            left.append((start, last))
    return left


def both(one: Iterable[Range], other: Iterable[Range]) -> list[Range]:
    """The rows that are in both."""
    kept = union(one)
    return minus(kept, minus(kept, other))


def count(ranges: Iterable[Range]) -> int:
    """How many rows; the ranges must not overlap."""
    return sum(last - first + 1 for first, last in ranges)


def text(ranges: Iterable[Range], most: int = SHOWN) -> str:
    """Ranges for a person: `0–24, 50, … (3 more)`."""
    found = union(ranges)
    words = [f"{first}–{last}" if first != last else str(first) for first, last in found[:most]]
    return ", ".join(words) + (f", … ({len(found) - most} more)" if len(found) > most else "")


def numbers(runs: Iterable[Range], rows: int, hop: int) -> list[Range]:
    """The windows that lie wholly within one of the runs, as ranges of numbers; window k has the rows from k · hop on.

    A run first…last holds window k if first ≤ k · hop and k · hop + rows − 1 ≤ last.

    Args:
        runs: rows that are there.
        rows: rows of a window.
        hop: rows from one window to the next.
    """
    return union((-(-first // hop), (last - rows + 1) // hop) for first, last in union(runs))
