"""The offload client against a real Mosquitto and scripted agents: dead, stalled, slow, flapping, refused, cut off."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bridge import topics
from bridge.mqtt.endpoint import Endpoint
from bridge.offload.client import Answered, Ask, CloudClient, Unanswered
from bridge.offload.sending import Sending
from bridge.wire.answers import encode_status
from bridge.wire.offload import MOST, decode_asking
from tests.support.brokers import HOST, RunningBroker, start_mosquitto
from tests.support.fleet import KEPT, dice, seeds
from tests.support.paho_client import until
from tests.support.peers import Peer
from tests.support.standin import LABELS, StandInCloud, Tap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from bridge.messages import Rows
    from bridge.place.decide import CloudView
    from tests.support.standin import Deed

pytestmark = pytest.mark.real
MODEL = "m"
PATIENCE = 0.6  # seconds
SLACK = 0.4  # seconds: another process may have the core
RNG = np.random.default_rng(7)


class Bridge:
    """A client, and when each of its questions was asked and ended."""

    def __init__(self, port: int, **options: Any) -> None:
        self.began: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.events: list[Answered | Unanswered] = []
        options = {"models": {MODEL: Sending()}, **options}
        self.client = CloudClient(Endpoint(HOST, port), "gw-1", self._ended, **options)
        self._running = asyncio.ensure_future(self.client.connection.run())

    async def close(self) -> None:
        await self.client.connection.close()
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running

    def _ended(self, event: Answered | Unanswered) -> None:
        assert event.id not in self.ended, f"{event.id} ended twice"
        self.ended[event.id] = time.monotonic()
        self.events.append(event)

    def view(self, grace: float = 0.0) -> CloudView:
        return self.client.view(MODEL, time.monotonic(), left=PATIENCE, grace=grace, size=3_072, planned=0)

    async def knows(self, *names: str) -> None:
        await until(lambda: {agent.name for agent in self.client._agents.serving(MODEL)} == set(names))

    def ask(self, count: int = 1, patience: float = PATIENCE, values: Rows | None = None) -> list[str]:
        now = time.monotonic()
        windows = [f"w{len(self.began) + n}" for n in range(count)]
        rows = RNG.normal(size=(128, 6)).astype(np.float32) if values is None else values
        self.began.update(dict.fromkeys(windows, now))
        self.client.ask_all([Ask(window, MODEL, rows, now + patience) for window in windows])
        return windows

    def asks_if_there(self) -> str:
        """Ask about one window if the client says that it can; else why not."""
        view = self.view()
        if view.there:
            self.ask()
        return view.why

    async def all_ended(self, within: float = PATIENCE + SLACK) -> None:
        await until(lambda: len(self.ended) == len(self.began))
        worst = max(self.ended[window] - began for window, began in self.began.items())
        assert worst <= within, f"one ended after {worst:.2f} s"
        assert self.client.open == 0 or all(name.startswith("~") for name in self.client._desk.open)

    @property
    def answered(self) -> list[Answered]:
        return [event for event in self.events if isinstance(event, Answered)]

    @property
    def reasons(self) -> set[str]:
        return {event.why for event in self.events if isinstance(event, Unanswered)}


@pytest.fixture
async def bridge_to(mosquitto: RunningBroker) -> AsyncIterator[Callable[..., Bridge]]:
    made: list[Bridge] = []

    def one(port: int = mosquitto.port, **options: Any) -> Bridge:
        made.append(Bridge(port, **options))
        return made[-1]

    yield one
    for bridge in made:
        await bridge.close()


def scripted(broker: RunningBroker, *deeds: Deed, **options: Any) -> list[StandInCloud]:
    """An agent for each deed, called gpu-1, gpu-2 …; they can be asked directly."""

    def does(deed: Deed) -> Callable[[], Deed]:
        return lambda: deed

    return [
        StandInCloud(broker.url, does(deed), name=f"gpu-{n}", direct=True, model=MODEL, **options)
        for n, deed in enumerate(deeds, 1)
    ]


@contextlib.contextmanager
def leaving(agents: Sequence[StandInCloud]) -> Any:
    try:
        yield
    finally:
        for agent in agents:
            agent.leave()


async def test_a_turn_is_answered_in_few_messages(mosquitto: RunningBroker, bridge_to: Callable[..., Bridge]) -> None:
    agents = scripted(mosquitto, "answer")
    with leaving(agents):
        bridge = bridge_to()
        await bridge.knows("gpu-1")
        bridge.ask(150)
        await bridge.all_ended()
        assert len(bridge.answered) == 150
        assert [topic for topic, _ in agents[0].messages] == [f"edge/v1/_escalate/{MODEL}/gpu-1"] * 3
        assert max(len(decode_asking(payload)[0]) for _, payload in agents[0].messages) == MOST


async def test_a_dead_agent(mosquitto: RunningBroker, bridge_to: Callable[..., Bridge]) -> None:
    """It dies with its questions, and nobody else is there: they end when the broker tells, and no more are asked."""
    (dying,) = scripted(mosquitto, "never")
    bridge = bridge_to()
    await bridge.knows("gpu-1")
    bridge.ask(10, patience=60.0)
    await until(lambda: len(dying.questions) == 10)
    dying.die()
    await bridge.all_ended(within=3.0)  # another agent might be told in the first second
    assert bridge.reasons <= {"gpu-1 went away", f"no cloud agent serves {MODEL}"}
    assert bridge.view().why == f"no cloud agent serves {MODEL}"


async def test_one_of_two_dies_with_questions(mosquitto: RunningBroker, bridge_to: Callable[..., Bridge]) -> None:
    """Whatever the budget of second copies: the first are known to be lost."""
    dying, sound = scripted(mosquitto, "never", "answer")
    with leaving([sound]):
        bridge = bridge_to(hedge=0.0)
        await bridge.knows("gpu-1", "gpu-2")
        bridge.ask(40, patience=20.0)  # nothing is known of either: each gets its share
        await until(lambda: len(dying.questions) == 20)
        lost = {question.id for question in dying.questions}
        dying.die()
        await bridge.all_ended(within=5.0)
        assert len(bridge.answered) == len(bridge.began)
        assert lost <= {question.id for question in sound.questions}


async def test_a_second_agent_saves_what_the_first_holds_up(
    mosquitto: RunningBroker, bridge_to: Callable[..., Bridge]
) -> None:
    stalled, sound = scripted(mosquitto, "never", "answer")
    with leaving([stalled, sound]):
        bridge = bridge_to(hedge=1.0)
        await bridge.knows("gpu-1", "gpu-2")
        while not stalled.questions:
            bridge.ask()
            await until(lambda: len(bridge.ended) == len(bridge.began) or stalled.questions)
        await bridge.all_ended()
        assert len(bridge.answered) == len(bridge.began)
        saved = stalled.questions[0].id
        assert next(event.note for event in bridge.answered if event.id == saved) == "a second agent was asked"
        await until(lambda: saved in stalled.cancelled)
        assert saved not in sound.cancelled


async def test_second_copies_stay_within_their_budget(
    mosquitto: RunningBroker, bridge_to: Callable[..., Bridge]
) -> None:
    late = scripted(mosquitto, "late", "late", delay=0.45)
    with leaving(late):
        bridge = bridge_to(hedge=0.1)
        await bridge.knows("gpu-1", "gpu-2")
        for _ in range(5):
            bridge.ask(40)
            await bridge.all_ended()
        copies = sum(len(agent.questions) for agent in late)
        assert copies - len(bridge.began) <= 0.1 * len(bridge.began) + 8
        assert copies > len(bridge.began), "some were late enough for a second copy"


LIES: list[dict[str, Any]] = [
    {"label": "made-up"},
    {"label": ""},
    {"label": "x" * 100_000},
    {"score": -1.0},
    {"score": 7.0},
    {"version": "9" * 10_000},
    {"variant": "\x00"},
    {"engine": "\x00\n"},
    {"cloud": "someone-else"},
    {"cloud": ""},
]


@pytest.mark.parametrize("direct", [True, False])
async def test_a_hostile_agent(mosquitto: RunningBroker, bridge_to: Callable[..., Bridge], direct: bool) -> None:
    """Nothing that it makes up is an answer: who was lied to has another agent's, or none by the deadline."""
    counts: Counter[str] = Counter()
    hostile = StandInCloud(mosquitto.url, name="gpu-1", direct=direct, model=MODEL)
    with leaving([hostile]):
        bridge = bridge_to(models={MODEL: Sending(labels=frozenset(LABELS))}, counts=counts, explore=0.0)
        await bridge.knows("gpu-1" if direct else "")
        for hostile.lies in LIES:
            bridge.ask()
            await bridge.all_ended()
        assert bridge.answered == []
        assert counts["cloud_answers_refused"] >= 5, "until it was left alone"
        with StandInCloud(mosquitto.url, name="gpu-2", direct=True, model=MODEL) as sound:
            await bridge.knows("gpu-2", "gpu-1" if direct else "")
            for hostile.lies in LIES:
                bridge.ask(4, patience=8.0)
                await bridge.all_ended(within=8.0 + SLACK)
            assert {event.reply.cloud for event in bridge.answered} == {"gpu-2"}
            assert all(event.reply.label in sound.given[event.id] for event in bridge.answered)
            assert len(bridge.answered) == 4 * len(LIES)


