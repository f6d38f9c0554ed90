"""When to go back to a protocol that did not get through: soon, and later each time that it was in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.link.events import Protocol

RETURN = 1.0  # seconds away at least; doubled with each relapse
RELAPSE = 10.0  # seconds after a return within which leaving again makes it one in vain
MOST_RELAPSES = 8  # that double


class Returns:
    """Remembers the protocol that was left because it did not get through.

    A probe is four bytes; that it is answered does not say that posts are, so a path may let us come and go for ever.
    """

    def __init__(self) -> None:
        self._away: Protocol | None = None
        self._back: Protocol | None = None
        self._relapses = 0

    def left(self, protocol: Protocol, used: float) -> None:
        """It does not get through, and was in use for so many seconds."""
        in_vain = protocol == self._back and used < RELAPSE
        self._relapses = min(self._relapses + 1, MOST_RELAPSES) if in_vain else 0
        self._away, self._back = protocol, None

    def chosen(self, protocol: Protocol) -> None:
        """It is used from now on, for whatever reason."""
        if protocol == self._away:
            self._away, self._back = None, protocol

    def dwell(self, protocol: Protocol) -> float | None:
        """Seconds to stay away from it; None: it is not the one that was left."""
        return RETURN * 2.0**self._relapses if protocol == self._away else None
