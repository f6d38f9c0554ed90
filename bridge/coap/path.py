"""When to send which datagram to one destination: the learned time-out, the window, the prober. Pure: `now` is given.

* A datagram is repeated after the learned time-out, then after 1.5 times as long each time, at most 1 s. Nothing is
  backed off while other datagrams are answered: then single ones got lost. Some of these repetitions go as two.
* Nor in a silence of less than 1 s, as often as earlier repetitions turned out to be needed: then it is a fade.
* As soon as something sent later is acknowledged, the back-off of what was sent before is void: the path carries, and
  the plain time-out after its last sending it counts as lost (the idea of RACK, RFC 8985).
* When nothing is heard for 3 time-outs and 1 s, the path is dead: one datagram probes it, all others pause. Whatever is
  heard first releases them, as many as the window allows.
"""

from __future__ import annotations

import bisect
import collections
import itertools
from typing import TYPE_CHECKING

from bridge.coap.budget import Budget
from bridge.coap.congestion import Window
from bridge.link.smoothing import MOST_RTO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.coap.rto import RoundTrip

BACK_OFF = 1.5
LONGEST_S = 1.0
"""Longest wait between two sendings, unless the round trip itself is longer."""

FRESH_RTOS = 2.0
"""Time-outs since the last answer within which the path carries: what is missed then is missed alone."""

COPIES, MOST_COPIES = 0.07, 3.0
"""Repetitions that go as two datagrams, earned by each datagram that one sending was enough for. Rows are put in order
at the bridge, so what is lost twice delays what follows too, and decides the 98th percentile."""

HASTE, MOST_HASTE = 8.0, 48.0
"""Repetitions without back-off in a silence, earned by each that was needed; one that seems spurious forfeits them."""

PUNCTUAL = 0.9
"""Share of a round trip before which no answer to a repetition is expected."""

SILENCE_S = 1.0
SILENCE_RTOS = 3
PROBE_S = 0.5
"""Shortest wait between two probes."""

_RECENT = 32  # round trips of which the least is what the path takes
_STALLS = 3  # back-offs in a row after which time-outs count as congestion


class Exchange:
    """One datagram that is to be acknowledged.

    Attributes:
        transmit: sends it.
        repeats: whether it is repeated when no acknowledgement comes; otherwise it is forgotten then.
        sent: when it was sent, seconds, each time.
        due: when to send it again.
    """

    __slots__ = ("_delay", "due", "order", "repeats", "sent", "transmit")

    def __init__(self, transmit: Callable[[], None], *, repeats: bool = True) -> None:
        self.transmit = transmit
        self.repeats = repeats
        self.sent: list[float] = []
        self.due = float("inf")
        self.order = 0
        self._delay = 0.0

    def sent_at(self, now: float, first_delay: float) -> None:
        """Note a sending and when the next is due, by the back-off."""
        cap = max(LONGEST_S, first_delay)
        self._delay = min(max(self._delay * BACK_OFF, first_delay), cap)
        self.sent.append(now)
        self.due = now + self._delay

    def forgive(self) -> None:
        """Begin the back-off anew."""
        self._delay = 0.0


