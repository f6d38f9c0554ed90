"""A warning that a flood cannot turn into a flood of log lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging


class Seldom:
    """Logs the first of its warnings at once, later ones at most every `every` seconds and with their number."""

    def __init__(self, log: logging.Logger, *, every: float = 10.0) -> None:
        """Silent so far.

        Args:
            log: where to.
            every: seconds between two lines.
        """
        self._log = log
        self._every = every
        self._next = float("-inf")
        self._silent = 0

    def warn(self, text: str, *, now: float) -> None:
        """Log it, or count it until a line is due again.

        Args:
            text: what happened.
            now: monotonic seconds.
        """
        if now < self._next:
            self._silent += 1
            return
        more = f" (and {self._silent} more since the last such line)" if self._silent else ""
        self._log.warning("%s%s", text, more)
        self._next = now + self._every
        self._silent = 0
