"""Whether the other end of an MQTT connection is still there. Pure: `now` is given.

TCP alone does not notice a half-open connection: where a NAT forgot it, or a broker's machine died, there is nothing
but silence; where something between acknowledges in the broker's name, there is not even that. So silence counts here
from the moment from which the broker owes an answer, and the measured round trip says how long is long:

* 2 round trips and `MARGIN`: a question of our own (PINGREQ), whose answer waits for nothing;
* 2 round trips and `ASIDE`: another connection is opened beside this one, only to see whether it can be;
* 3 round trips and `NOTICE`: dead, if the broker's kernel acknowledged all that was written by the time of the
  question, or if the other connection came to be at its first SYN. If neither, the network is silent and not this
  connection, as in an outage or under heavy loss: TCP repeats on both, each second where it can be told so. If this
  one is heard first, it goes on; if the other comes to be, this one is dead unless its next repetition is answered.
* 3 round trips and `GONE`: dead. After longer outages live rows are to go before what waited (the sender does that for
  a new connection), and the broker's own TCP has backed off so far that its first PUBACK would take seconds.

Segments that arrive while the broker's kernel lacks some of ours (a lossy or a thin link) are an answer: it repairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from bridge.tcp import LONGEST_RTO, LONGEST_RTT

if TYPE_CHECKING:
    from bridge.tcp import Look

MARGIN = 0.25  # seconds beside 2 round trips: above Linux' least RTO of 0.2 s, so that one loss asks for nothing
ASIDE = 0.5  # seconds beside 2 round trips: early enough to be there one round trip later
NOTICE = 0.85  # seconds beside 3 round trips; the bound is 1, less what a loaded event loop is late by
GONE = 10.0  # seconds beside 3 round trips
FIRST_SYN = 0.3  # seconds beside a round trip in which the first of its SYNs was answered, and not a later one
TICK, SOON = 0.1, 0.01  # seconds between looks once a question is out, at most and at least
LATE = 0.2  # seconds by which a look may be late until the lateness is taken for ours and not the broker's
UNKNOWN = 0.5  # seconds for a round trip of which nothing is known, twice the worst mobile link's
LEAST_PATIENCE, MOST_PATIENCE = 15.0, 60.0
LEAST_MARGIN, LINUX_MARGIN = 0.05, 0.2

Verdict = Literal["wait", "ask", "aside", "mute", "dead"]


def patience(rtt: float, rttvar: float) -> float:
    """TCP_USER_TIMEOUT, in seconds, for a connection with this round trip: 15 s and ten times RFC 6298's RTO.

    The kernel cannot try beside the connection whether the path carries, so it must wait for longer than `GONE`: it is
    the last resort for a process that is held up. At 20 % loss each way one retransmission in three is lost, or its
    answer is: of five in a row, one a second, so much is seen once in 165 repairs, of 15 once in some millions. Above a
    minute hardly a broker keeps its own end (one and a half keep-alives).
    """
    return min(MOST_PATIENCE, LEAST_PATIENCE + 10 * (rtt + 4 * rttvar))


def margin(least: float) -> float:
    """Seconds above the smoothed round trip until TCP retransmits, at least: the least round trip, in 0.05 … 0.2 s.

    Linux' 0.2 s is four round trips of a good mobile link: at 10 % loss that is most of the tail. Below 0.05 s answers
    that the other end delays (40 ms, Linux' TCP_DELACK_MIN) would be taken for lost; on links slower than 0.2 s a queue
    soon takes as long, and nothing is to be gained.
    """
    return min(LINUX_MARGIN, max(LEAST_MARGIN, least))


class Vigil:
    """Watches one connection.

    Args:
        leniency: seconds more before it is dead, where the last ones died without having done much.
    """

    def __init__(self, *, leniency: float = 0.0) -> None:
        self._leniency = leniency
        self._since: float | None = None
        self._answers: float | None = None
        self._rtt: float | None = None
        self._asked = self._mute = False
        self._beside: float | None = None  # when another connection was begun
        self._before: Look | None = None
        self._target: int | None = None

    @property
    def round_trip(self) -> float:
        """Seconds: the kernel's, else that of answers."""
        known = self._answers if self._rtt is None else self._rtt
        return UNKNOWN if known is None else min(known, LONGEST_RTT)

    def owed(self, now: float) -> None:
        """Something left that the broker answers."""
        if self._since is None:
            self._since = now

    def heard(self, now: float, *, more: bool, took: float | None = None) -> None:
        """The broker said something.

        Args:
            now: monotonic seconds.
            more: it still owes an answer.
            took: seconds from a question to this answer.
        """
        self._restart(now if more else None)
        if took is not None:
            self._answers = took if self._answers is None else self._answers + (took - self._answers) / 8

    def excuse(self, seconds: float) -> None:
        """We were held up for so long ourselves, and may not have listened."""
        if self._since is not None:
            self._since += seconds

    def silent(self, now: float) -> float:
        """Seconds for which an answer is owed and nothing was heard."""
        return 0.0 if self._since is None else now - self._since

    def due(self, now: float) -> float | None:
        """Seconds until the next look is worth it; None: nothing is owed."""
        if self._since is None:
            return None
        silent, trip = now - self._since, self.round_trip
        if not self._asked:
            return max(2 * trip + MARGIN - silent, SOON)
        ahead = [one - silent for one in (2 * trip + ASIDE, 3 * trip + NOTICE + self._leniency) if one > silent]
        return max(min([TICK, *ahead]), SOON)

    def look(self, now: float, seen: Look | None, *, opened: float | None) -> Verdict:
        """What is to be done now; "mute": nothing but to know that the network answers nothing at all.

        Args:
            now: monotonic seconds.
            seen: of the kernel; None: it does not tell.
            opened: when the other connection came to be; None: it did not.
        """
        if seen is not None:
            self._rtt = seen.info.rtt
            self._weigh(now, seen)
        if self._since is None:
            return "wait"
        silent, trip = now - self._since, self.round_trip
        if not self._asked and silent >= 2 * trip + MARGIN:
            self._asked = True
            self._target = None if seen is None else seen.written
            return "ask"
        if self._beside is None and silent >= 2 * trip + ASIDE:
            self._beside = now
            return "aside"
        return self._judge(now, silent, seen, opened)

    def _judge(self, now: float, silent: float, seen: Look | None, opened: float | None) -> Verdict:
        taken = seen is not None and self._target is not None and seen.acked >= self._target
        trip = self.round_trip if not taken else max(self.round_trip, min(self._answers or 0.0, LONGEST_RTT))
        if silent < 3 * trip + NOTICE + self._leniency:
            return "wait"
        if taken or silent >= 3 * trip + GONE + self._leniency or self._is_passed_over(now, opened):
            return "dead"
        if self._mute or opened is not None:
            return "wait"
        self._mute = True
        return "mute"

    def _is_passed_over(self, now: float, opened: float | None) -> bool:
        """Whether the other connection shows that the path carries, and had this one been alive, it would have too."""
        if opened is None or self._beside is None:
            return False
        at_once = opened - self._beside <= self.round_trip + FIRST_SYN
        return at_once or now - opened >= self.round_trip + LONGEST_RTO  # the next repetition is answered by then

    def _weigh(self, now: float, seen: Look) -> None:
        """Whether what arrived since the last look is a sign of life."""
        before, self._before = self._before, seen
        if before is None or self._since is None:
            return
        missing = self._target is not None and before.acked < self._target
        if seen.data_in > before.data_in:
            self._restart(now)
        elif missing and seen.segments_in > before.segments_in:
            if self._target is not None and seen.acked < self._target:
                self._restart(now)
            else:  # the broker's kernel has it now: a round trip and half a second for the broker
                self._since = max(self._since, now - 2 * self.round_trip - MARGIN)

    def _restart(self, since: float | None) -> None:
        self._since, self._target, self._before = since, None, None
        self._asked = self._mute = False
        self._beside = None
