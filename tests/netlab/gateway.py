"""What every contestant's messages go to: a real bridge behind a real Mosquitto, and a consumer of its Results.

A message has arrived when the Result of its very rows reaches the consumer beside the broker.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.netlab.contestants import MOSQUITTO, Command, module
from tests.netlab.namespaces import GATEWAY
from tests.netlab.ours_model import make_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.netlab.contestants import Run

MQTT_PORT, COAP_PORT = 1_883, 5_683
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


def commands(run: Run) -> Sequence[Command]:
    """The same for all: broker, consumer, bridge."""
    mosquitto, bridge = run.folder / "mosquitto.conf", run.folder / "bridge.toml"
    mosquitto.write_text(MOSQUITTO.format(port=MQTT_PORT))
    bridge.write_text(BRIDGE.format(mqtt=MQTT_PORT, coap=COAP_PORT, gateway=GATEWAY))
    make_model(run.folder / "models")
    return [
        Command(["mosquitto", "-c", str(mosquitto)], ready=None, ends=False),
        module("consumer_results", run, MQTT_PORT),
        Command(
            [script("inference-bridge"), "run", "--config", str(bridge)], ready=r"ready \{", ends=False, name="bridge"
        ),
    ]
