"""Is the broker there? Keep-alive (MQTT 5 section 3.1.2.10), and sooner questions while something is under way."""

from __future__ import annotations

import math

from bridge.errors import LinkError

ANSWER_WITHIN = 2.0  # seconds of silence after a publish before we ask with a PINGREQ
PONG_WITHIN = 5.0  # seconds that the PINGRESP may take; a broker that is there answers in a round trip
ACK_WITHIN = 30.0  # seconds a PUBACK may take: Mosquitto 2.0.11 loses some when it drops packets of a full queue
OVERTAKEN_WITHIN = 3.0  # the same where later ones are here: they come in order (section 4.6), so that this one is lost


class Liveness:
    """Watches one connection after another. Pure: time comes in.

    Args:
        keep_alive: seconds; 0 for none.
        pong_within: seconds that the PINGRESP may take.

    Attributes:
        keep_alive: seconds; 0 for none: then only what is under way is asked about.
        sent: when we wrote last, in monotonic seconds.
        received: when the broker did.
    """

    def __init__(self, keep_alive: int, pong_within: float = PONG_WITHIN) -> None:
        self.keep_alive = keep_alive
        self._pong_within = pong_within
        self.sent = 0.0
        self.received = 0.0
        self._pinged: float | None = None  # PINGREQ without an answer yet
        self._oldest: tuple[int, float] | None = None  # first message under way, and since when it is the first
        self._acknowledged = 0  # publishes when it became that
        self._overtaken_at = math.inf  # when more were found to be

    def begin(self, now: float) -> None:
        """A new connection."""
        self.sent = self.received = now
        self._pinged = self._oldest = None

    def deaf(self, now: float) -> None:
        """The owner does not read the socket: silence proves nothing."""
        self.received = now
        self._oldest = None

    def check(self, now: float) -> None:
        """Look whether anything came at all.

        Raises:
            LinkError: nothing came from the broker for one and a half keep-alives.
        """
        if self.keep_alive and now - self.received > 1.5 * self.keep_alive:
            raise LinkError(f"nothing heard from the broker for {now - self.received:.0f} s")

    def asks(self, now: float, first: int | None, acknowledged: int) -> bool:
        """Whether a PINGREQ is to leave now.

        Args:
            now: monotonic seconds.
            first: packet id of the first publish under way, if any.
            acknowledged: how many publishes were acknowledged so far.

        Raises:
            LinkError: the connection is half-open or stuck.
        """
        self._await_first(now, first, acknowledged)
        silent = now - self.received
        if self._pinged is not None and silent < now - self._pinged:
            self._pinged = None
        if self._pinged is not None:
            if now - self._pinged > self._pong_within:
                raise LinkError(f"no answer to a ping for {self._pong_within:.0f} s")
            return False
        longest = 0.75 * self.keep_alive or math.inf
        patience = longest if first is None else min(ANSWER_WITHIN, longest)
        if silent < patience and now - self.sent < longest:
            return False
        self._pinged = now
        return True

    def _await_first(self, now: float, first: int | None, acknowledged: int) -> None:
        """Look how long the first publish under way waits, and how long behind others that were acknowledged."""
        if first is None or self._oldest is None or self._oldest[0] != first:
            self._oldest = None if first is None else (first, now)
            self._acknowledged, self._overtaken_at = acknowledged, math.inf
            return
        if now - self._oldest[1] > ACK_WITHIN:
            raise LinkError(f"a publish was not acknowledged for {ACK_WITHIN:.0f} s")
        if acknowledged > self._acknowledged:
            self._overtaken_at = min(self._overtaken_at, now)
        if now - self._overtaken_at > OVERTAKEN_WITHIN:
            raise LinkError(f"later publishes were acknowledged, and one was not for {OVERTAKEN_WITHIN:.0f} s")