async def test_a_stalled_agent(mosquitto: RunningBroker, bridge_to: Callable[..., Bridge]) -> None:
    """Subscribed, and never answers: a few wait for the deadline, then nobody does, and probes are shadows."""
    (stalled,) = scripted(mosquitto, "never")
    with leaving([stalled]):
        bridge = bridge_to()
        await bridge.knows("gpu-1")
        whys = []
        end = time.monotonic() + 3.0
        while time.monotonic() < end:
            whys.append(bridge.asks_if_there())
            await asyncio.sleep(0.02)
        await bridge.all_ended()
        assert set(whys) == {"", "the cloud did not answer lately"}
        last = max(bridge.began.values())
        assert last < end - 1.5, "windows were asked about though the breaker was open"
        shadows = [question for question in stalled.questions if question.id not in bridge.began]
        assert 1 <= len(shadows) <= 3
        assert bridge.reasons == {"the cloud did not answer within 0.6 s", "the cloud did not answer lately"}
        stalled.deed = lambda: "answer"
        await until(lambda: not bridge.view().why)
        bridge.ask()
        await bridge.all_ended()
        assert isinstance(bridge.events[-1], Answered)


async def test_a_slow_agent(mosquitto: RunningBroker, bridge_to: Callable[..., Bridge]) -> None:
    """Its answers come after the deadline: nobody hears of them, but how long they took is learned."""
    (slow,) = scripted(mosquitto, "late", delay=PATIENCE + 0.3)
    with leaving([slow]):
        bridge = bridge_to()
        await bridge.knows("gpu-1")
        for _ in range(30):
            bridge.asks_if_there()
            await asyncio.sleep(0.03)
        await bridge.all_ended()
        await until(lambda: bridge.view(grace=2.0).in_grace > 0.5)
        view = bridge.view(grace=2.0)
        assert view.in_time < 0.1
        assert view.expected > PATIENCE
        assert bridge.answered == []


