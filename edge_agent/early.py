"""Rows that were sent before they are on disk, until they are. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from bridge.store.outbox import Piece
from bridge.store.pieces import trim

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.store.outbox import Append, Change, Release


class Early:
    """See the module; there are some only within one call, unless the disk refuses them."""

    def __init__(self) -> None:
        self._append: Append | None = None
        self._first = 0
        self._held: list[Release] = []

    def __bool__(self) -> bool:
        return self._append is not None

    def begin(self, append: Append, first: int) -> None:
        """These rows are sent, under numbers from this one on."""
        self._append, self._first = append, first

    def rows(self, series: int, first: int, last: int) -> Piece | None:
        """Those of rows `first`…`last` that are not on disk yet; they are the last of all."""
        append = self._append
        if append is None or append.series != series:
            return None
        whole = Piece(self._first, append.values, append.t, append.dt)
        return trim(whole, first, last) if whole.first <= last and first <= whole.last else None

    def hold(self, releases: Sequence[Release]) -> Sequence[Release]:
        """What of these can be forgotten now: all but rows that are not on disk yet, which are kept here."""
        if self._append is None:
            return releases
        return [part for one in releases for part in self._on_disk(one)]

    def is_all(self, changes: Sequence[Change]) -> bool:
        """Whether a commit was of these rows alone."""
        return len(changes) == 1 and changes[0] is self._append

    def end(self) -> list[Release]:
        """They are on disk; returns what was held."""
        held, self._append, self._held = self._held, None, []
        return held

    def _on_disk(self, release: Release) -> Iterable[Release]:
        """The part of it before those rows."""
        append, first = self._append, self._first
        if append is None or release.series != append.series or release.last < first:
            return [release]
        self._held.append(replace(release, first=max(release.first, first)))
        return [replace(release, last=first - 1)] if release.first < first else []
