"""How fresh, how many bytes, how many messages: what a profile would do on the path as estimated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from bridge.link.roundtrip import GRANULARITY
from bridge.link.smoothing import K
from bridge.link.tails import coap_tail, queue_wait, tcp_rate, tcp_tail, volley_lost

if TYPE_CHECKING:
    from bridge.link.estimate import Estimate, Leg
    from bridge.link.profiles import Limits
    from bridge.link.traffic import Traffic

UNKNOWN_RATE = 125_000.0  # bytes/s believed in while nothing limited us
FULL = 0.97  # utilisation from which queues are held to grow without end
MEAN = 0.25  # of the p95 tail, on average


class Prediction(msgspec.Struct, frozen=True):
    """What is to be expected of a profile.

    Attributes:
        p95: seconds from the birth of a message's oldest row until it is safe at the bridge; infinite above capacity.
        up: bytes a second towards the bridge, retransmissions and copies included.
        down: bytes a second back.
        messages: messages a second.
        transmissions: a message.
        utilisation: of the scarcest of link, window and library; from 0.97 on, queues grow without end.
    """

    p95: float
    up: float
    down: float
    messages: float
    transmissions: float
    utilisation: float

    @property
    def bytes_s(self) -> float:
        """Bytes a second, both ways."""
        return self.up + self.down


class _View:
    """What all profiles of one protocol share on one estimate; `round_trip` is what its retransmissions go by."""

    __slots__ = ("base", "capacity", "jitter", "open", "rate", "round_trip")

    def __init__(self, leg: Leg, rate: float, capacity: float, round_trip: float, *, known: bool) -> None:
        self.open = leg.up and not leg.out
        self.rate = min(rate, capacity)
        self.capacity = capacity
        self.base = max(0.0, leg.base - leg.size / rate) if known else leg.base
        self.jitter = leg.jitter
        self.round_trip = _rounded(round_trip)


def _rounded(value: float) -> float:
    """To two digits: tails are remembered, and noise in the third changes nothing."""
    return float(f"{value:.2g}")


class Predictor:
    """Predictions on one estimate; what profiles share is reckoned once.

    Args:
        limits: what the other sides take.
        estimate: the path.
    """

    def __init__(self, limits: Limits, estimate: Estimate) -> None:
        known = estimate.goodput_known
        rate = max(estimate.goodput if known else max(UNKNOWN_RATE, estimate.goodput), 1.0)
        limit = rate if known else math.inf  # a lower bound rules nothing out
        self._limits = limits
        self._loss = estimate.loss
        self._rounded, self._spell = _rounded(estimate.loss), _rounded(estimate.spell)
        coap, mqtt = estimate.coap, estimate.mqtt
        rto = coap.srtt + max(GRANULARITY, K * coap.rttvar)
        self._coap = _View(coap, rate, limit, rto, known=known)
        through = min(limit, tcp_rate(loss=self._loss, rtt=mqtt.base))
        self._mqtt = _View(mqtt, rate, through, mqtt.base, known=known)
        self._sent: dict[int, float] = {}
        self._tails: dict[tuple[int, int], float] = {}

    def of(self, traffic: Traffic) -> Prediction:
        """What is to be expected of the profile."""
        view = self._coap if traffic.coap else self._mqtt
        transmissions = self._transmissions(traffic)
        service = traffic.once / view.rate
        up = traffic.messages * traffic.once * transmissions + traffic.beside
        busy = up / view.capacity
        flight = view.base * traffic.blocks + service
        p95, utilisation = math.inf, max(busy, self._windows(traffic, flight, transmissions))
        if utilisation < FULL and view.open:
            tail = self._tail(traffic, view)
            utilisation = max(busy, self._windows(traffic, flight + MEAN * tail, transmissions))
            if utilisation < FULL:
                queued = queue_wait(utilisation=busy, service=service)
                before = traffic.profile.longest_wait + traffic.profile.encoding.computing
                p95 = before + flight - view.base / 2 + view.jitter + queued + tail
        return Prediction(p95, up, traffic.down, traffic.messages, transmissions, utilisation)

    def least(self, traffic: Traffic) -> float:
        """Seconds that the profile takes at least; quickly known."""
        view = self._coap if traffic.coap else self._mqtt
        if not view.open or traffic.offered >= FULL * view.capacity:
            return math.inf
        before = traffic.profile.longest_wait + traffic.profile.encoding.computing
        sure = before + (traffic.blocks - 0.5) * view.base + traffic.once / view.rate
        return sure + self._tail(traffic, view) if traffic.coap else sure

    def bytes_s(self, traffic: Traffic) -> float:
        """Bytes a second that the profile takes, both ways, with retransmissions and copies; quickly known."""
        return traffic.messages * traffic.once * self._transmissions(traffic) + traffic.beside + traffic.down

    def _transmissions(self, traffic: Traffic) -> float:
        """Of each message: CoAP repeats until an answer comes, TCP until an acknowledgement of anything later does."""
        copies = traffic.profile.copies
        key = copies if traffic.coap else 0
        if key not in self._sent:
            arrives = 1 - volley_lost(self._loss, self._spell, max(key, 1))
            self._sent[key] = copies / (arrives * (1 - self._loss) if traffic.coap else arrives)
        return self._sent[key]

    def _tail(self, traffic: Traffic, view: _View) -> float:
        if not traffic.coap:
            return tcp_tail(loss=self._rounded, spell=self._spell, rtt=view.round_trip, rate=traffic.messages)
        key = (traffic.profile.copies, traffic.blocks)
        tail = self._tails.get(key)
        if tail is None:
            tail = self._tails[key] = coap_tail(
                loss=self._rounded, spell=self._spell, rto=view.round_trip, copies=key[0], blocks=key[1]
            )
        return tail

    def _windows(self, traffic: Traffic, flight: float, transmissions: float) -> float:
        """How much of the messages allowed under way, or a second, is used; `flight`: seconds that one is under way."""
        under_way = traffic.messages * flight
        if traffic.coap:
            library = traffic.messages * traffic.blocks * transmissions / self._limits.coap_rate
            return max(under_way / self._limits.coap_window, library)
        return under_way / self._limits.receive_maximum if traffic.profile.transport == "mqtt-1" else 0.0
