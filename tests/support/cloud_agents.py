"""Cloud agents in processes of their own, and one who asks them as a bridge does."""

from __future__ import annotations

import asyncio
import json
import sys
import textwrap
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge import topics
from bridge.catalog import Catalog
from bridge.mqtt.connection import Connection
from bridge.mqtt.endpoint import Endpoint
from bridge.mqtt.messages import Delivery, Publish, Settings
from bridge.mqtt.session import NO_MATCHING_SUBSCRIBERS
from bridge.wire.offload import Asking, Question, Reply, decode_replies, encode_question, pack_asking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from bridge.messages import Rows
    from tests.support.brokers import RunningBroker

ROOT = Path(__file__).parents[2]
MODEL = "activity"
REPLY_TO = topics.reply("gw-1")
COMMAND = (sys.executable, "-m", "cloud_agent.cli", "run")
# The same agent with a model that takes its time: what is under way can be killed.
SLOW = (
    sys.executable,
    "-c",
    textwrap.dedent("""
        import sys, time
        from bridge.runtime.fake import FakeEngine
        from cloud_agent import cli
        from cloud_agent.engines import onnx
        from cloud_agent.engines.inprocess import InProcess
        def rule(window):
            time.sleep(0.02)
            return [0.0, float(window[0, 0])]
        def load(settings):
            return InProcess([FakeEngine(model="activity", max_batch=settings.max_batch, rule=rule)])
        from cloud_agent import app
        app.run.__kwdefaults__["load"] = load
        sys.exit(cli.main())
    """),
    "run",
)


class Agent:
    """A cloud agent in a child process."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    async def ready(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            line = (await self.process.stdout.readline()).decode()
        assert line.startswith("ready "), f"{line!r}; {self.log.read_text()}"
        found = json.loads(line.removeprefix("ready "))
        assert isinstance(found, dict)
        return found

    async def ended(self) -> int:
        async with asyncio.timeout(20):
            return await self.process.wait()


@asynccontextmanager
async def agent(
    directory: Path, url: str, name: str = "gpu-1", *, command: Sequence[str] = COMMAND, more: str = ""
) -> AsyncIterator[Agent]:
    config = directory / f"{name}.toml"
    config.write_text(f'[cloud]\nid = "{name}"\nurl = "{url}"\n{more}\n')
    log = directory / f"{name}.log"
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command, "--config", str(config), cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=stderr
        )
    try:
        yield Agent(process, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Asker:
    """Asks as a bridge does, and keeps replies by correlation, else by id, and every status seen.

    Attributes:
        replies: in the order in which they came.
        statuses: of each agent, the latest.
        messages: replies that came together.
        unheard: ids asked of nobody: no agent was subscribed.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.replies: dict[bytes, list[Reply]] = {}
        self.statuses: dict[str, dict[str, Any]] = {}
        self.messages: list[list[Reply]] = []
        self.unheard: set[str] = set()
        subscriptions = (REPLY_TO, topics.CLOUD_STATUS_FILTER)
        settings = Settings("asker", subscriptions=subscriptions, session_expiry=0, clean_start=True)
        self.connection = Connection(endpoint, settings, self._received)

    def ask(self, windows: dict[str, Rows], *, patience: float = 20.0) -> None:
        for name, window in windows.items():
            self.ask_bytes(encode_question(Question(name, MODEL, window, patience)), name.encode())

    def ask_bytes(self, payload: bytes, correlation: bytes) -> None:
        message = Publish(topics.escalate(MODEL), payload, response_topic=REPLY_TO, correlation=correlation, expiry=20)
        self.connection.publish([message])

    def ask_together(self, windows: dict[str, Rows], *, agent: str | None = None, patience: float = 20.0) -> None:
        """Several questions a message, and no Correlation Data."""
        questions = [Question(name, MODEL, window, patience) for name, window in windows.items()]
        for packed in pack_asking(Asking(questions)):
            names = {question.id for question in packed.questions}

            def done(code: int, names: set[str] = names) -> None:
                self.unheard |= names if code == NO_MATCHING_SUBSCRIBERS else set()

            topic = topics.escalate(MODEL, agent)
            self.connection.publish([Publish(topic, packed.payload, response_topic=REPLY_TO, expiry=20, done=done)])

    def cancel(self, names: Sequence[str], *, agent: str) -> None:
        """No replies are wanted any more."""
        for packed in pack_asking(Asking(cancel=list(names))):
            self.connection.publish([Publish(topics.escalate(MODEL, agent), packed.payload, response_topic=REPLY_TO)])

    def answer(self, name: str) -> Reply | None:
        return next((one for one in self.replies.get(name.encode(), []) if one.error is None), None)

    def _received(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            cloud = topics.parse_cloud_status(delivery.topic)
            if cloud is not None:
                self.statuses[cloud] = json.loads(delivery.payload)
                continue
            self.messages.append(decode_replies(delivery.payload))
            for reply in self.messages[-1]:
                self.replies.setdefault(delivery.correlation or reply.id.encode(), []).append(reply)
        self.connection.acknowledge(deliveries)


@asynccontextmanager
async def asker(endpoint: Endpoint) -> AsyncIterator[Asker]:
    found = Asker(endpoint)
    running = asyncio.create_task(found.connection.run())
    try:
        async with asyncio.timeout(10):
            await found.connection.ready()
        yield found
    finally:
        await found.connection.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(true: Callable[[], object], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is awaited happens in other processes
            await asyncio.sleep(0.005)


def here(broker: RunningBroker) -> Endpoint:
    return Endpoint("127.0.0.1", broker.port)


def recorded(count: int) -> dict[str, Rows]:
    """Windows of a person whom no model saw."""
    manifest = Catalog()[MODEL]
    recording = np.load(manifest.folder / "sample" / "s08-r01.npz")["values"].astype(np.float32)
    rows = manifest.input.rows
    starts = np.linspace(0, len(recording) - rows, count).astype(int)
    return {f"w{i}": recording[start : start + rows] for i, start in enumerate(starts)}


def plain(count: int) -> dict[str, Rows]:
    return {f"w{i}": np.full((128, 6), i % 7, np.float32) for i in range(count)}
