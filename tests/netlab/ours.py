"""The contestant `ours`: a device program that embeds the real edge agent; and `stdin`, fed by a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.choice import COMPUTING
from tests.netlab import gateway
from tests.netlab.contestants import Command, Load, full_load, module
from tests.netlab.namespaces import GATEWAY
from tests.netlab.rivals import MESSAGE
from tests.netlab.traffic import ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.netlab.contestants import Run
    from tests.netlab.scenarios import Scenario

BUDGET = 0.01  # of accuracy: the manifest's of the shipped model
FIDELITY = {
    "float16": 0.0,
    "int8": 0.0044,
    "int4": 0.0009,
}  # accuracy, as `models fidelity activity` says
AGENT = """\
[agent]
site = "lab"
device = "d1"
url = "mqtt://{gateway}:{mqtt}"
coap = "coap://{gateway}:{coap}"
state = "{state}"
commit_wait = 0.0
[[streams]]
name = "wrist"
source = "{source}"
rate = {rate}
rows_per_message = {rows}
longest_wait = 0.02
[link]
freshness = {freshness}
burst = {rows}
hop = 60
exclude = ["coap-non*"]
budget = {budget}
fidelity = {{ {fidelity} }}
"""


def wish(scenario: Scenario) -> float:
    """Seconds of freshness that the agent is asked for, where the scenario declares none.

    A fifth more than the best link of the scenario takes, and 10 ms for the programs at both ends: a stream that cannot
    wait. A user states a need, not the link: this is no knowledge of what comes, and on the worse links cannot be met.
    """
    if scenario.wish is not None:
        return scenario.wish
    ways = (stage.up for stage in scenario.stages if not stage.up.outage and stage.up.rate != 0)
    return 0.01 + 1.2 * min(way.delay + (8 * MESSAGE / way.rate if way.rate else 0.0) for way in ways)


def encoding_cost(profile: str) -> float:
    """Accuracy that a profile's encoding costs; 0 where it loses nothing. `profile`: as `coap-con/int8/8`."""
    return FIDELITY.get(profile.split("/")[1].partition("+")[0], 0.0)


def encoding_seconds(profile: str) -> float:
    """Seconds a message that a profile's encoding computes beyond the quickest."""
    return COMPUTING[profile.split("/")[1]]


class Ours:
    """The link decides."""

    name = "ours"
    about = (
        "the edge agent inside the sensor's program, over MQTT and CoAP, the link decides; through outbox and the "
        "bridge's journal; encodings cost what `models fidelity activity` says; non-confirmable copies excluded, since "
        "transmissions are bounded"
    )

    def load(self, scenario: Scenario, messages: int) -> Load:
        return full_load(scenario, messages)

    def gateway(self, run: Run) -> Sequence[Command]:
        return gateway.commands(run)

    def device(self, run: Run) -> Command:
        write_config(run, "program")
        return module("ours_device", run, gateway.MQTT_PORT)


class Stdin(Ours):
    """Beside `ours`, judged by no row: what the step between two processes costs."""

    name = "stdin"
    about = "the same edge agent as a program of its own, fed with JSON rows on its stdin; on the clean LAN"

    def device(self, run: Run) -> Command:
        write_config(run, "stdin")
        return module("stdin_device", run, gateway.MQTT_PORT, [gateway.script("edge-agent")])


def write_config(run: Run, source: str) -> None:
    """The agent's."""
    (run.folder / "edge_agent.toml").write_text(
        AGENT.format(
            source=source,
            gateway=GATEWAY,
            mqtt=gateway.MQTT_PORT,
            coap=gateway.COAP_PORT,
            state=run.folder / "agent-state",
            rate=run.load.rate * ROWS,
            rows=ROWS,
            freshness=round(wish(run.scenario), 4),
            budget=BUDGET,
            fidelity=", ".join(f"{name} = {cost}" for name, cost in FIDELITY.items()),
        )
    )
