"""What the bridge does: `bridge.place.decide` with the bridge's own cloud client, in virtual time.

The client is the product's, with its predictions, breaker, probes, exploration and packing; only the socket under it is
replaced by the recorded link and agent.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import msgspec

from bridge import topics
from bridge.mqtt.endpoint import Endpoint
from bridge.mqtt.messages import Delivery
from bridge.offload import client as offload
from bridge.offload.sending import sending
from bridge.place.chances import Chances
from bridge.place.decide import Terms, decide, margin
from bridge.wire.answers import encode_status
from bridge.wire.offload import Question, Reply, decode_asking, encode_replies
from tests.place.windows import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.catalog import Manifest
    from bridge.mqtt.messages import Publish
    from bridge.offload.client import Answered, CloudClient, Unanswered
    from tests.place.replay import Case, World
    from tests.place.trace import Sample

BRIDGE, AGENT = "gw-1", "gpu-1"
NOWHERE = Endpoint("broker.invalid", 1_883)  # nobody connects


class _Session(msgspec.Struct):
    """What the client reads of an MQTT session; its broker acknowledges at once, so that the link is wide."""

    connects: int = 0
    queued: int = 0
    receive_maximum: int = 65_535
    maximum_packet: int | None = None
    heard_at: float = 0.0
    bytes_in_flight: int = 0


class Line:
    """In place of the client's connection: the recorded link, and the recorded agent behind it."""

    def __init__(
        self,
        world: World,
        endpoint: Endpoint,  # noqa: ARG002 # as a Connection takes it
        settings: object,  # noqa: ARG002
        on_deliveries: Callable[[list[Delivery]], None],
        *,
        on_connected: Callable[[Any], None],
    ) -> None:
        self.full = False
        self.socket = None
        self.session = _Session()
        self._world, self._deliver, self._on_connected = world, on_deliveries, on_connected
        self._label = world.judged.manifest.output.labels[0]  # any
        for when in (0.0, *world.cloud.ups()):
            world.clock.call_at(when, self._connect)

    @property
    def connected(self) -> bool:
        return self._world.cloud.up(self._world.now)

    def publish(self, messages: Iterable[Publish]) -> None:
        for message in messages:
            questions = [one for one in decode_asking(message.payload)[0] if isinstance(one, Question)]
            for one in questions:
                comes, sample = self._world.cloud.ask(self._world.now, len(message.payload) // len(questions))
                if comes < math.inf:
                    self._world.clock.call_at(comes, self._reply, one.id, sample)
            if message.qos and message.done is not None:
                self._world.clock.call_soon(message.done, 0)

    def acknowledge(self, deliveries: list[Delivery]) -> None:
        """Nobody waits for it."""

    def _connect(self) -> None:
        self.session.connects += 1
        self._on_connected(self.session)
        status = encode_status(online=True, t=0.0, models={MODEL: "1"}, direct=True)
        self._arrive(topics.cloud_status(AGENT), status)

    def _reply(self, window: str, sample: Sample) -> None:
        reply = Reply(
            window, AGENT, label=self._label, score=0.9, run_ms=1e3 * sample.run, wait_ms=1e3 * sample.wait,
            batch=sample.batch, queue=sample.queue,
        )  # fmt: skip
        self._arrive(topics.reply(BRIDGE), encode_replies([reply]))

    def _arrive(self, topic: str, payload: bytes) -> None:
        self._deliver([Delivery(topic, payload, 0, False, None, None, None, None)])


class Ours:
    """The product's decision, with the manifest's threshold and curve and the settings it comes with.

    Attributes:
        terms: what a route declares.
        chances: how likely the cloud is right.
    """

    name = "ours"
    waits_for_bridge = True

    def __init__(self, manifest: Manifest) -> None:
        bridge = manifest.for_tier("bridge")
        default = next((one.accuracy for one in manifest.variants if one.name == bridge.escalates_to), 1.0)
        self.terms = Terms(below=bridge.below)
        self.chances = Chances(bridge.escalation, default)
        self._sending = sending(manifest, "auto")
        self._cases: dict[str, Case] = {}

    def begin(self, world: World) -> None:
        """Open the cloud client."""
        self._world = world
        with mock.patch.object(offload, "Connection", partial(Line, world)):
            self._client: CloudClient = offload.CloudClient(NOWHERE, BRIDGE, self._ended, models={MODEL: self._sending})

    def place(self, case: Case) -> None:
        """By expected value, as the pipeline does."""
        now, left = self._world.now, case.left - margin(case.whole)
        values = self._world.judged.held.windows[case.window]
        view = self._client.view(MODEL, now, left=left, grace=0.0, size=values.nbytes, planned=0)
        choice = decide(case.certainty, self.chances, self.terms, view, left=left)
        if choice.where == "cloud":
            case.asked = True
            self._cases[str(case.window)] = case
            self._client.ask(str(case.window), MODEL, values, now + left)
            return
        case.tell("bridge")
        if choice.explore:
            self._client.explore(MODEL, values, now)

    def _ended(self, event: Answered | Unanswered) -> None:
        self._cases.pop(event.id).tell("cloud" if isinstance(event, offload.Answered) else "bridge")
