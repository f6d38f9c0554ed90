"""The fixed rivals: one transport each, whatever the link does. And the ruler, which is no contestant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.netlab import gateway
from tests.netlab.contestants import Command, Contestant, Load, Run, full_load, module
from tests.netlab.namespaces import CONGESTION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.netlab.model import Stage
    from tests.netlab.scenarios import Scenario

ACK_TIMEOUT, ACK_RANDOM_FACTOR, MAX_RETRANSMIT = 2.0, 1.5, 4  # RFC 7252, 4.8
HALF = 0.5  # share of its time in which a sender of one request at a time is to be busy
MESSAGE = 360  # IP bytes of a message over CoAP


class FixedMqtt:
    """MQTT 3.1.1, QoS 1, paho and Mosquitto."""

    name = "mqtt"
    about = f"MQTT QoS 1, paho and Mosquitto, TCP_NODELAY on both, no bound in flight, {CONGESTION}"

    def load(self, scenario: Scenario, messages: int) -> Load:
        return full_load(scenario, messages)

    def gateway(self, run: Run) -> Sequence[Command]:
        return gateway.commands(run)

    def device(self, run: Run) -> Command:
        return module("rival_mqtt", run, gateway.MQTT_PORT)


class FixedCoap:
    """CoAP CON with standard timers, at half the rate at which it would always be busy."""

    name = "coap"
    about = "CoAP CON, aiocoap, RFC 7252 timers, NSTART 1, half the rate that it can carry at the worst"

    def load(self, scenario: Scenario, messages: int) -> Load:
        """As long as the others, at a rate it can carry."""
        full = full_load(scenario, messages)
        rate = min(full.rate, carried_rate(scenario.stages))
        return Load(rate, max(1, round(full.count * rate / full.rate)))

    def gateway(self, run: Run) -> Sequence[Command]:
        return gateway.commands(run)

    def device(self, run: Run) -> Command:
        return module("rival_coap", run, gateway.COAP_PORT)


def carried_rate(stages: Sequence[Stage]) -> float:
    """Messages a second of one confirmable request at a time, half of its time busy, in the worst stage.

    Outages and hand-over gaps are not counted as stages.
    """
    return HALF / max(exchange_time(one) for one in stages if not one.up.outage and one.up.rate != 0)


def exchange_time(stage: Stage) -> float:
    """Mean time of a confirmable exchange, s (RFC 7252, 4.2): round trip, serialisation, timers of what is lost."""
    up, down = stage.up, stage.down
    passes = (1 - up.loss) * (1 - down.loss) * (1 - (up.fades.share if up.fades else 0.0))
    timer = ACK_TIMEOUT * (1 + ACK_RANDOM_FACTOR) / 2
    waits: float = sum((1 - passes) ** (k + 1) * timer * 2**k for k in range(MAX_RETRANSMIT))
    round_trip = up.delay + down.delay + (up.jitter + down.jitter) / 2
    return round_trip + (8 * MESSAGE / up.rate if up.rate else 0.0) + waits


class Ruler:
    """No contestant but a check of the link itself: each message is one UDP datagram, sent once."""

    name = "udp"
    about = "UDP datagrams, sent once: what the link itself does"
    port = 9

    def load(self, scenario: Scenario, messages: int) -> Load:
        return full_load(scenario, messages)

    def gateway(self, run: Run) -> Sequence[Command]:
        return [module("consumer_udp", run, self.port)]

    def device(self, run: Run) -> Command:
        return module("ruler_udp", run, self.port)


RIVALS: tuple[Contestant, ...] = (FixedMqtt(), FixedCoap(), Ruler())
