"""Rows that were sent before they are on disk, until they are. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.store.outbox import Append, Change, Release


class Early:
    """See the module; there are some only within one call, unless the disk refuses them."""

    def __init__(self) -> None:
        self._append: Append | None = None
        self._held: list[Release] = []

    def __bool__(self) -> bool:
        return self._append is not None

    def begin(self, append: Append) -> None:
        """These rows are sent."""
        self._append = append

    def holds(self, releases: Sequence[Release]) -> bool:
        """Whether what is to be forgotten must wait: it may not be on disk yet."""
        if self._append is None:
            return False
        self._held += releases
        return True

    def is_all(self, changes: Sequence[Change]) -> bool:
        """Whether a commit was of these rows alone."""
        return len(changes) == 1 and changes[0] is self._append

    def end(self) -> list[Release]:
        """They are on disk; returns what was held."""
        held, self._append, self._held = self._held, None, []
        return held
