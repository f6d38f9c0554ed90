"""Lines in the log that a flood cannot turn into a flood of lines."""

from __future__ import annotations

import logging


class Seldom:
    """Logs the first `most` of its lines at once, as many again each `every` seconds, and how many it left out."""

    def __init__(self, log: logging.Logger, *, every: float = 10.0, most: int = 1) -> None:
        """Silent so far.

        Args:
            log: where to.
            every: seconds, from the first of so many lines until further ones are logged.
            most: lines in that time.
        """
        self._log = log
        self._every = every
        self._most = most
        self._left = 0
        self._next = float("-inf")
        self._silent = 0

    def warn(self, text: str, *, now: float) -> None:
        """A warning; see `say`."""
        self.say(text, now=now, level=logging.WARNING)

    def say(self, text: str, *, now: float, level: int = logging.INFO) -> None:
        """Log it, or count it until a line is due again.

        Args:
            text: what happened.
            now: monotonic seconds.
            level: of `logging`.
        """
        if now >= self._next:
            self._next, self._left = now + self._every, self._most
        if not self._left:
            self._silent += 1
            return
        self._left -= 1
        more = f" (and {self._silent} more since the last such line)" if self._silent else ""
        self._log.log(level, "%s%s", text, more)
        self._silent = 0
