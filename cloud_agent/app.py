"""The composition root: engine, service and connection, from start to the last goodbye."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import time
from typing import TYPE_CHECKING, Any

from bridge import topics
from bridge.errors import BridgeError, TakenOver
from bridge.mqtt import messages
from bridge.mqtt.connection import Connection
from bridge.mqtt.messages import Publish
from bridge.wire import zstd
from cloud_agent.engines import onnx
from cloud_agent.presence import Presence
from cloud_agent.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.mqtt.endpoint import Endpoint
    from bridge.mqtt.messages import Delivery
    from bridge.mqtt.session import Session
    from cloud_agent.config import Engine, Settings
    from cloud_agent.engines.port import CloudEngine

log = logging.getLogger("cloud_agent")

SETTLE = 1.0  # seconds after a reconnect for a retained status to arrive
GOODBYE = 2.0  # seconds for the broker to take the last replies and the status


class App:
    """One agent at one broker."""

    def __init__(self, settings: Settings, endpoint: Endpoint, engine: CloudEngine) -> None:
        """Prepare; `run` connects.

        Args:
            settings: the file.
            endpoint: the broker.
            engine: loaded and warm.
        """
        self._settings = settings
        self._presence = Presence(settings.cloud.id, _facts(engine))
        self._twin = asyncio.Event()
        self._told = False  # that we are there, at least once
        self._announcing: asyncio.TimerHandle | None = None
        self._connection = Connection(endpoint, self._session(endpoint), self._received, on_connected=self._connected)
        self._service = Service(settings.cloud.id, engine, self._connection, settings.limits)

    async def run(self, stop: asyncio.Event) -> int:
        """Serve until told to stop.

        Args:
            stop: set it to drain and end.

        Returns:
            Exit status: 0 after `stop`; 1 when another agent has our id or the engine keeps failing.
        """
        link = asyncio.create_task(self._connection.run())
        work = asyncio.create_task(self._service.serve())
        told = asyncio.create_task(stop.wait())
        twin = asyncio.create_task(self._twin.wait())
        tasks = (link, work, told, twin)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return await self._end(link, work)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)  # raised by `_end` where it matters
            service = self._service
            log.info(
                "stopped: %d questions answered, %d refused, %d cancelled",
                service.answered,
                service.refused,
                service.cancelled,
            )

    async def _end(self, link: asyncio.Task[None], work: asyncio.Task[None]) -> int:
        if link.done() or self._twin.is_set():
            if link.done() and not isinstance(link.exception(), TakenOver):
                link.result()
            log.error(
                "another agent connected as %r and goes on; this one stops. Give each its own id",
                self._settings.cloud.id,
            )
            await self._connection.close()
            return 1
        if work.done():
            self._service.abandon()
            await self._goodbye("engine failed")
            why = work.exception()
            if not isinstance(why, BridgeError):
                work.result()
            log.error("the engine keeps failing, last with: %s", why)
            return 1
        log.info("told to stop: answering what waits")
        await self._service.drain(self._settings.limits.drain)
        await self._goodbye("stopped")
        return 0

    async def _goodbye(self, why: str) -> None:
        if self._connection.connected:
            self._tell(self._presence.offline(time.time(), why))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE):
                    await self._connection.drained()
        await self._connection.close()

    # ---- the broker

    def _session(self, endpoint: Endpoint) -> messages.Settings:
        cloud, limits = self._settings.cloud, self._settings.limits
        return messages.Settings(
            client_id=f"cloud-agent-{cloud.id}",
            username=endpoint.username,
            password=endpoint.password,
            keep_alive=cloud.keep_alive,
            # A session that outlived us would go on being sent its share of the questions (Mosquitto).
            session_expiry=0,
            clean_start=True,
            receive_maximum=limits.receive_maximum,
            maximum_packet=limits.maximum_packet,
            subscriptions=(
                topics.shared(cloud.group, topics.ESCALATE_FILTER),
                topics.escalate_filter(cloud.id),
                self._presence.topic,
            ),
            will=(self._presence.topic, self._presence.offline(time.time(), "vanished")),
        )

    def _connected(self, _session: Session) -> None:
        if not self._told:  # whatever is retained there is from before us
            self._told = True
            self._tell(self._online())
            facts = {**self._presence.facts, "cloud": str(self._connection.endpoint)}
            print(f"ready {json.dumps(facts)}", flush=True)  # noqa: T201 # the contract's line on stdout
            return
        self._announce_in(SETTLE)

    def _received(self, deliveries: list[Delivery]) -> None:
        questions = [delivery for delivery in deliveries if delivery.topic != self._presence.topic]
        if len(questions) < len(deliveries):
            statuses = [delivery for delivery in deliveries if delivery.topic == self._presence.topic]
            self._connection.acknowledge(statuses)
            for status in statuses:
                self._heard(status)
        self._service.take(questions)

    def _heard(self, status: Delivery) -> None:
        ours = self._presence.is_ours(status.payload)
        if ours is False and (self._announcing is not None or not status.retain):
            self._twin.set()
        elif ours and self._announcing is not None:
            self._announce_in(0.0)

    def _announce_in(self, seconds: float) -> None:
        """Say that we are back, once it is known that nobody else is there: saying it sooner would hide it."""
        if self._announcing is not None:
            self._announcing.cancel()
        self._announcing = asyncio.get_running_loop().call_later(seconds, self._announce)

    def _announce(self) -> None:
        self._announcing = None
        if not self._twin.is_set():
            self._tell(self._online())

    def _online(self) -> bytes:
        return self._presence.online(time.time(), run_ms=self._service.forecast.full_batches(time.monotonic()))

    def _tell(self, payload: bytes) -> None:
        self._connection.publish([Publish(self._presence.topic, payload, retain=True)])


def _facts(engine: CloudEngine) -> dict[str, Any]:
    served = engine.served
    return {
        "direct": True,
        "zstd": list(zstd.KNOWN),
        "engine": ", ".join(sorted({model.provider for model in served.values()})),
        "models": {name: model.version for name, model in served.items()},
        "variants": {name: model.variant for name, model in served.items()},
        "batch": {name: model.batch for name, model in served.items()},
    }


async def run(settings: Settings, endpoint: Endpoint, *, load: Callable[[Engine], CloudEngine] = onnx.load) -> int:
    """Load the engine, serve until SIGTERM or SIGINT.

    Args:
        settings: the file.
        endpoint: the broker.
        load: makes the engine; called in a thread.

    Returns:
        Exit status, as of `App.run`.

    Raises:
        ConfigError: the engine cannot be had as configured.
        ModelError: a model cannot be used.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stop.set)
    engine = await asyncio.to_thread(load, settings.engine)
    try:
        return await App(settings, endpoint, engine).run(stop)
    finally:
        engine.close()
