"""The bridge, put together: the composition root. Nothing else knows all the parts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import bridge
from bridge import assembly, process, topics
from bridge.coap.server import CoapServer
from bridge.errors import BridgeError, ConfigError
from bridge.ledger.desk import Desk
from bridge.ledger.earlier import Earlier
from bridge.mqtt.connection import Connection
from bridge.mqtt.embedded import EmbeddedBroker
from bridge.mqtt.endpoint import Endpoint, parse_url
from bridge.offload.sending import sending
from bridge.pipeline.admit import Admission, ErrorGate
from bridge.pipeline.doors import CoapDoor, MqttDoor
from bridge.pipeline.inbox import Inbox
from bridge.pipeline.outbound import Outbound
from bridge.pipeline.pipeline import Pipeline
from bridge.pipeline.unheard import Unheard
from bridge.presence import Presence
from bridge.reload import Reloader
from bridge.replay import Replayer
from bridge.requests import Requests
from bridge.retune import Retuner
from bridge.runtime.choice import open_engine
from bridge.store.journal import Journal
from bridge.store.waiting import until_room
from bridge.twins import Twins

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from bridge.catalog import Manifest
    from bridge.config import Config
    from bridge.offload.client import CloudClient
    from bridge.pipeline.routes import RouteTable
    from bridge.runtime.port import Engine
    from bridge.store.kept import Kept

log = logging.getLogger("bridge")

# rumqttd withholds PUBACKs while it waits for ours: what its 100 messages under way can make must find room.
EMBEDDED_BACKLOG = 131_072


class App:
    """One bridge.

    Args:
        config: its settings.
        base: folder that relative paths in them start from.
        file: where they are written; None for the defaults.
    """

    def __init__(self, config: Config, base: Path, file: Path | None = None) -> None:
        self._config = config
        self._base = base
        self._file = file
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._replaying: asyncio.Task[None] | None = None
        self._begun = 0  # number of the connection on which the broker's session began, as far as told
        self._counts: Counter[str] = Counter()
        self._twins = Twins(config.bridge.id, secrets.token_hex(8))
        self._presence = Presence(config.bridge.id, self._twins.me, self._counts)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain.

        Raises:
            ConfigError: the settings cannot be used.
            ModelError: a model cannot be used.
            StoreError: the journal or the kept Results cannot be used.
            TakenOver: another client uses this bridge's id.
        """
        loop = asyncio.get_running_loop()
        process.on_stop(loop, self._stop.set)
        process.on_hang_up(loop, self._reload.set)
        state = assembly.state_folder(self._config, self._base)
        models = assembly.manifests(self._config, assembly.catalog_of(self._config, self._base))
        table = assembly.route_table(self._config, models)
        cloud_endpoint = self._cloud_endpoint()
        if self._config.mqtt.url is not None:
            self._devices_endpoint(None)  # a setting that cannot be used is told before anything is begun
        later = state / assembly.RESULTS
        journal = await until_room(partial(Journal, state / "journal.db", log.warning, later=later), self._stop)
        if journal is None:
            return
        kept = None
        try:
            kept = await until_room(partial(assembly.kept_results, self._config, state, log.warning), self._stop)
            if kept is None:
                return
            kept.start()
            engines = {name: await self._engine(manifest, state) for name, manifest in models.items()}
            broker = await self._embedded(state)
            try:
                await self._serve(models, table, engines, journal, kept, broker, cloud_endpoint, state)
            finally:
                if broker is not None:
                    await broker.stop()
        finally:
            if kept is not None:
                await kept.close()
            journal.close()

    async def _engine(self, manifest: Manifest, state: Path) -> Engine:
        chosen = assembly.choose_engine(self._config, manifest, state)
        log.info("%s: %s: %s", manifest.name, chosen.variant.name, chosen.why)
        return await asyncio.to_thread(open_engine, manifest, chosen)

    def _cloud_endpoint(self) -> Endpoint | None:
        section = self._config.cloud
        return None if section is None else assembly.endpoint_of(section, self._base, "cloud")

    async def _embedded(self, state: Path) -> EmbeddedBroker | None:
        section = self._config.mqtt
        if section.url is not None:
            return None
        broker = EmbeddedBroker(
            host=section.listen,
            port=section.port,
            port5=section.port5,
            directory=state / "broker",
            max_payload=self._config.limits.packet,
            on_restart=lambda why: log.warning("the embedded broker was restarted: %s", why),
        )
        try:
            await broker.start()
        except ConfigError as why:
            raise ConfigError(f"mqtt.listen, port, port5: {why}") from why
        return broker

    async def _serve(
        self,
        models: dict[str, Manifest],
        table: RouteTable,
        engines: dict[str, Engine],
        journal: Journal,
        kept: Kept,
        broker: EmbeddedBroker | None,
        cloud_endpoint: Endpoint | None,
        state: Path,
    ) -> None:
        config, limits = self._config, self._config.limits

        def may_answer(topic: str) -> bool:
            taken = (*table.filters, topics.CLOUD_REPLY_FILTER)
            return topics.safe_reply(topic) and not any(topics.matches(text, topic) for text in taken)

        inbox = Inbox(limits.inbox, lambda: door.space(), table.owner, lambda: door.shut())
        door = MqttDoor(inbox, may_answer, limits.payload)
        kept.settled = door.acknowledge
        endpoint = self._devices_endpoint(broker)
        devices = door.connection = Connection(
            endpoint,
            assembly.session(config, table, endpoint, self._presence.will()),
            lambda deliveries: door.received(requests.sift(devices, self._twins.sift(devices, deliveries))),
            on_connected=lambda _session: self._connected(devices, door, replayer, outbound),
            backlog=limits.publishes if broker is None else max(limits.publishes, EMBEDDED_BACKLOG),
        )
        cloud = None
        if cloud_endpoint is not None:
            cloud = assembly.cloud_client(config, cloud_endpoint, models, inbox.tell, self._counts)
            cloud.on_switch(self._presence.hurry)
            self._presence.cloud = cloud.facts
        coap_door = CoapDoor(inbox, lambda: pipeline.stalled or outbound.full)
        host, port = config.coap.address()
        coap = CoapServer(coap_door.handle, host=host, port=port, max_body=limits.payload)
        self._presence.facts = {"version": bridge.__version__, "models": {n: e.version for n, e in engines.items()}}
        counts, unheard = self._counts, Unheard(self._counts)
        outbound = Outbound(
            devices,
            coap.publish if config.coap.enabled else None,
            ErrorGate(limits.errors),
            counts,
            kept=kept,
            unheard=unheard,
            earlier=kept.whole,
            recall=lambda window, record: replayer.recall(window, record),
        )
        replayer = Replayer(kept, devices, unheard, outbound.waiters.recalled, counts, again=config.results.again)
        windower = assembly.windower(config, kept.whole)
        pipeline = Pipeline(
            inbox=inbox,
            admission=Admission(
                table,
                assembly.infer_routes(table, models),
                max_payload=limits.payload,
                max_rows=limits.rows,
                depth=limits.depth,
            ),
            table=table,
            windower=windower,
            engines=engines,
            journal=journal,
            outbound=outbound,
            cloud=cloud,
            counts=counts,
            published=kept.published,
            curves={name: assembly.curve_of(models[name], engine.variant) for name, engine in engines.items()},
        )
        earlier = Earlier(kept, table, outbound.book)
        desk = Desk(
            config.bridge.id, devices, outbound.book, windower,
            works_at=pipeline.works_at, unsure=lambda: earlier.unsure,
        )  # fmt: skip
        pipeline.at_rest = desk.serve
        self._presence.also = lambda: self._totals(pipeline, desk, outbound)
        requests = Requests(
            {topics.replay(config.bridge.id): replayer.asked, topics.bridge_ledger(config.bridge.id): desk.asked},
            may_answer,
        )
        url = await coap.start() if config.coap.enabled else None
        self._start(devices.run())
        self._start(self._twins.found())
        if cloud is not None:
            self._start(cloud.connection.run())
        running = self._start(pipeline.run())
        self._replaying = self._start(replayer.run())
        self._start(earlier.run())
        reloader = self._reloader(models, state, pipeline, devices, cloud)
        retuner = Retuner(config, self._base, self._file, models, reloader.reopen)
        reloader.reloaded = retuner.due.set
        self._start(reloader.run())
        try:
            if await self._or_stop(pipeline.taken_up.wait()) and await self._or_stop(devices.ready()):
                at = str(devices.endpoint)
                process.ready({"mqtt": at if broker is None else broker.url, "mqtt5": at, "coap": url})
                self._start(self._presence.keep_telling(devices))
                if config.bridge.retune:
                    self._start(retuner.run())
                await self._or_stop(asyncio.Event().wait())
            log.info("stopping: %d messages wait, %d questions are open", len(inbox), pipeline.open)
        finally:
            await self._shut_down(devices, cloud, coap, coap_door, pipeline, kept, running)

    @staticmethod
    def _totals(pipeline: Pipeline, desk: Desk, outbound: Outbound) -> dict[str, Any]:
        if pipeline.stalled:  # its turn does not end
            desk.serve(at_rest=False)
        return {"ledger": outbound.book.totals()}

    def _reloader(
        self,
        models: dict[str, Manifest],
        state: Path,
        pipeline: Pipeline,
        devices: Connection,
        cloud: CloudClient | None,
    ) -> Reloader:
        def swap(engine: Engine) -> None:
            manifest = models[engine.model]  # the new one
            pipeline.swap(engine, assembly.curve_of(manifest, engine.variant))
            if cloud is not None and self._config.cloud is not None:
                cloud.swap(engine.model, sending(manifest, self._config.cloud.encoding))
            facts = self._presence.facts
            facts["models"] = {**facts["models"], engine.model: engine.version}
            devices.publish([self._presence.message(online=True)])

        return Reloader(self._config, self._base, state, models, swap, self._reload)

    def _devices_endpoint(self, broker: EmbeddedBroker | None) -> Endpoint:
        if broker is None:
            return assembly.endpoint_of(self._config.mqtt, self._base, "mqtt")
        _, host, port = parse_url(broker.url5, key="mqtt")
        return Endpoint(host, port)

    def _connected(self, connection: Connection, door: MqttDoor, replayer: Replayer, outbound: Outbound) -> None:
        door.connected(connection.session)
        connection.publish([self._presence.message(online=True)])
        if connection.session.begun != self._begun:  # maybe on a connection that ended before it was up
            self._begun = connection.session.begun
            replayer.session_lost(outbound.heard_at)

    # ---- living and dying

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def _or_stop(self, work: Coroutine[Any, Any, Any]) -> bool:
        """Wait for the work, for a signal, or for a part that fails.

        Returns:
            Whether the work came to its end.
        """
        mine = asyncio.create_task(work)
        stop = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait({mine, stop, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            return mine in done
        finally:
            mine.cancel()
            stop.cancel()

    async def _leave_group(self, devices: Connection) -> None:
        """Get no more of the group's messages: the broker would keep them for us, and not give them to the others."""
        mine = tuple(text for text in devices.session.settings.subscriptions if topics.is_shared(text))
        if mine:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._config.bridge.drain):
                    await devices.unsubscribe(mine)

    async def _shut_down(
        self,
        devices: Connection,
        cloud: CloudClient | None,
        coap: CoapServer,
        coap_door: CoapDoor,
        pipeline: Pipeline,
        kept: Kept,
        running: asyncio.Task[None],
    ) -> None:
        await self._leave_group(devices)
        devices.stop_delivering()
        if self._replaying is not None:
            self._replaying.cancel()
        failed = running.done()
        if not failed:
            await pipeline.drain(self._config.bridge.drain)
            await asyncio.wait([running], timeout=self._config.bridge.drain)
        coap_door.close()
        await coap.stop()
        if devices.connected:
            devices.publish([self._presence.message(online=False)])
            await asyncio.wait([asyncio.ensure_future(devices.drained())], timeout=self._config.bridge.drain)
        await asyncio.wait([asyncio.ensure_future(kept.flush())], timeout=self._config.bridge.drain)
        await devices.close()
        if cloud is not None:
            await cloud.connection.close()
        if not failed and running.done():  # else a commit may be under way, beside which there is to be no other
            await pipeline.finish()
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, BridgeError):
                log.error("%s", outcome)
