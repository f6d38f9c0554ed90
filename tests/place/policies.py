"""The three policies that ours is compared with: none learns anything, or gives up waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.place.replay import Case, World


class Fixed:
    """Begins by knowing its world, which is all that it ever learns."""

    waits_for_bridge = True

    def begin(self, world: World) -> None:
        """Called once, with the clock at 0."""
        self.world = world

    def ask(self, case: Case) -> None:
        """Wait for the cloud's answer for ever."""
        case.asked = True
        self.world.ask(lambda: case.tell("cloud"))


class AlwaysBridge(Fixed):
    """The small model alone."""

    name = "always bridge"

    def place(self, case: Case) -> None:
        """On the bridge."""
        case.tell("bridge")


class AlwaysCloud(Fixed):
    """The big model alone: nobody asks the small one, so nothing is there to fall back on."""

    name = "always cloud"
    waits_for_bridge = False

    def place(self, case: Case) -> None:
        """In the cloud."""
        self.ask(case)


class ConfidenceOnly(Fixed):
    """As KubeEdge Sedna's joint inference: what the small model is unsure of waits for the big one.

    Sedna's client sets no time limit on its request (`http_request` computes one and does not pass it on), and where
    the request fails some versions take the edge's answer: so does this one when it knows that it is not connected.
    """

    name = "confidence only"

    def __init__(self, below: float) -> None:
        self._below = below

    def place(self, case: Case) -> None:
        """By certainty alone."""
        if case.certainty < self._below and self.world.cloud.up(self.world.now):
            self.ask(case)
        else:
            case.tell("bridge")
