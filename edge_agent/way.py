"""Whether messages come through: since when they do not, and how long to hold them back. Pure: `now` is given."""

from __future__ import annotations

from edge_agent import backoff


class Way:
    """The way to the bridge as the sender sees it.

    Args:
        now: monotonic seconds.

    Attributes:
        up: the uplink says that it is open.
        was_up: it was open before.
    """

    def __init__(self, now: float) -> None:
        self.up = False
        self.was_up = False
        self._lost_at: float | None = now
        self._heard = now
        self._held_until = float("-inf")  # by what the other side said
        self._again_at = float("-inf")  # by what became of messages
        self._failures = 0
        self._failed_at = float("-inf")

    def held_until(self) -> float:
        """Monotonic seconds before which nothing is to be sent."""
        return max(self._held_until, self._again_at)

    def open(self, now: float) -> float:
        """The uplink is open; returns the seconds for which nothing came through before.

        It has its own back-off between two connections, so what failed on the one before holds nothing back.
        """
        self.up = self.was_up = True
        self._failures, self._again_at = 0, float("-inf")
        return self._back(now)

    def close(self, oldest: float, now: float) -> None:
        """The uplink is closed; `oldest`: when the message longest under way was sent."""
        self.up = False
        self._lose(min(oldest, now))

    def failed(self, sent: float, now: float, dice: float) -> None:
        """Nobody knows what became of a message that was sent then.

        Messages that were under way together fail together: that is one failure, however large the window.
        """
        if self.up and sent >= self._failed_at:
            self._failures += 1
            self._failed_at = now
            self._again_at = max(self._again_at, now + backoff.delay(self._failures, dice))
        self._lose(sent)

    def passed(self, now: float) -> float:
        """A message came through; returns as `open`."""
        self._failures = 0
        away = self._back(now) if self.up else 0.0
        self._heard = now
        return away

    def hold(self, until: float) -> None:
        """Nothing is to be sent before."""
        self._held_until = max(self._held_until, until)

    def _lose(self, since: float) -> None:
        since = max(since, self._heard)  # what came through later shows that the way was open
        self._lost_at = since if self._lost_at is None else min(self._lost_at, since)

    def _back(self, now: float) -> float:
        lost, self._lost_at = self._lost_at, None
        return 0.0 if lost is None else now - lost