async def test_a_sound_agent_is_asked_while_the_other_is_left_alone(
    mosquitto: RunningBroker, bridge_to: Callable[..., Bridge]
) -> None:
    agents = scripted(mosquitto, "never", "answer")
    with leaving(agents):
        bridge = bridge_to()
        await bridge.knows("gpu-1", "gpu-2")
        for _ in range(40):
            bridge.ask(2)
            await asyncio.sleep(0.02)
        await bridge.all_ended()
        asked = {question.id for question in agents[0].questions}
        bridge.ask(30)
        await bridge.all_ended()
        assert all(isinstance(event, Answered) for event in bridge.events[-30:])
        assert not {event.id for event in bridge.events[-30:]} & asked


@pytest.mark.parametrize("seed", seeds(2))
async def test_flapping(tmp_path: Path, bridge_to: Callable[..., Bridge], seed: int) -> None:
    """The way is cut, stalls and comes back, and agents do as they like: each question ends once, in time."""
    chance = dice(seed)
    deeds: tuple[Deed, ...] = ("answer", "answer", "answer", "twice", "late", "never", "refuse", "garbage")

    def any_deed() -> Deed:
        return chance.choice(deeds)

    with (
        start_mosquitto(tmp_path / "far", extra=KEPT) as far,
        Tap(far.port) as tap,
        StandInCloud(far.url, any_deed, name="gpu-1", direct=True, model=MODEL, delay=0.5),
        StandInCloud(far.url, any_deed, name="gpu-2", direct=True, model=MODEL, delay=0.5),
        StandInCloud(far.url, any_deed, name="gpu-3", direct=False, model=MODEL, delay=0.5),
    ):
        bridge = bridge_to(int(tap.url.rsplit(":", 1)[1]), hedge=0.2)
        await bridge.knows("gpu-1", "gpu-2", "")
        moves = random.Random(seed)
        for _ in range(20):
            for _ in range(8):
                bridge.ask(moves.randrange(1, 6))
                await asyncio.sleep(0.02)
            moves.choice((tap.cut, tap.stall, tap.flow, tap.flow))()
        tap.flow()
        await bridge.all_ended()
        assert bridge.answered, f"seed {seed}"


