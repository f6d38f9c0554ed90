"""Events in, estimates out: RTT, loss, goodput, queueing and outage from what the traffic tells anyway."""

from __future__ import annotations

from collections import deque
from functools import singledispatchmethod
from typing import TYPE_CHECKING

from bridge.link.estimate import Estimate, Leg
from bridge.link.events import (
    PROTOCOLS,
    Acked,
    Connected,
    Disconnected,
    GivenUp,
    Protocol,
    Resent,
    Sent,
    TcpInfo,
)
from bridge.link.flights import Flights
from bridge.link.goodput import Goodput
from bridge.link.loss import Loss
from bridge.link.path import Path
from bridge.link.timeline import Timeline, seconds

if TYPE_CHECKING:
    from bridge.link.events import Event, MessageId
    from bridge.link.flights import Flight

MOST_SIZE = 2**31  # bytes of a message; what is beyond is a mistake
UNCLEAR = 64  # messages whose answer could not be attributed yet
STALE = 30.0  # seconds by which the other protocol may be fresher before its round trips are taken for both


class Estimator:
    """Takes events, hands out estimates. Never raises on an event, however odd; memory is bounded."""

    def __init__(self) -> None:
        self._time = Timeline()
        self._flights = Flights()
        self._paths: dict[Protocol, Path] = {one: Path(datagrams=one == "coap") for one in PROTOCOLS}
        self._loss = Loss()
        self._goodput = Goodput()
        self._unclear: deque[tuple[Flight, list[float]]] = deque(maxlen=UNCLEAR)
        self._given_up: deque[Flight] = deque(maxlen=UNCLEAR)
        self._deaf_until = float("-inf")
        self._tcp: tuple[TcpInfo, float] | None = None

    def on(self, event: Event) -> None:
        """Takes one event; those of the past second may come out of order."""
        self._on(event, self._read(event.at))

    def estimate(self, now: float) -> Estimate:
        """The path at `now`, seconds of the events' clock."""
        now = self._read(now)
        for protocol, path in self._paths.items():
            path.watch(now, self._other(protocol).heard)
        limited = self._goodput.limited(now)
        legs = {protocol: self._leg(protocol, now, limited=limited) for protocol in PROTOCOLS}
        heard = max(self._paths.values(), key=lambda path: path.heard)
        return Estimate(
            mqtt=legs["mqtt"],
            coap=legs["coap"],
            loss=self._loss.rate,
            loss_trials=self._loss.trials,
            spell=self._loss.spell,
            goodput=self._goodput.rate,
            goodput_known=self._goodput.known,
            queueing=heard.queueing(limited=limited),
            outage=self._outage(heard.heard),
        )

    def _outage(self, heard: float) -> bool:
        """Somebody waits in vain, and nobody heard anything since."""
        silent = [path.out_since for path in self._paths.values() if path.out_since is not None]
        return bool(silent) and heard <= max(silent)

    def _leg(self, protocol: Protocol, now: float, *, limited: bool) -> Leg:
        """Without fresh round trips of its own, a protocol borrows the other's."""
        path, other = self._paths[protocol], self._other(protocol)
        own = path if path.sampled >= other.sampled - STALE else other
        return path.leg(own, now, limited=limited)

    def _other(self, protocol: Protocol) -> Path:
        return self._paths["coap" if protocol == "mqtt" else "mqtt"]

    def _read(self, at: float) -> float:
        now, jumped = self._time.read(at)
        if jumped:
            self._flights.untime()
            for path in self._paths.values():
                path.jumped(now)
        return now

    @singledispatchmethod
    def _on(self, event: Event, now: float) -> None:
        raise NotImplementedError  # pragma: no cover

    @_on.register
    def _(self, event: Sent, now: float) -> None:
        if self._flights.get(event.message) is not None:
            self._again(event.message, now)
            return
        size = min(max(event.size, 0), MOST_SIZE)
        path = self._paths[event.protocol]
        path.watch(now)
        path.sent(now)
        pushed = self._flights.sent(event.message, event.protocol, size, now, probe=event.probe)
        if pushed is not None:
            self._paths[pushed.protocol].ended(now)

    @_on.register
    def _(self, event: Resent, now: float) -> None:
        self._again(event.message, now)

    def _again(self, message: MessageId, now: float) -> None:
        flight = self._flights.again(message, now)
        if flight is not None:
            path = self._paths[flight.protocol]
            path.watch(now)
            path.trip.expired(now)

    @_on.register
    def _(self, event: GivenUp, now: float) -> None:
        flight = self._flights.end(event.message)
        if flight is not None:
            path = self._paths[flight.protocol]
            path.watch(now)
            path.ended(now)
            patience = path.trip.srtt or path.trip.plain_rto  # given up sooner, it was refused: that is no loss
            waited = now - flight.volleys[-1][0] >= patience
            if path.out_since is None and waited and flight.protocol == "coap":
                self._given_up.append(flight)  # lost only if its peer is heard again

    @_on.register
    def _(self, event: Acked, now: float) -> None:
        flight = self._flights.end(event.message)
        if flight is None:
            return
        path = self._paths[flight.protocol]
        path.watch(now)
        if path.out_since is not None:
            self._deaf_until = now
        if flight.protocol == "coap":
            self._judge_given_up(outage=path.out_since is not None)
        path.ended(now)
        path.answered(now)
        if flight.timed:
            self._timed(flight, path, now, event.transmission)

    def _timed(self, flight: Flight, path: Path, now: float, transmission: int | None) -> None:
        delays = [seconds(now - at) for at, _ in flight.volleys]
        if not flight.probe:
            steady, deep = path.steady(delays[0]), path.deep(delays[0])
            self._goodput.acked(now, flight.volleys[0][0], flight.size, flight.carried, steady=steady, deep=deep)
        told = None if transmission is None or transmission < 1 else flight.volley_of(transmission)
        index = path.trip.attribute(delays, told)
        if index is None:
            if flight.volleys[0][0] < self._deaf_until:
                return  # repeated because of an outage, which is no round trip
            self._unclear.append((flight, delays))
            if path.trip.starved(delays):
                self._sample(flight, path, now, delays[0])
            return
        self._sample(flight, path, now, delays[index])
        self._judge(flight, index)

    def _sample(self, flight: Flight, path: Path, now: float, rtt: float) -> None:
        """A clean round trip: it also judges the answers that could not be attributed before."""
        path.sample(now, rtt, flight.size)
        while self._unclear:
            unclear, delays = self._unclear.popleft()
            self._judge(unclear, min(range(len(delays)), key=lambda each: abs(delays[each] - rtt)))

    def _judge(self, flight: Flight, index: int) -> None:
        """Volleys before `index` were missed, that one was answered, later ones were sent in vain and tell nothing."""
        if flight.protocol == "mqtt" or flight.volleys[0][0] < self._deaf_until:
            return  # TCP hides its losses, TcpInfo tells them; an outage is no loss rate
        self._missed(flight, index)
        at, copies = flight.volleys[index]
        self._loss.volley(at, copies, answered=True)
        if index == 0:
            self._loss.outcome(flight.number, at, lost=False)

    def _judge_given_up(self, *, outage: bool) -> None:
        """The peer is heard: what was given up before was lost, on a path that carries; an outage tells nothing."""
        while self._given_up:
            flight = self._given_up.popleft()
            if not outage:
                self._missed(flight, len(flight.volleys))

    def _missed(self, flight: Flight, volleys: int) -> None:
        for index, (at, copies) in enumerate(flight.volleys[:volleys]):
            if flight.protocol == "coap" and at >= self._deaf_until:
                self._loss.volley(at, copies, answered=False)
                if index == 0:
                    self._loss.outcome(flight.number, at, lost=True)

    @_on.register
    def _(self, event: Connected, now: float) -> None:
        path = self._paths[event.protocol]
        path.up = True
        path.answered(now)
        if event.protocol == "mqtt":
            self._tcp = None

    @_on.register
    def _(self, event: Disconnected, now: float) -> None:
        self._flights.drop(event.protocol)
        path = self._paths[event.protocol]
        path.watch(now)
        path.dropped()

    @_on.register
    def _(self, event: TcpInfo, now: float) -> None:
        path = self._paths["mqtt"]
        path.kernel(now, seconds(event.rttvar))
        path.watch(now)
        before, self._tcp = self._tcp, (event, now)
        if before is None or path.out_since is not None or before[1] < self._deaf_until:
            return  # what is repeated in an outage is no loss rate
        segments = event.segments - before[0].segments
        if 0 < segments <= MOST_SIZE:
            lost = min(max(event.retransmitted - before[0].retransmitted, 0), segments)
            arrived = float(segments) if lost == 0 else 0.0
            self._loss.counted(now, float(lost), float(segments), arrived=arrived)
