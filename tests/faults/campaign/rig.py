"""The set-up of one job: broker, paths, bridges, cloud agents and a subscriber, kept up over many seeds.

A seed brings its own device, so its own series; what it killed is running again before the next one begins. After a
seed that lost or mixed up anything the whole set-up is thrown away, so that nothing of it reaches another seed.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

from bridge import topics
from tests.faults.campaign import supervisor
from tests.faults.campaign.ear import Ear
from tests.faults.campaign.plan import CLOUDS
from tests.support.brokers import RunningBroker, start_mosquitto
from tests.support.fleet import KEPT, MODEL, free_udp_port, until
from tests.support.programs import RunningProgram, prepare_bridge
from tests.support.relay import TcpRelay, UdpRelay

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.campaign.plan import Plan

BELOW = 0.9  # escalate below this probability: about a third of the sample's windows
DEADLINE = 1.0  # seconds; without a cloud the bridge answers by itself then
HASTE, GRACE = 0.001, 3.0  # seconds: no answer of the cloud is in time, all of them within the grace
GAP = 10.0  # seconds a bridge waits for rows that the agent still has to send: more than any outage drawn here
CLOUD_IDS = ("gpu-1", "gpu-2")
ALONE, PAIR = "gw-1", ("gw-2", "gw-3")


class Rig:
    """Everything that runs; a context manager. There are two kinds, each at a broker of its own.

    Args:
        directory: for configs, states and logs; must not exist.
        shared: two bridges that share whole windows and have no cloud; else one that cuts rows, and asks the cloud.

    Attributes:
        broker: Mosquitto, which keeps nothing on disk: killed, it has lost all.
        ear: the subscriber, straight at the broker.
        agent_path: between the agent and the broker.
        bridge_path: between bridges and the broker.
        cloud_path: between the bridge and the cloud's broker, which is the same one.
        coap_path: between the agent and the bridge.
        bridges: by id.
        clouds: by id; the first serves always, the second when asked for.
    """

    def __init__(self, directory: Path, *, shared: bool) -> None:
        self.directory = directory
        self._stack = contextlib.ExitStack()
        self._starting: list[RunningProgram] = []
        enter = self._stack.enter_context
        try:
            self.broker: RunningBroker = enter(start_mosquitto(directory / "mosquitto", extra=KEPT))
            self.ear = enter(Ear(self.broker.port))
            self.agent_path, self.bridge_path, self.cloud_path = (enter(TcpRelay(self.broker.port)) for _ in range(3))
            port = free_udp_port()
            self.coap_path = enter(UdpRelay(port))
            tomls = {name: self._whole_toml(name) for name in PAIR} if shared else {ALONE: self._rows_toml(port)}
            self.bridges = {name: enter(prepare_bridge(directory / name, toml)) for name, toml in tomls.items()}
            self.clouds = {} if shared else {name: enter(self._cloud(name)) for name in CLOUD_IDS}
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def make_ready(self, plan: Plan) -> None:
        """Everything that the seed needs runs and is connected."""
        second = CLOUDS in plan.faults
        clouds = [name for name in self.clouds if second or name == CLOUD_IDS[0]]
        for name, program in self.clouds.items():
            if name not in clouds:
                program.kill()
        for program in (*self.bridges.values(), *(self.clouds[name] for name in clouds)):
            self.launch(program)
        self.wait_ready()
        online = [*map(topics.bridge_status, self.bridges), *map(topics.cloud_status, clouds)]
        until(
            lambda: self.ear.subscribed and all(self.ear.online.get(topic) for topic in online),
            20,
            lambda: f"not online: {[topic for topic in online if not self.ear.online.get(topic)]}",
        )

    def launch(self, program: RunningProgram) -> None:
        """Starts a program if it does not run; `wait_ready` waits for it."""
        if not program.running:
            program.kill()
            program.launch()
            self._starting.append(program)

    def wait_ready(self) -> None:
        """Returns once all that was launched is ready."""
        while self._starting:
            supervisor.wait_ready(self._starting.pop())

    def supervise(self) -> list[str]:
        """Starts bridges again that ended by themselves; their ids."""
        ended = [name for name, bridge in self.bridges.items() if not bridge.running]
        for name in ended:
            self.launch(self.bridges[name])
        self.wait_ready()
        return ended

    def said(self, most: int = 1_500) -> str:
        """The end of each bridge's log."""
        return "\n".join(f"--- {name}\n{bridge.stderr[-most:]}" for name, bridge in self.bridges.items())

    def _cloud(self, name: str) -> RunningProgram:
        directory = self.directory / name
        directory.mkdir(parents=True)
        config = directory / "cloud_agent.toml"
        config.write_text(f'[cloud]\nid = "{name}"\nurl = "{self.broker.url}"\nkeep_alive = 5\n')
        return RunningProgram(["cloud-agent", "run", "--config", str(config)], directory, log="cloud.log")

    def _rows_toml(self, port: int) -> str:
        return (
            f'[bridge]\nid = "{ALONE}"\ndrain = 1.0\n[mqtt]\nurl = "{self.bridge_path.url}"\nkeep_alive = 5\n'
            f'[coap]\nbind = "127.0.0.1:{port}"\n[cloud]\nurl = "{self.cloud_path.url}"\nkeep_alive = 5\n'
            f"[limits]\ngap_receipts = {GAP}\n"
            f'[[routes]]\nstream = "rows"\nmodel = "{MODEL}"\nplace = "cascade"\ndeadline = {DEADLINE}\n'
            f"below = {BELOW}\n"
            f'[[routes]]\nstream = "hasty"\nmodel = "{MODEL}"\nplace = "cascade"\ndeadline = {HASTE}\n'
            f"below = {BELOW}\nprovisional = true\ngrace = {GRACE}\n"
        )

    def _whole_toml(self, name: str) -> str:
        return (
            f'[bridge]\nid = "{name}"\ndrain = 1.0\n[mqtt]\nurl = "{self.bridge_path.url}"\nkeep_alive = 5\n'
            f'share = "campaign"\n[coap]\nenabled = false\n[[routes]]\nstream = "whole"\nmodel = "{MODEL}"\n'
            'windows = "whole"\nplace = "bridge"\n'
        )
