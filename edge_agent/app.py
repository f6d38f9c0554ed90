"""The agent put together: sources → outbox → sender → uplink."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from bridge.errors import StoreError
from bridge.ranges import Range, text
from bridge.store.lost import UNUSED
from bridge.store.outbox import NOT_FINITE, Append, Limits, Outbox
from edge_agent import config
from edge_agent.feed import Feed
from edge_agent.keeper import Keeper
from edge_agent.ledger import Ledger
from edge_agent.news import News
from edge_agent.sender import Sender
from edge_agent.sources.lines import Lines
from edge_agent.sources.replay import Replay, named

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence

    from bridge.store.outbox import Series
    from edge_agent.config import Agent, Stream
    from edge_agent.route import Route
    from edge_agent.sampler import Chunk
    from edge_agent.uplink import Uplink

log = logging.getLogger(__name__)

FLUSH_TIMEOUT = 1.5  # seconds: a full disk must not hold up the end
TELL = 5.0  # seconds between two looks at what the status should tell


class Source(Protocol):
    """Hands over rows; see `sources/`."""

    def chunks(self, clock: Callable[[], float], mono: Callable[[], float]) -> AsyncIterator[Chunk]:
        """Chunks, as they come."""


class Confirmation(msgspec.Struct, frozen=True):
    """Rows that are on disk now."""

    stream: str
    epoch: str
    accepted: Range


class App:
    """One agent with its outbox and its uplink.

    Args:
        agent: its settings.
        streams: what it sends.
        store: file of the outbox.
        uplink: where it sends.
        epoch: name of the numbering; None: made from the store's name, so the same as long as the store lives.
        lanes: send what is not fresh any more as backlog beside live rows; else everything in order.
        feeds: where the program hands over rows, of each stream that it feeds.
        confirm: takes what is on disk, for streams that ask for it.
        ready: called once rows can be accepted.
    """

    def __init__(
        self,
        agent: Agent,
        streams: Sequence[Stream],
        *,
        store: Path,
        uplink: Uplink,
        epoch: str | None = None,
        lanes: bool = True,
        feeds: Mapping[str, Feed] | None = None,
        confirm: Callable[[Confirmation], None] = lambda _: None,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        limits = Limits(agent.max_bytes, agent.max_age, agent.when_full, agent.thin_rows)
        self._streams = {stream.name: stream for stream in streams}
        self._uplink = uplink
        self._epoch = epoch
        self._lanes = lanes
        self._feeds = feeds or {}
        self._confirm = confirm
        self._ready = ready
        self.keeper = Keeper(
            lambda: Outbox(store, limits, tell=log.error),
            clock=time.time,
            mono=time.monotonic,
            commit_wait=agent.commit_wait,
            longest_pause=(agent.max_age or 0.0) / 2,
            ample=agent.max_bytes // 2,
        )
        self.sender = Sender(
            self.keeper,
            uplink,
            clock=time.monotonic,
            dice=random.random,
            receipt_timeout=agent.receipt_timeout,
            backlog_after=agent.backlog_after,
        )
        self.keeper.listen(self.sender.gave_up)
        self.accepted = 0
        self.dropped: list[Range] = []  # given up by a rule, once it has ended
        self.opened = False

    async def run(self) -> None:
        """Until every source has ended and every row is receipted or dropped by rule; or cancelled.

        Where a message is a window, one that stdin or a program has begun waits for the next life. When cancelled, what
        was handed over is committed first.

        Raises:
            ConfigError: a recording cannot be used.
            StoreError: the outbox cannot be used.
            TakenOver: another client uses our name.
        """
        await self.keeper.open()
        self.opened = True
        ledger = Ledger(self.keeper.box, list(self._streams))
        try:
            await self._take_up()
            self._ready()
            await self._uplink.tell(await self.keeper.call(ledger.facts))
            helpers = [self.keeper.run(), self.keeper.keep_house(), self.sender.run(), self._uplink.run(self.sender)]
            await _while_running(self._work(), *helpers, self._tell(ledger))
        finally:
            async with (
                AsyncExitStack() as stack
            ):  # cancelled or failing on the way, it lets go of the file all the same
                stack.push_async_callback(self.keeper.close)
                stack.push_async_callback(self._uplink.close)
                with suppress(StoreError):  # a damaged file tells no more
                    await self._uplink.tell(await self.keeper.call(ledger.facts), at_once=False)
                    self.dropped = await self.keeper.call(self._dropped)

    async def left(self) -> list[tuple[Series, list[Range]]]:
        """Rows that are not receipted, by series; the outbox must be open."""
        box = self.keeper.box
        return await self.keeper.call(lambda: [(one, ranges) for one in box.series() if (ranges := box.kept(one.id))])

    async def missing(self) -> list[Range]:
        """Rows that are not receipted, of all series; nothing before the outbox is open."""
        return [one for _, ranges in await self.left() for one in ranges] if self.opened else []

    def _dropped(self) -> list[Range]:
        return [(one.first, one.last) for one in self.keeper.box.dropped() if one.rule not in {NOT_FINITE, UNUSED}]

    async def _tell(self, ledger: Ledger) -> None:
        """Keeps the status true, until cancelled."""
        news = News()
        while True:
            facts = await self.keeper.call(ledger.facts)
            if self.keeper.trouble:
                facts["store"] = self.keeper.trouble
            if news.are(facts, time.monotonic(), sent=self.sender.passed_bytes):
                news.told(await self._uplink.tell(facts))
            await asyncio.sleep(TELL)

    async def _pending(self) -> bool:
        """Whether something is still to be sent, or told to the bridge."""
        begun = [(route.series.id, route.lanes.live.begun) for route in self.sender.routes]
        return await self.keeper.call(lambda: any(self._holds(*one) for one in begun))

    def _holds(self, series: int, begun: int | None) -> bool:
        box = self.keeper.box
        if begun is None or series in box.given_up.series:
            return box.holds(series)
        row = box.next_kept(series, 0)
        return row is not None and row < begun

    async def _take_up(self) -> None:
        """What an earlier life left behind is sent, beside what comes new."""
        box = self.keeper.box
        await self.keeper.call(self._rewind)
        found = await self.keeper.call(lambda: [(one, box.kept(one.id)) for one in box.series() if box.holds(one.id)])
        for series, ranges in found:
            stream = self._streams.get(series.stream)
            if stream is None:
                log.warning("stream %s is not configured any more; its rows stay in the outbox", series.stream)
                continue
            route = self._route(series, stream, ranges[0][0] if ranges else series.next)
            goes_on = series.epoch in self._epochs(stream) and (not series.ended or _completes(stream))
            route.lanes.live.ended = not goes_on
            log.info("stream %s, epoch %s: rows %s to send", series.stream, series.epoch, text(ranges))

    def _rewind(self) -> None:
        """What was lost with a damaged store is handed over again, where the source is a recording."""
        box = self.keeper.box
        for series in box.series():
            stream = self._streams.get(series.stream)
            if stream is not None and stream.source == "replay" and series.epoch in self._epochs(stream):
                row = box.rewind(series.id)
                if row is not None:
                    log.warning("stream %s: what was lost is read again, from row %d on", stream.name, row)

    def _route(self, series: Series, stream: Stream, start: int) -> Route:
        lanes = self._lanes and not (stream.source == "replay" and stream.speed == 0)
        return self.sender.add(series, stream, start, lanes=lanes)

    def _epochs(self, stream: Stream) -> list[str]:
        """Names of the numberings that the source of a stream may go on with."""
        if self._epoch or stream.source != "replay":
            return [self._epoch or self.keeper.box.store]
        return [name for _, name in named([Path(file) for file in stream.files], self.keeper.box.store)]

    async def _work(self) -> None:
        sources = [asyncio.create_task(self._take(stream)) for stream in self._streams.values()]
        try:
            await asyncio.gather(*sources)
            self.keeper.wind_down()
            while True:
                commit = self.keeper.next_commit()
                if not await self._pending():
                    break
                await commit.wait()
        finally:
            for source in sources:
                source.cancel()
            await asyncio.gather(*sources, return_exceptions=True)
            try:
                async with asyncio.timeout(FLUSH_TIMEOUT):
                    await self.keeper.flush()
            except TimeoutError:
                log.error("the outbox does not take what is still in memory: it was not accepted, and is lost")  # noqa: TRY400 # no bug

    async def _take(self, stream: Stream) -> None:
        """All that the source of one stream gives."""
        box = self.keeper.box
        if stream.source != "replay":
            epoch = self._epoch or box.store
            series = await self.keeper.call(lambda: box.begin(stream.name, epoch))
            fed = self._feeds[stream.name] if stream.source == "program" else Lines(0, "stdin", rate=stream.rate)
            await self._take_series(stream, series, fed)
            return
        for path, made in named([Path(file) for file in stream.files], box.store):
            name = self._epoch or made
            series = await self.keeper.call(lambda name=name: box.begin(stream.name, name))  # type: ignore[misc] # mypy cannot type a default
            if not series.ended:
                source = Replay(path, columns=stream.columns, rate=stream.rate, speed=stream.speed, start=series.next)
                await self._take_series(stream, series, source)

    async def _take_series(self, stream: Stream, series: Series, source: Source | Feed) -> None:
        route = next((one for one in self.sender.routes if one.series.id == series.id), None)
        route = route or self._route(series, stream, series.next)
        self.sender.grew(route, series.next)
        take = partial(self._keep, route)
        if isinstance(source, Feed):
            await source.run(take, self.keeper)
        else:
            async for chunk in source.chunks(time.time, time.monotonic):
                await self.keeper.room()
                take(chunk)
        if _completes(stream):
            await self.keeper.flush()
            self._tell_begun(route)
            return
        ended = self.keeper.end(series.id)
        await self.keeper.flush()
        await ended
        self.sender.grew(route, route.lanes.live.end, ended=True)

    def _tell_begun(self, route: Route) -> None:
        live = route.lanes.live
        if live.begun is not None:
            rows = text([(live.begun, live.end - 1)])
            log.info("stream %s: rows %s are no whole window yet: kept, for the next start", route.stream.name, rows)

    def _keep(self, route: Route, chunk: Chunk) -> asyncio.Future[int]:
        """The number of its first row, once it is on disk."""
        stream = route.stream
        if chunk.skip:
            log.warning("stream %s: %d rows were not finite and are left out", stream.name, chunk.skip)
        append = Append(route.series.id, chunk.values, chunk.t, chunk.dt, chunk.skip, stream.rows_per_message)
        count = len(chunk.values)
        early = None if stream.source == "replay" else partial(self._promised, route, count)  # which can be read again
        return self.keeper.take(append, partial(self._accepted, route, count), early)

    def _promised(self, route: Route, count: int, first: int) -> None:
        """So many rows will be on disk in a moment, from this number on."""
        self.sender.grew(route, first + count)

    def _accepted(self, route: Route, count: int, first: int) -> None:
        """So many rows are on disk, from this number on."""
        self.accepted += count
        if route.lanes.live.end < first + count:
            self.sender.grew(route, first + count)
        if count and route.stream.confirm:
            self._confirm(Confirmation(route.series.stream, route.series.epoch, (first, first + count - 1)))


def _completes(stream: Stream) -> bool:
    """Whether the source goes on in the next life with the very window that it has begun in this one."""
    return stream.windows == "whole" and stream.source != "replay"


async def _while_running(work: Coroutine[Any, Any, None], *helpers: Coroutine[Any, Any, None]) -> None:
    """Runs helpers for as long as the work takes; the first error of any ends all.

    The work is ended first, so that it can still use the helpers while it cleans up.
    """
    main = asyncio.create_task(work)
    others = [asyncio.create_task(helper) for helper in helpers]
    try:
        done, _ = await asyncio.wait({main, *others}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        main.cancel()
        await asyncio.gather(main, return_exceptions=True)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def make_uplink(agent: Agent, *, client_id: str, keep_session: bool) -> Uplink:
    """The uplink that the URL asks for; only its library is imported.

    Raises:
        ConfigError: a file of credentials cannot be used.
    """
    url = config.parse_url(agent.url)
    if url.scheme == "coap":
        from edge_agent.coap import CoapUplink

        return CoapUplink(url, site=agent.site, device=agent.device, window=agent.window, timeout=agent.publish_timeout)
    from edge_agent.login import Login
    from edge_agent.mqtt import MqttUplink

    login = Login(
        url=url,
        client_id=client_id,
        protocol=agent.protocol,
        keep_alive=agent.keep_alive,
        username=agent.username,
        password=None if agent.password_file is None else config.read_password(agent.password_file),
        ca=agent.ca,
        cert=agent.cert,
        key=agent.key,
        keep_session=keep_session,
    )
    return MqttUplink(
        login, site=agent.site, device=agent.device, window=agent.window, publish_timeout=agent.publish_timeout
    )
