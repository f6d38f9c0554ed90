"""Whether rows get through a way, and not only pings. Pure: `now` is given.

One rule: a way carries only if rows that went over it are confirmed, by the bridge's answer to a CoAP post or by its
receipt for what went over MQTT. Pings, CONNACK, PUBACK and answers that no bridge gives confirm nothing. Where rows
have been under way for `LEAST` seconds, or `ROUND_TRIPS`, beside the time that the link takes for their bytes, and none
was confirmed, the way is *deaf to rows*; so it is after `LONE` seconds if fewer than `FEW` were tried. Only time counts
in which some way is heard: an outage of the link is none of this.

Such a way is left, as one that is silent, where another is heard and carries; else rows go on. After 5, 10, 20 … 60 s
one message tries it again, for a moment, and what it confirms ends it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from edge_agent.silence import is_deaf

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from bridge.link import Estimate, Leg
    from bridge.link.events import Protocol
    from bridge.messages import Error, Receipt
    from edge_agent.uplink import Outcome
    from edge_agent.ways import Message

log = logging.getLogger(__name__)

LEAST, ROUND_TRIPS = 3.0, 8  # seconds, round trips: the greater
LONE, FEW = 8.0, 3  # seconds instead, of fewer attempts: it may be the bridge that is slow with one message
MOST = 60.0  # seconds
SLOWEST = 2_500.0  # bytes a second that a link carries at least whose limit is not known: 20 kbit/s
QUIET, QUIET_TRIPS = 2.0, 3  # seconds, round trips: while no way is heard for the greater, no time counts
LAST_WORDS = 0.4  # seconds, or a round trip, in which answers from before still come
AGAIN, MOST_AGAIN = 5.0, 60.0  # seconds until a deaf way is tried again, at first and at most
TRIAL, TRIAL_TRIPS = 0.5, 4  # seconds, round trips that one message is risked
MOST_KEPT = 256  # messages over MQTT that wait for a receipt


class Record(msgspec.Struct):
    """Of one way, since rows were last confirmed there.

    Attributes:
        since: when rows that are not confirmed began to wait; None: none do.
        tries: messages sent.
        rows: in them.
        largest: bytes of a message.
        said: why the latest failed.
        deaf: in words and numbers why it is taken for deaf; empty: it is not.
        again: when one message may try it.
        failures: how often it was deaf or tried in vain.
        healed: when it last ceased to be deaf.
    """

    since: float | None = None
    tries: int = 0
    rows: int = 0
    largest: int = 0
    said: str = ""
    deaf: str = ""
    again: float = 0.0
    failures: int = 0
    healed: float = float("-inf")

    def postpone(self, now: float) -> float:
        """Seconds until it is tried again."""
        wait = min(MOST_AGAIN, AGAIN * 2.0 ** min(self.failures, 16))
        self.again, self.failures = now + wait, self.failures + 1
        return wait


class Confirming:
    """What becomes of rows on all ways.

    Args:
        ways: there are.
    """

    def __init__(self, ways: Iterable[Protocol]) -> None:
        self._records: dict[Protocol, Record] = {name: Record() for name in ways}
        self._open: dict[object, tuple[Protocol, Message]] = {}
        self._awaited: dict[tuple[str, str, int], None] = {}  # over MQTT, oldest first
        self._alive: frozenset[Protocol] = frozenset()

    def begins(self, carried: object, name: Protocol, message: Message, now: float) -> None:
        """A message is sent this way; `carried` stands for it until it `ends`, whatever it is sent by."""
        if carried in self._open and self._open[carried][0] != name:
            self.ends(carried)
        record = self._records[name]
        if record.since is None:
            record.since = now
        record.tries += 1
        record.rows += 0 if carried in self._open else sum(last - first + 1 for first, last in message.rows)
        record.largest = max(record.largest, len(message.payload))
        self._open[carried] = name, message
        if name == "mqtt":
            self._awaited[_key(message)] = None
            if len(self._awaited) > MOST_KEPT:
                del self._awaited[next(iter(self._awaited))]

    def ends(self, carried: object) -> None:
        """Nobody waits for it there any longer."""
        if carried not in self._open:
            return
        name, message = self._open.pop(carried)
        self._awaited.pop(_key(message), None)
        if not self._waits(name):
            self._records[name].since = None

    def failed(self, name: Protocol, why: str) -> None:
        """A message got no answer of the bridge."""
        self._records[name].said = why

    def answered(self, carried: object, outcome: Outcome, now: float) -> None:
        """By the bridge, unless a broker has taken it, of which the receipt is still to come, or says to wait."""
        name, _ = self._open[carried]
        if outcome.kind == "taken" or (name == "mqtt" and outcome.kind in {"wait", "barred"}):
            del self._open[carried]
            self._records[name].said = outcome.detail
        else:
            self._confirmed(name, now)

    def _confirmed(self, name: Protocol, now: float) -> None:
        record = self._records[name]
        if record.deaf:
            log.info("%s carries rows again", name)
            record.healed = now
        record.since = now if self._waits(name) else None
        record.tries = record.rows = record.largest = 0
        record.said = record.deaf = ""

    def receipt(self, stream: str, receipt: Receipt, now: float) -> None:
        """It confirms what went over MQTT; the bridge publishes it for posts too, which says nothing of MQTT."""
        found = [
            (of, epoch, seq)
            for of, epoch, seq in self._awaited
            if (of, epoch) == (stream, receipt.epoch) and any(first <= seq <= last for first, last in receipt.safe)
        ]
        self._heard_of(found, now)

    def refusal(self, error: Error, now: float) -> None:
        """So does a refusal."""
        self._heard_of([key for key in self._awaited if key[0] == error.stream and error.seq in {key[2], None}], now)

    def _heard_of(self, found: Collection[tuple[str, str, int]], now: float) -> None:
        for key in found:
            del self._awaited[key]
        if found:
            self._confirmed("mqtt", now)

    def look(self, now: float, estimate: Estimate) -> Estimate:
        """The estimate, where ways that are deaf to rows get nothing through if another one does."""
        legs = {name: estimate.leg(name) for name in self._records}
        self._alive = frozenset(name for name, leg in legs.items() if not is_deaf(leg))
        quiet = min(leg.heard for leg in legs.values()) > max(QUIET, *(QUIET_TRIPS * leg.rtt for leg in legs.values()))
        for name, record in self._records.items():
            if quiet and record.since is not None:
                record.since = now
            if record.since is not None and not record.deaf:
                self._judge(name, record, now - record.since, now, estimate)
        if not any(not self._records[name].deaf for name in self._alive):
            return estimate
        for name, record in self._records.items():
            if record.deaf:
                estimate = _without(estimate, name, record.deaf)
        return estimate

    def _judge(self, name: Protocol, record: Record, waited: float, now: float, estimate: Estimate) -> None:
        leg = estimate.leg(name)
        heard = leg.up and leg.heard < waited - max(LAST_WORDS, leg.rtt)
        if not heard or waited < self._patience(name, record, estimate):
            return
        if now - record.healed > MOST_AGAIN:
            record.failures = 0
        wait = record.postpone(now)
        said = f"; last: {record.said}" if record.said else ""
        none = f"none of {record.rows} rows for {waited:.1f} s, {record.tries} attempts"
        record.deaf = f"{name} is heard, but confirmed {none}{said}"
        others = sorted(one for one in self._alive if one != name and not self._records[one].deaf)
        then = f"they may go by {others[0]}, and one message tries {name} in {wait:.0f} s" if others else "no other way"
        log.warning("%s; %s", record.deaf, then)

    def _patience(self, name: Protocol, record: Record, estimate: Estimate) -> float:
        """Seconds without a confirmation, the time for the bytes under way included."""
        if estimate.goodput_known:
            size = sum(len(message.payload) for way, message in self._open.values() if way == name)
            rate = max(estimate.goodput, 1.0)
        else:
            size, rate = record.largest, max(estimate.goodput, SLOWEST)
        least = LEAST if record.tries >= FEW else LONE
        return min(MOST, max(least, ROUND_TRIPS * estimate.leg(name).rtt) + size / rate)

    def trial(self, now: float, chosen: Protocol, allowed: Collection[Protocol]) -> Protocol | None:
        """The deaf way that this message is to try before it goes as chosen, if it is time."""
        for name, record in self._records.items():
            if record.deaf and name != chosen and name in self._alive & set(allowed) and now >= record.again:
                record.postpone(now)
                return name
        return None

    def _waits(self, name: Protocol) -> bool:
        return any(way == name for way, _ in self._open.values()) or (name == "mqtt" and bool(self._awaited))


def risked(leg: Leg) -> float:
    """Seconds for which one message tries a deaf way."""
    return max(TRIAL, TRIAL_TRIPS * leg.rtt)


def _without(estimate: Estimate, name: Protocol, why: str) -> Estimate:
    leg = estimate.leg(name)
    silent = max(leg.silent, LEAST)
    return msgspec.structs.replace(
        estimate, **{name: msgspec.structs.replace(leg, out=True, silent=silent, unconfirmed=why)}
    )


def _key(message: Message) -> tuple[str, str, int]:
    return message.stream, message.epoch, message.rows[0][0]
