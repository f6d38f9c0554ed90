"""Arithmetic on inclusive ranges of row numbers. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

Range: TypeAlias = tuple[int, int]


def union(ranges: Iterable[Range]) -> list[Range]:
    """The same rows as sorted ranges that neither overlap nor touch; ranges that end before they begin are nothing."""
    found: list[Range] = []
    for first, last in sorted(one for one in ranges if one[0] <= one[1]):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def subtract(ranges: Iterable[Range], gone: Iterable[Range]) -> list[Range]:
    """The rows of `ranges` that are in none of `gone`, as `union` writes them."""
    left = union(ranges)
    for first, last in union(gone):
        left = [
            part
            for start, stop in left
            for part in ((start, min(stop, first - 1)), (max(start, last + 1), stop))
            if part[0] <= part[1]
        ]
    return union(left)


def text(ranges: Iterable[Range], most: int = 8) -> str:
    """Ranges for a person: `0–24, 50, … (3 more)`."""
    found = union(ranges)
    words = [f"{first}–{last}" if first != last else str(first) for first, last in found[:most]]
    return ", ".join(words) + (f", … ({len(found) - most} more)" if len(found) > most else "")
