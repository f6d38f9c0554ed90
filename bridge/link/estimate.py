"""The path as it is believed to be at one moment: what predictions are made from, and what `status` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from bridge.link.events import Protocol


class Leg(msgspec.Struct, frozen=True):
    """The path as one protocol sees it. Seconds throughout.

    Attributes:
        up: its connection stands, or it needs none.
        out: something is under way, and nothing was acknowledged for max(3 RTO, 1 s); over CoAP, while MQTT is
            answered, for max(2 RTO, 0.4 s).
        heard: since the peer was last heard this way; infinite: never.
        silent: since when an outage lasts; 0 without one.
        doubtful: nothing was acknowledged for longer than the learned time-outs: worth asking every way.
        unconfirmed: why rows do not get through though the peer is heard, in words; empty: not known to be so.
        samples: RTT samples so far.
        rtt: median round trip of the last 1.5 s; a loss that held a bunch of answers back hardly moves it.
        min_rtt: least of the last 1.5 s.
        base: round trip of the empty path.
        jitter: by how much 95 % of the one-way delays stay within of the least, without loss and queue.
        srtt: RFC 6298's smoothed round trip.
        rttvar: its variation.
        rto: how long to wait for an answer, backed off.
        size: mean bytes of the messages that were timed.
    """

    up: bool = True
    out: bool = False
    heard: float = float("inf")
    silent: float = 0.0
    doubtful: bool = False
    unconfirmed: str = ""
    samples: int = 0
    rtt: float = 0.1
    min_rtt: float = 0.1
    base: float = 0.1
    jitter: float = 0.0
    srtt: float = 0.1
    rttvar: float = 0.05
    rto: float = 1.0
    size: float = 0.0


class Estimate(msgspec.Struct, frozen=True):
    """The path now.

    Attributes:
        mqtt: as MQTT sees it.
        coap: as CoAP sees it.
        loss: probability that one packet is lost, one way.
        loss_trials: packets that rests on.
        spell: seconds that losses stick together; 0: independent.
        goodput: bytes a second delivered at best.
        goodput_known: that is the link's limit; else it is only what was asked of it.
        queueing: seconds that packets wait in queues, both ways.
        outage: no protocol gets through.
    """

    mqtt: Leg = Leg()
    coap: Leg = Leg()
    loss: float = 0.01
    loss_trials: float = 0.0
    spell: float = 0.0
    goodput: float = 0.0
    goodput_known: bool = False
    queueing: float = 0.0
    outage: bool = False

    def leg(self, protocol: Protocol) -> Leg:
        """The path as this protocol sees it."""
        return self.mqtt if protocol == "mqtt" else self.coap

    def words(self) -> str:
        """In words and numbers, for logs and status."""
        if self.outage:
            return f"outage for {max(self.mqtt.silent, self.coap.silent):.1f} s"
        heard = min(self.coap, self.mqtt, key=lambda leg: leg.heard)
        rate = f"{self.goodput / 1000:.1f} kB/s" if self.goodput_known else "not the limit"
        spells = f" in spells of {self.spell:.2f} s" if self.spell >= 0.005 else ""
        return f"round trip {heard.rtt:.3f} s, loss {self.loss:.1%}{spells}, goodput {rate}"
