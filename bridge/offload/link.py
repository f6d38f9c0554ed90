"""The connection to the cloud's broker as its traffic shows it: fed to an estimator, looked at, acted upon.

PUBACKs, TCP_INFO and what is in flight go in; out come the estimate that `Choices` chooses by, the kernel's timers of
this connection, and whether it is silent: nothing heard for three round trips and a second with something under way.
While it is silent no window is put to the cloud. Whether the link is gone or only this connection is half-open, a
second one tells: where that is taken, the kernel had time to repeat, and the loss does not explain the silence, the
silent one is replaced.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bridge import tcp
from bridge.link import Estimate, Estimator
from bridge.link.events import Acked, Connected, Disconnected, GivenUp, Sent
from bridge.link.tails import KERNEL_EXTRA
from bridge.offload.belief import Belief

if TYPE_CHECKING:
    from bridge.mqtt.connection import Connection
    from bridge.offload.choosing import Choices

log = logging.getLogger("bridge.offload")

TICK: Final = 0.1  # seconds between two looks while something moves
BUSY: Final = 5.0  # seconds after a message that count so
KERNEL_EVERY: Final = 0.5  # seconds between two TCP_INFOs
TRIPS, BEYOND = 3.0, 1.0  # round trips, seconds: silence of their sum is noticed
KNOCK_EVERY: Final = 1.0  # seconds between two connections tried, and for which each is
EXPLAINED: Final = 1e-3  # chance that so many repetitions are lost in a row, below which loss is no explanation
THINNEST: Final = 8_000.0  # bytes a second; what is under way may need so long to a broker behind a relay
KEEP_ALIVE: Final = 10.0  # seconds until an idle connection is asked for by the kernel
KEEP_ALIVE_BYTES, KEEP_ALIVE_SHARE = 120, 0.01  # one question of it, both ways; share of the link that they may take
GIVE_UP, GIVE_UP_TIMES = 20.0, 4.0  # seconds at least, and times what the loss explains, until the kernel gives up
CHANGED: Final = 0.25  # share by which a timer must change to be set anew


class _Flight(NamedTuple):
    at: float
    size: int
    carried: int | None = None  # bytes on the wire when it had left


def replace_after(loss: float, rtt: float, repeat: float = tcp.LONGEST_RTO) -> float:
    """Seconds of silence that repetitions lost in a row do not explain; never less than what counts as silence.

    Of a segment and its acknowledgement one is lost with 1 − (1 − p)²; the kernel repeats after RTT + 0.2 s, then
    doubling (RFC 6298 section 5.5) up to `repeat`.

    Args:
        loss: p, of a packet, one way.
        rtt: seconds.
        repeat: seconds after which it repeats at the latest.
    """
    failed = 1 - (1 - min(loss, 0.5)) ** 2
    times = max(1, math.ceil(math.log(EXPLAINED) / math.log(failed))) if failed > 0 else 1
    timer = rtt + KERNEL_EXTRA
    explained = sum(max(timer, min(timer * 2.0**n, repeat)) for n in range(times))
    return max(TRIPS * rtt + BEYOND, explained)


def _differs(timer: float, before: float) -> bool:
    return abs(timer - before) > CHANGED * before


class Link:
    """Watches while something moves; an idle connection is the keep-alive's.

    Args:
        connection: to the cloud's broker.
        choices: told of each estimate.

    Attributes:
        silent: nothing is heard, though something is under way.
    """

    def __init__(self, connection: Connection, choices: Choices) -> None:
        self.silent = False
        self._connection = connection
        self._choices = choices
        self._estimator = Estimator()
        self._belief = Belief(Estimate())
        self._flights: dict[int, _Flight] = {}
        self._number = 0
        self._drained = (0, -math.inf)  # the last message that the peer's kernel had taken, and when that was seen
        self._sent_at = self._kernel_at = self._knocked_at = -math.inf
        self._taken_at: float | None = None  # since when a second connection is taken while this one is silent
        self._give_up, self._repeat = 0.0, tcp.LONGEST_RTO  # of the kernel
        self._timer: asyncio.TimerHandle | None = None
        self._knocking: asyncio.Task[None] | None = None

    # ---- what the traffic tells

    def connected(self, now: float) -> None:
        """A new connection."""
        self._flights.clear()
        self._drained = (self._number, now)
        self.silent, self._taken_at = False, None
        self._give_up, self._repeat = 0.0, tcp.LONGEST_RTO
        self._estimator.on(Disconnected("mqtt", now))
        self._estimator.on(Connected("mqtt", now))
        self._belief.pairs.anew()
        self.look(now)

    def number(self) -> int:
        """A name for the next message."""
        self._number += 1
        return self._number

    def sent(self, number: int, size: int, now: float, *, answered: bool) -> None:
        """A message left.

        Args:
            number: its name.
            size: bytes on the wire.
            now: monotonic seconds.
            answered: the broker acknowledges it.
        """
        self._estimator.on(Sent(number, now, "mqtt", size))
        self._belief.pairs.carried(size)
        if answered:
            told = self._told(now) if self._belief.pairs.curious else None
            self._flights[number] = _Flight(now, size, None if told is None else told.on_wire)
        else:
            self._estimator.on(GivenUp(number, now))  # it fills the link; nothing tells when it arrives
        self._sent_at = now
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def acked(self, number: int, now: float) -> None:
        """The broker acknowledged a message of this connection."""
        flight = self._flights.pop(number, None)
        if flight is None:
            return
        self._estimator.on(Acked(number, now))
        self._belief.answered(now - flight.at, flight.size, now)
        pairs = self._belief.pairs
        if flight.carried is not None:
            pairs.arrived(now, flight.at, flight.carried)
        if number in pairs and pairs.answered(number, flight.size, now, self._repeated(now)):
            self._belief.refute()

    def pair_due(self, now: float) -> bool:
        """Whether the next question is to leave right behind a tiny message: it tells the rate of a thin link."""
        return self._belief.pairs.due(now) and self._connection.socket is not None

    def pair(self, number: int, now: float) -> None:
        """The tiny message before the question of this number left."""
        self._belief.pairs.began(number, now, self._repeated(now))

    def tiny(self, number: int, now: float) -> None:
        """The tiny message before the question of this number was answered."""
        self._belief.pairs.tiny(number, now)

    def _repeated(self, now: float) -> int:
        """Segments that the kernel sent again on this connection."""
        told = self._told(now)
        return 0 if told is None else told.info.retransmitted

    def _told(self, now: float) -> tcp.Look | None:
        sock = self._connection.socket
        return None if sock is None else tcp.look(sock, now)

    # ---- looking

    def _tick(self) -> None:
        now = time.monotonic()
        self._timer = None
        self.look(now)
        if self._connection.connected and (self._flights or self.silent or now - self._sent_at < BUSY):
            self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def look(self, now: float) -> None:
        """Estimate, choose, and see whether the connection still carries."""
        sock, told = self._connection.socket, self._told(now)
        if told is not None and now - self._kernel_at >= KERNEL_EVERY:
            self._kernel_at = now
            self._estimator.on(told.info)
        if self._flights:
            self._belief.waits(now - next(iter(self._flights.values())).at, now)
        estimate = self._belief.look(self._estimator.estimate(now))
        self._choices.look(now, time.time(), estimate, self._connection.session.receive_maximum)
        rtt = estimate.mqtt.rtt if estimate.mqtt.samples or told is None else told.info.rtt
        self._tune(sock, rtt, told)
        self._listen(now, rtt, told)

    def _tune(self, sock: Any, rtt: float, told: tcp.Look | None) -> None:
        estimate = self._belief.estimate
        repeat = tcp.LONGEST_RTO if told is None else tcp.repeat_within(told.info.rtt, told.info.rttvar)
        give_up = max(GIVE_UP, GIVE_UP_TIMES * replace_after(estimate.loss, rtt, repeat))
        if sock is None or not (_differs(give_up, self._give_up) or _differs(repeat, self._repeat)):
            return
        self._give_up, self._repeat = give_up, repeat
        affordable = KEEP_ALIVE_BYTES / (KEEP_ALIVE_SHARE * estimate.goodput) if estimate.goodput_known else 0.0
        idle = max(KEEP_ALIVE, affordable)
        tcp.follow(sock, idle=idle, apart=max(1.0, rtt), give_up=give_up, repeat=repeat)

    def _listen(self, now: float, rtt: float, told: tcp.Look | None) -> None:
        if not self._connection.connected:
            return  # the next one begins anew
        quiet = self._quiet(now, told)
        silent = quiet > TRIPS * rtt + BEYOND - TICK
        if silent != self.silent:
            self.silent = silent
            if silent:
                log.warning("cloud: nothing heard from the broker for %.1f s: no window is put to the cloud", quiet)
            else:
                self._taken_at = None
                log.info("cloud: the broker is heard again")
        if not silent:
            return
        if self._taken_at is None and self._knocking is None and now - self._knocked_at >= KNOCK_EVERY:
            self._knocked_at = now
            self._knocking = asyncio.ensure_future(self._knock())
            self._knocking.add_done_callback(self._knocked)
        if self._taken_at is not None and now - self._taken_at >= self._repeat + 2 * rtt:
            self._replace(quiet, rtt, told)

    def _quiet(self, now: float, told: tcp.Look | None) -> float:
        """Seconds without a sign of life, counted from when one could be expected; 0 with nothing under way."""
        if not self._flights:
            return 0.0
        oldest, flight = next(iter(self._flights.items()))
        since = max(flight.at, self._connection.session.heard_at)
        if told is None:
            return now - since
        if told.held:
            if oldest > self._drained[0]:
                return min(now - since, told.heard_ago)  # our own queue drains: that is life enough
        elif oldest > self._drained[0]:
            self._drained = (self._number, now)
        return now - max(since, self._drained[1])

    async def _knock(self) -> None:
        """Whether a second connection is taken."""
        endpoint = self._connection.endpoint
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(KNOCK_EVERY):
                _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            writer.transport.abort()
            if self.silent:
                self._taken_at = time.monotonic()

    def _knocked(self, task: asyncio.Task[None]) -> None:
        self._knocking = None
        if not task.cancelled():
            task.result()

    def _replace(self, quiet: float, rtt: float, told: tcp.Look | None) -> None:
        patience = replace_after(self._belief.estimate.loss, rtt, self._repeat)
        if told is not None and not told.held:  # a relay took it all, and a thin link may be behind it
            patience += sum(flight.size for flight in self._flights.values()) / THINNEST
        if quiet >= patience:
            self._connection.drop(f"half-open: nothing heard for {quiet:.1f} s, and another connection is taken")

    # ---- telling

    def facts(self) -> dict[str, Any]:
        """For the status: the choice, and the link in words and numbers."""
        facts = self._choices.facts()
        now = {"connected": self._connection.connected, "silent": self.silent}
        in_flight = self._connection.session.bytes_in_flight
        return {**facts, "link": {**facts["link"], **now, "in_flight": in_flight}}
