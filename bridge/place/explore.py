"""Asking a cloud that is not worth asking, now and then: only so does the bridge learn that it has recovered.

Such a question is a shadow: the bridge answers the window at once, and the cloud's answer is only learned from.
"""

from __future__ import annotations

import math


class Explore:
    """A budget of shadow questions: a share of the windows the cloud is passed over for, and one in `every` seconds.

    Args:
        share: of the windows passed over; 0: never.
        every: seconds after which one is due whatever the share, so that few windows do not mean no news.
    """

    __slots__ = ("_asked", "_credit", "_every", "_share")

    def __init__(self, share: float = 0.02, every: float = 1.0) -> None:
        self._share = share
        self._every = every
        self._credit = 0.0
        self._asked = -math.inf

    def due(self, now: float) -> bool:
        """Whether the cloud is to be asked about this window, which it was passed over for; call it once for each.

        Args:
            now: monotonic seconds.
        """
        if self._share <= 0.0:
            return False
        self._credit = min(1.0, self._credit + self._share)
        if now < self._asked:  # the clock went back
            self._asked = now
        return self._credit >= 1.0 or not now - self._asked < self._every

    def counted(self, now: float) -> None:
        """A shadow question was asked."""
        self._credit = 0.0
        self._asked = now