async def test_an_agent_that_is_not_told_again_after_a_reconnect_is_gone(
    mosquitto: RunningBroker, bridge_to: Callable[..., Bridge]
) -> None:
    first, second = scripted(mosquitto, "never", "never")
    bridge = bridge_to()
    await bridge.knows("gpu-1", "gpu-2")
    bridge.ask(4, patience=8.0)
    mosquitto.kill()  # without persistence: what was retained is gone
    first.die()
    second.die()
    mosquitto.start()
    with leaving(scripted(mosquitto, "answer")):
        await bridge.knows("gpu-1")
        await until(lambda: len(bridge.ended) == 4)
        assert len(bridge.answered) == 4, "what was under way is asked again"
        assert bridge.view().agent == "gpu-1"


async def test_an_agent_that_says_it_is_there_and_does_not_listen(
    mosquitto: RunningBroker, bridge_to: Callable[..., Bridge]
) -> None:
    with Peer(mosquitto.url) as liar:
        status = encode_status(online=True, t=0.0, models={MODEL: "1"}, direct=True)
        liar._client.publish(topics.cloud_status("gpu-9"), status, 1, retain=True).wait_for_publish(5)
        bridge = bridge_to()
        await bridge.knows("gpu-9")
        bridge.ask(patience=60.0)
        await bridge.all_ended()
        assert bridge.reasons == {"no cloud agent was subscribed"}
        (sound,) = scripted(mosquitto, "answer")
        with leaving([sound]):
            await bridge.knows("gpu-9", "gpu-1")
            for _ in range(4):
                bridge.ask(5, patience=60.0)
            await until(lambda: len(bridge.ended) == len(bridge.began))
            assert len(bridge.answered) == 20


async def test_a_broker_that_refuses_the_questions(tmp_path: Path, bridge_to: Callable[..., Bridge]) -> None:
    allowed = "topic read edge/v1/_reply/#\ntopic readwrite edge/v1/_cloud/#\ntopic read edge/v1/_escalate/#\n"
    with start_mosquitto(tmp_path / "strict", acl=allowed) as strict:
        agents = scripted(strict, "answer")
        with leaving(agents):
            bridge = bridge_to(strict.port)
            await bridge.knows("gpu-1")
            bridge.ask(3, patience=60.0)
            await bridge.all_ended()
            assert bridge.reasons == {"the cloud's broker refused the question (0x87)"}


@pytest.mark.parametrize(
    ("packing", "share", "close"), [("float32", 1.0, 0.0), ("float16", 0.5, 2e-3), ("int8", 0.25, 0.03)]
)
async def test_what_arrives_is_packed_as_the_model_allows(
    mosquitto: RunningBroker, bridge_to: Callable[..., Bridge], packing: Any, share: float, close: float
) -> None:
    agents = scripted(mosquitto, "answer")
    with leaving(agents):
        bridge = bridge_to(models={MODEL: Sending(packing)})
        await bridge.knows("gpu-1")
        values = RNG.normal(size=(128, 6)).astype(np.float32)
        bridge.ask(values=values)
        await bridge.all_ended()
        assert np.abs(agents[0].questions[0].values - values).max() <= close
        plain = len(agents[0].messages[0][1])
        assert share * values.nbytes <= plain <= share * values.nbytes + 400
