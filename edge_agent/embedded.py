"""The agent inside a program of its owner, on the program's event loop; see `docs/adr/0031-embedded-agent.md`."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bridge.errors import BridgeError, ConfigError, StoreError
from edge_agent import config
from edge_agent.app import App
from edge_agent.feed import Feed
from edge_agent.uplinks import make_uplink

if TYPE_CHECKING:
    from types import TracebackType

    from bridge.link import Estimator
    from edge_agent.config import Settings

log = logging.getLogger(__name__)

DRAIN = 5.0  # seconds


class EdgeAgent:
    """Sends rows of this program to the bridge, and keeps them on disk until they are safe there.

    ::

        async with EdgeAgent.load("edge_agent.toml") as agent:
            wrist = agent.stream("wrist")
            first = await wrist.put(rows)  # float32, shape (rows, channels)

    A program that was killed goes on where it was: what was accepted and is not receipted is sent by the next.

    Args:
        settings: as in `config/edge_agent.toml`; a stream that this program feeds has `source = "program"`.
        drain: seconds that leaving the block waits for receipts; the rest is sent by the next start.
        estimator: of the link, in place of the one that listens to the traffic.

    Raises:
        ConfigError: a stream reads stdin, a file of credentials cannot be used, or pins leave nothing.
    """

    def __init__(self, settings: Settings, *, drain: float = DRAIN, estimator: Estimator | None = None) -> None:
        for i, stream in enumerate(settings.streams):
            if stream.source == "stdin":
                raise ConfigError(f'streams[{i}].source: "stdin" is for `edge-agent run`; here it is "program"')
        self._settings, self._drain, self._estimator = settings, drain, estimator
        self._feeds: dict[str, Feed] = {}
        self._life: asyncio.Task[None] | None = None

    @classmethod
    def load(cls, path: str | Path, *, drain: float = DRAIN, estimator: Estimator | None = None) -> Self:
        """An agent with the settings of a file.

        Raises:
            ConfigError: naming file, key and why.
        """
        settings = config.load(Path(path))
        try:
            return cls(settings, drain=drain, estimator=estimator)
        except ConfigError as why:
            raise ConfigError(f"{path}: {why}") from why

    def stream(self, name: str) -> Feed:
        """Where to put rows of a stream, within the block.

        Raises:
            ValueError: no stream is called so, or it has another source.
        """
        if name not in self._feeds:
            known = ", ".join(self._feeds) or "none, or the agent has not begun (async with)"
            raise ValueError(f'no stream {name!r} with source = "program"; there is {known}')
        return self._feeds[name]

    async def __aenter__(self) -> Self:
        """Begins; returns when rows can be accepted.

        Raises:
            ConfigError: a setting cannot be used.
            StoreError: the outbox cannot be opened, or another agent has it open.
        """
        agent = self._settings.agent
        uplink = make_uplink(self._settings, client_id=agent.client_id, keep_session=True, estimator=self._estimator)
        fed = [one for one in self._settings.streams if one.source == "program"]
        self._feeds = {one.name: Feed(one.name, rate=one.rate, clock=time.time) for one in fed}
        ready = asyncio.Event()
        app = App(agent, self._settings.streams, store=agent.store, uplink=uplink, feeds=self._feeds, ready=ready.set)
        self._life = asyncio.create_task(self._live(app), name="edge agent")
        begun = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait({self._life, begun}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self._stop(self._life)
            raise
        finally:
            begun.cancel()
        if not ready.is_set():
            await self._life
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends: sends what it can within `drain` seconds.

        Raises:
            TakenOver: another client used this agent's name.
            StoreError: the outbox was damaged.
        """
        assert self._life is not None  # noqa: S101 # entered
        for feed in self._feeds.values():
            feed.end()
        try:
            await asyncio.wait({self._life}, timeout=self._drain)
        finally:
            await self._stop(self._life)
        if self._life.cancelled():
            log.info("stopped; what is not receipted is in %s", self._settings.agent.store)
        elif (why := self._life.exception()) is not None:
            if error is None:
                raise why
            if why is not error:
                log.error("the agent had failed: %s", why)

    async def _stop(self, life: asyncio.Task[None]) -> None:
        life.cancel()
        await asyncio.wait({life})

    async def _live(self, app: App) -> None:
        """The agent's life; whoever waits for it hears of its end."""
        why: BridgeError = StoreError(
            "the agent ended before it knew that these rows are on disk: not accepted, perhaps kept"
        )
        failed = False
        try:
            await app.run()
        except BridgeError as error:
            why, failed = error, True
            raise
        finally:
            app.keeper.abandon(why)
            for feed in self._feeds.values():
                feed.fail(why, for_good=failed)