class Path:
    """All datagrams that one destination is to acknowledge.

    Call `poll` after each other method and at `next_due`; send what it returns.
    """

    def __init__(self, most: int, trip: RoundTrip) -> None:
        """Describe the path.

        Args:
            most: datagrams in flight, at most.
            trip: the estimate of the round trip; fed here.
        """
        self._trip = trip
        self._window = Window(most)
        self._order = itertools.count()
        self._flying: dict[Exchange, None] = {}
        self._waiting: list[Exchange] = []
        self._copies = Budget(COPIES, MOST_COPIES)
        self._haste = Budget(HASTE, MOST_HASTE)
        self._prober: Exchange | None = None
        self._dead = False
        self._silent_since = 0.0
        self._heard = float("-inf")
        self._last_sent = float("-inf")
        self._last_sample = float("-inf")
        self._recent: collections.deque[float] = collections.deque(maxlen=_RECENT)
        self._provisional = 0.0
        self._unusual = 0
        self._revived = float("-inf")
        self._backed_off = 0
        self._last_back_off = float("-inf")

    @property
    def is_dead(self) -> bool:
        """Whether nothing has been heard for so long that only one datagram probes."""
        return self._dead

    @property
    def window(self) -> int:
        """Datagrams that may be in flight."""
        return self._window.size

    @property
    def in_flight(self) -> int:
        """Datagrams sent and neither acknowledged nor paused."""
        return len(self._flying)

    @property
    def next_due(self) -> float | None:
        """When to call `poll` next, seconds; None: only after another call."""
        return min((exchange.due for exchange in self._flying), default=None)

    def begin(self, exchange: Exchange) -> None:
        """A new datagram is to be sent."""
        exchange.order = next(self._order)
        self._waiting.append(exchange)

    def leave(self, exchange: Exchange) -> None:
        """Nobody waits for that datagram's acknowledgement any more."""
        self._flying.pop(exchange, None)
        if exchange in self._waiting:
            self._waiting.remove(exchange)
        if self._prober is exchange:
            self._prober = None

    def answered(self, exchange: Exchange, now: float) -> None:
        """A datagram was acknowledged, at `now`."""
        in_flight = len(self._flying)
        self.leave(exchange)
        revived = self._dead
        self._dead, self._prober, self._silent_since, self._heard = False, None, now, now
        if not exchange.sent:
            return
        if len(exchange.sent) == 1:
            self._copies.earn()
        seconds = self._round_trip(exchange.sent, now)
        if seconds is not None:
            self._learn(seconds, now, in_flight)
            self._overtaken(exchange.sent[0])
        elif not self._is_usual(exchange.sent, now):
            self._suspect(exchange.sent, now)
        elif revived:
            self._backed_off = 0
        elif self._was_needed(exchange.sent[-1], now):
            self._trip.needed()
            self._haste.earn()
            self._overtaken(exchange.sent[-1])
        if revived:
            self._revived = now
            self._window.restart()
            self._overtaken(now)
        self._window.answered(limited=bool(self._waiting))

    def poll(self, now: float) -> list[Exchange]:
        """Which datagrams to send now, in this order, one that is there twice two times; they count as sent."""
        late = self._late(now) if self._flying else []
        if late:
            self._judge(late, now)
        ready = [each for exchange in late for each in self._again(exchange, now)]
        if self._dead:
            ready.extend(self._probe(now))
        else:
            while self._waiting and len(self._flying) < self._window.size:
                ready.append(self._waiting.pop(0))
                self._fly(ready[-1], now)
        return ready

    def _late(self, now: float) -> list[Exchange]:
        """What is due, the oldest first; a time-out that was learned since the sending counts, if it is longer."""
        late = sorted((e for e in self._flying if e.due <= now), key=lambda e: e.order)
        if not self._dead:
            patience = max(self._trip.rto_s, self._provisional)
            for exchange in late:
                exchange.due = max(exchange.due, exchange.sent[-1] + patience)
        return [exchange for exchange in late if exchange.due <= now]

    def _round_trip(self, sent: list[float], now: float) -> float | None:
        """The round trip, if it is certain which sending was answered (Karn's rule).

        With this exception: too soon after all repetitions, sooner than any answer of late, it can only be the first.
        Without it a round trip that has become longer than the time-out would never be learned.
        """
        return now - sent[0] if len(sent) == 1 or now - sent[1] < self._soonest() else None

    def _soonest(self) -> float:
        """Seconds before which no answer can come, by the last round trips: their mean alone follows outliers."""
        srtt = self._trip.srtt_s
        return 0.0 if srtt is None else PUNCTUAL * min((srtt, *self._recent))

    def _is_usual(self, sent: list[float], now: float) -> bool:
        """Whether the answer to one of the sendings would have come at its usual time."""
        known = self._trip.srtt_s is not None
        return known and any(self._soonest() <= now - at <= self._trip.rto_s for at in sent)

    def _was_needed(self, last: float, now: float) -> bool:
        """Whether an answer is so surely one to the last repetition that what was sent before must have been lost."""
        srtt = self._trip.srtt_s
        return srtt is not None and PUNCTUAL * srtt <= now - last <= self._trip.rto_s

    def _suspect(self, sent: list[float], now: float) -> None:
        """The round trip seems to have become longer, nobody knows how much; until it is learned, wait longer.

        At first the last sending is taken for the one that was answered, then, answer by answer, one further back.
        """
        self._unusual += 1
        self._haste.forfeit()
        recent = [at for at in sent if at >= self._revived] or sent[-1:]
        longer = BACK_OFF * (now - recent[-min(self._unusual, len(recent))])
        self._provisional = min(max(self._provisional, longer), MOST_RTO)  # each makes the next longer: bounded

    def _learn(self, seconds: float, now: float, in_flight: int) -> None:
        self._trip.sample(seconds)
        self._recent.append(seconds)
        self._window.sample(seconds, now, in_flight)
        self._provisional = 0.0
        self._unusual = 0
        self._backed_off = 0
        self._last_sample = now

    def _overtaken(self, sent: float) -> None:
        """Something sent at that time has arrived: what was sent before is late, not backed off."""
        for exchange in self._flying:
            if exchange.sent and exchange.sent[-1] < sent:
                exchange.due = min(exchange.due, exchange.sent[-1] + self._trip.rto_s)
                exchange.forgive()

    def _first_delay(self, *, plain: bool) -> float:
        rto = self._trip.rto_s
        backed_off = 0 if plain else self._backed_off
        return max(min(rto * BACK_OFF**backed_off, max(LONGEST_S, rto)), self._provisional)

    def _judge(self, late: Iterable[Exchange], now: float) -> None:
        """Is it these datagrams that are late, or the path?"""
        if now - self._silent_since >= max(SILENCE_RTOS * self._trip.rto_s, SILENCE_S):
            self._dead = True
        known = max(self._last_sample, self._last_back_off)
        if not self._fades(now) and any(exchange.sent and exchange.sent[-1] >= known for exchange in late):
            self._last_back_off = now
            self._backed_off = min(self._backed_off + 1, 16)
            if self._backed_off >= _STALLS:
                self._window.stalled()

    def _again(self, exchange: Exchange, now: float) -> list[Exchange]:
        """How a late datagram is to be repeated now: once, twice or not at all."""
        if not exchange.repeats and exchange.sent:
            self.leave(exchange)
            return []
        if self._dead:
            if self._prober not in (None, exchange):
                del self._flying[exchange]
                exchange.forgive()
                bisect.insort(self._waiting, exchange, key=lambda e: e.order)
                return []
            self._prober = exchange
        copies = 2 if self._doubles(now) else 1
        self._fly(exchange, now)
        return [exchange] * copies

    def _doubles(self, now: float) -> bool:
        """Whether a repetition goes as two datagrams: only single ones get lost, no queue stands, copies are left."""
        srtt = self._trip.srtt_s
        return self._carries(now) and srtt is not None and self._window.is_clear(srtt) and self._copies.spend()

    def _probe(self, now: float) -> list[Exchange]:
        """On a dead path: the oldest datagram takes over if there is no prober."""
        if self._prober is not None or not self._waiting:
            return []
        self._prober = exchange = self._waiting.pop(0)
        if self._last_sent + self._probe_interval() <= now:
            self._fly(exchange, now)
            return [exchange]
        self._flying[exchange] = None
        exchange.due = self._last_sent + self._probe_interval()
        return []

    def _fly(self, exchange: Exchange, now: float) -> None:
        if not self._flying and not self._dead:
            self._silent_since = now
        self._flying[exchange] = None
        self._last_sent = now
        plain = self._carries(now) or (bool(exchange.sent) and self._fades(now) and self._haste.spend())
        if plain:
            exchange.forgive()
        exchange.sent_at(now, self._first_delay(plain=plain))
        if self._dead:
            exchange.due = now + self._probe_interval()

    def _carries(self, now: float) -> bool:
        """Whether something was heard so lately that only single datagrams can have been lost."""
        return now - self._heard < FRESH_RTOS * self._trip.rto_s

    def _fades(self, now: float) -> bool:
        """Whether a silence is taken for one that ends soon: single datagrams got lost before it."""
        return now - self._heard < SILENCE_S and self._haste.is_left

    def _probe_interval(self) -> float:
        return min(max(self._trip.rto_s, PROBE_S), LONGEST_S)
