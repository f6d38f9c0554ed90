"""What happens to the cloud while devices send: each fault is a short script in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from tests.place.real.paths import MuteCloud, SlowRelay
from tests.place.real.rig import go_on, stop

if TYPE_CHECKING:
    from tests.place.real.rig import Rig
    from tests.support.programs import RunningProgram

DEADLINE = 1.0  # seconds
AWAY, BACK = 1.5, 2.5  # seconds of a cloud that flaps: longer than a deadline, shorter than a breaker's rest

Script: TypeAlias = Callable[[threading.Event], None]


def dead(rig: Rig) -> Script:
    """Killed for good."""
    agent = _ready(rig)
    return lambda _over: agent.kill()


def stalled(rig: Rig) -> Script:
    """Stopped: connected, subscribed and silent; the broker notices nothing."""
    agent = _ready(rig)
    return lambda _over: stop(agent)


def cut(rig: Rig) -> Script:
    """Nothing passes between the bridge and the cloud's broker, and nothing breaks."""
    _ready(rig)
    return lambda _over: rig.cloud_path.stall()


def silent(rig: Rig) -> Script:
    """One that takes every question and answers none, from the beginning."""
    rig.enter(MuteCloud(rig.broker.url))
    rig.bridge.start()
    rig.warm_up(tier=None)
    return lambda _over: None


def slow(rig: Rig) -> Script:
    """Each answer comes, and later than the deadline."""
    relay = rig.enter(SlowRelay(rig.broker.port))
    _ready(rig, relay.url)

    def script(_over: threading.Event) -> None:
        relay.delay = 1.3 * DEADLINE

    return script


def flapping(rig: Rig) -> Script:
    """Killed and started again, over and over."""
    agent = _ready(rig)

    def script(over: threading.Event) -> None:
        while not over.is_set():
            agent.kill()
            over.wait(AWAY)
            agent.start()
            over.wait(BACK)

    return script


def halting(rig: Rig) -> Script:
    """Stopped and let go on, over and over."""
    agent = _ready(rig)

    def script(over: threading.Event) -> None:
        while not over.is_set():
            stop(agent)
            over.wait(AWAY)
            go_on(agent)
            over.wait(BACK)

    return script


def _ready(rig: Rig, url: str | None = None) -> RunningProgram:
    """A cloud agent that has answered."""
    agent = rig.agent("gpu-1", url).launch()
    rig.bridge.launch()
    agent.wait_ready()
    rig.bridge.wait_ready()
    rig.warm_up()
    return agent
