"""What is known of the path through one protocol: its round trips, its silence, its connection."""

from __future__ import annotations

from bridge.link.estimate import Leg
from bridge.link.roundtrip import RoundTrip

LEAST_SILENCE, SILENT_RTOS = 1.0, 3.0  # seconds, timers: nothing acknowledged for the greater is an outage
LEAST_DOUBT, DOUBTFUL_RTOS = 0.4, 2.0  # the same of datagrams, while the other protocol is answered
STEADY = (0.25, 0.01)  # of the recent least round trip, and seconds: the greater counts as noise
DEEP = 0.2  # seconds beyond the least round trip, and beyond twice that one: no path wanders so far, a queue does
SIZE_MEMORY = 1 / 16  # weight of a message in the mean size
KERNEL_FRESH = 5.0  # seconds that a TCP_INFO sample counts


class Path:
    """One protocol's part of the estimate; local seconds throughout.

    Attributes:
        trip: its round trips.
        up: its connection stands, or it needs none.
        heard: when the peer was last heard this way.
        sampled: when the last round trip was measured.
        out_since: since when nothing comes back; None: no outage.

    Args:
        datagrams: each message is repeated for itself, so that a silence tells soon. TCP's may be one lost segment
            that holds back everything until it is repeated.
    """

    def __init__(self, *, datagrams: bool = False) -> None:
        self._datagrams = datagrams
        self.trip = RoundTrip()
        self.up = True
        self.heard = self.sampled = float("-inf")
        self.out_since: float | None = None
        self._open = 0
        self._waiting: float | None = None
        self._unheard = 0.0
        self._size = 0.0
        self._kernel: tuple[float, float] | None = None

    def sent(self, now: float) -> None:
        """One more message is under way."""
        self._open += 1
        if self._waiting is None:
            self._waiting = now - self._unheard

    def ended(self, now: float) -> None:
        """One less is, whatever became of it; silence counts on when the next one leaves."""
        self._open = max(0, self._open - 1)
        if self._open == 0 and self._waiting is not None:
            self._unheard = max(0.0, now - self._waiting)
            self._waiting = None

    def answered(self, now: float) -> None:
        """The peer was heard: no outage, or its end."""
        self.heard = max(self.heard, now)
        self.out_since = None
        self._unheard = 0.0
        self._waiting = now if self._open else None

    def dropped(self) -> None:
        """The connection is gone; an outage that goes on stays one."""
        self.up = False
        self._open = 0
        self._waiting, self._unheard = None, 0.0

    def jumped(self, now: float) -> None:
        """The clock jumped: silence is counted anew."""
        self.out_since, self._unheard = None, 0.0
        self._waiting = now if self._open else None

    def watch(self, now: float, beside: float = float("-inf")) -> None:
        """Notices an outage: silence of max(3 RTO, 1 s) with something under way, of datagrams sooner beside an answer.

        Loss and fades meet both protocols. If the other is heard although it was asked as late as this one was missed,
        it is this one that does not get through.

        Args:
            now: local seconds.
            beside: when the other protocol was last heard.
        """
        if self._waiting is None or self.out_since is not None:
            return
        patience = max(SILENT_RTOS * self.trip.plain_rto, LEAST_SILENCE)
        if self._datagrams and beside >= self._waiting + (self._doubt if self._was_heard else 0.0):
            patience = self._doubt
        if now - self._waiting > patience:
            self.out_since = self._waiting

    def doubtful(self, now: float) -> bool:
        """Silent for so long that an answer of the other protocol would decide."""
        return self._datagrams and self._waiting is not None and now - self._waiting > self._doubt

    @property
    def _was_heard(self) -> bool:
        return self.heard > float("-inf")

    @property
    def _doubt(self) -> float:
        """Seconds; who was never heard has no time-out, but a connection takes longer than a first answer."""
        return max(DOUBTFUL_RTOS * self.trip.plain_rto, LEAST_DOUBT) if self._was_heard else LEAST_DOUBT

    def sample(self, now: float, rtt: float, size: int) -> None:
        """One clean round trip of a message of so many bytes."""
        self._size += (size - self._size) * (SIZE_MEMORY if self.trip.samples else 1.0)
        self.trip.measured(now, rtt)
        self.sampled = max(self.sampled, now)

    def steady(self, rtt: float) -> bool:
        """Hardly longer than the least of the last 30 s: no queue stands. A full one is as even as an empty one."""
        if not self.trip.samples:
            return False
        least = self.trip.far.minimum
        return rtt <= least + max(STEADY[0] * least, STEADY[1])

    def deep(self, rtt: float) -> bool:
        """So much longer than the least of the last 30 s that a queue must stand."""
        if not self.trip.samples:
            return False
        least = self.trip.far.minimum
        return rtt - least > max(least, DEEP)

    def kernel(self, now: float, rttvar: float) -> None:
        """TCP_INFO: its variation knows no held-back answers."""
        self._kernel = (now, rttvar)

    def base(self, *, limited: bool) -> float:
        """Round trip of the empty path: the recent least, or the far one while we ourselves keep a queue standing."""
        return (self.trip.far if limited else self.trip.near).minimum

    def queueing(self, *, limited: bool) -> float:
        """Seconds in queues, both ways: smoothed round trip − that of the empty path."""
        return max(0.0, self.trip.srtt - self.base(limited=limited)) if self.trip.samples else 0.0

    def leg(self, own: Path, now: float, *, limited: bool) -> Leg:
        """As a predictor needs it.

        Args:
            own: whose round trips to take.
            now: local seconds.
            limited: we ourselves fill the path.
        """
        silent = now - self.out_since if self.out_since is not None else 0.0
        state = Leg(
            up=self.up,
            out=self.out_since is not None,
            heard=max(0.0, now - self.heard),
            silent=silent,
            doubtful=self.doubtful(now),
        )
        trip = own.trip
        if not trip.samples:
            return state
        return Leg(
            up=state.up,
            out=state.out,
            heard=state.heard,
            silent=state.silent,
            doubtful=state.doubtful,
            samples=self.trip.samples,
            rtt=max(trip.near.median, trip.near.minimum),  # of rounded means
            min_rtt=trip.near.minimum,
            base=own.base(limited=limited),
            jitter=own.jitter(now, limited=limited),
            srtt=trip.srtt,
            rttvar=trip.rttvar,
            rto=trip.rto,
            size=own._size,
        )

    def jitter(self, now: float, *, limited: bool) -> float:
        """Seconds that 95 % of the one-way delays stay within of the least.

        For a symmetric spread the 95 % point lies about twice as far from the least as the median; half of the round
        trip's is one way's, and no more than half the range: after a step the window holds both. Our own queue is none.
        """
        if limited:
            return 0.0
        near = self.trip.near
        jitter = min(near.median - near.minimum, (near.maximum - near.minimum) / 2)
        if self._kernel is not None and now - self._kernel[0] <= KERNEL_FRESH:
            jitter = min(jitter, self._kernel[1])
        return max(0.0, jitter)
