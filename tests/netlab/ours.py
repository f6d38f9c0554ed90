"""The contestant `ours`: a real edge-agent in the device's namespace, a real bridge behind a real Mosquitto."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.netlab import namespaces
from tests.netlab.contestants import MESSAGE, MOSQUITTO, Command, Load, full_load, module
from tests.netlab.ours_model import make_model
from tests.netlab.traffic import ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.netlab.contestants import Run
    from tests.netlab.scenarios import Scenario

MQTT_PORT, COAP_PORT = 1_883, 5_683
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
source = "stdin"
rate = {rate}
rows_per_message = {rows}
longest_wait = 0.02
[link]
freshness = {freshness}
burst = {rows}
hop = 60
exclude = ["coap-non*"]
budget = 0.01
fidelity = {{ float16 = 0.0, int8 = 0.0044 }}
"""
BRIDGE = """\
[bridge]
id = "lab"
models = "models"
[mqtt]
url = "mqtt://127.0.0.1:{mqtt}"
[coap]
bind = "{gateway}:{coap}"
[[routes]]
stream = "wrist"
model = "lab"
windows = "rows"
place = "bridge"
"""


def script(name: str) -> str:
    """One of our console scripts, beside the Python that runs the laboratory."""
    return str(Path(sys.executable).with_name(name))


def wish(scenario: Scenario) -> float:
    """Seconds of freshness that the agent is asked for: half as much again as the best link of the scenario takes.

    A user states a need, not the link; so this is no knowledge of what comes, and on the worse links cannot be met.
    """
    ways = (stage.up for stage in scenario.stages if not stage.up.outage and stage.up.rate != 0)
    return 0.01 + 1.5 * min(way.delay + (8 * MESSAGE / way.rate if way.rate else 0.0) for way in ways)


class Ours:
    """The link decides. A message has arrived when the Result of its rows reaches a consumer behind the broker."""

    name = "ours"
    about = (
        "edge-agent over MQTT and CoAP, the link decides; to the Result of these very rows, in order; "
        "int8 and float16 cost what `models fidelity activity` says; non-confirmable copies excluded, since "
        "transmissions are bounded"
    )

    def load(self, scenario: Scenario, messages: int) -> Load:
        return full_load(scenario, messages)

    def gateway(self, run: Run) -> Sequence[Command]:
        mosquitto, bridge = run.folder / "mosquitto.conf", run.folder / "bridge.toml"
        mosquitto.write_text(MOSQUITTO.format(port=MQTT_PORT))
        bridge.write_text(BRIDGE.format(mqtt=MQTT_PORT, coap=COAP_PORT, gateway=namespaces.GATEWAY))
        make_model(run.folder / "models")
        return [
            Command(["mosquitto", "-c", str(mosquitto)], ready=None, ends=False),
            module("consumer_results", run, MQTT_PORT),
            Command([script("inference-bridge"), "run", "--config", str(bridge)], ready=r"ready \{", ends=False),
        ]

    def device(self, run: Run) -> Command:
        config = run.folder / "edge_agent.toml"
        config.write_text(
            AGENT.format(
                gateway=namespaces.GATEWAY,
                mqtt=MQTT_PORT,
                coap=COAP_PORT,
                state=run.folder / "agent-state",
                rate=run.load.rate * ROWS,
                rows=ROWS,
                freshness=round(wish(run.scenario), 4),
            )
        )
        return module("ours_device", run, MQTT_PORT)
