"""Whether messages come through: since when they do not, and how long to hold them back. Pure: `now` is given.

An overloaded bridge (CoAP's 5.03, a broker's exceeded quota) holds everything back, by whichever way it said so: behind
all ways is the same bridge, and what one of them is asked to spare it the other would only bring. That costs freshness
for a bounded time, and no row. What nobody takes of one stream (a broker's ACL, a route that the bridge lacks) holds
back that stream alone.
"""

from __future__ import annotations

from edge_agent import backoff

LONGEST_WAIT = 60.0  # seconds, whatever is asked for: RFC 7252's where nothing is, and a bridge that is back is found


class Hold:
    """Until when the other side is not to be asked again, because it said no.

    Attributes:
        until: monotonic seconds.
    """

    def __init__(self) -> None:
        self.until = float("-inf")
        self._times = 0
        self._since = float("-inf")

    def begin(self, asked: float, sent: float, now: float, dice: float) -> float:
        """It said so of a message that was sent then, and asks for so many seconds.

        Asked for less than is asked for a hot loop, so it is at least what `backoff` says, which doubles from 0.5…1 s
        to 15…30 s while the answers go on; at most `LONGEST_WAIT`. Answers to messages that were under way together
        are one.

        Returns:
            Seconds from now for which nothing is sent.
        """
        if sent >= self._since:
            self._times += 1
            self._since = now
        wait = min(LONGEST_WAIT, max(asked, backoff.delay(self._times + 1, dice)))
        self.until = max(self.until, now + wait)
        return self.until - now

    def answered(self, sent: float) -> None:
        """It took a message that was sent then, or refused it for what it says."""
        if sent >= self._since:
            self._times = 0


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
        self._hold = Hold()  # by what the other side said
        self._again_at = float("-inf")  # by what became of messages
        self._failures = 0
        self._failed_at = float("-inf")

    def held_until(self) -> float:
        """Monotonic seconds before which nothing is to be sent."""
        return max(self._hold.until, self._again_at)

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

    def overloaded(self, asked: float, sent: float, now: float, dice: float) -> float:
        """The other side has too much to do; see `Hold.begin`."""
        return self._hold.begin(asked, sent, now, dice)

    def answered(self, sent: float) -> None:
        """A message that was sent then was not too much."""
        self._hold.answered(sent)

    def is_spared(self, now: float) -> bool:
        """Whether it was overloaded a moment ago, until a minute after it was held back for that."""
        return now < self._hold.until + LONGEST_WAIT

    def _lose(self, since: float) -> None:
        since = max(since, self._heard)  # what came through later shows that the way was open
        self._lost_at = since if self._lost_at is None else min(self._lost_at, since)

    def _back(self, now: float) -> float:
        lost, self._lost_at = self._lost_at, None
        return 0.0 if lost is None else now - lost
