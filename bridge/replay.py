"""Kept Results, published again: the one place that does so, one replay at a time, and never at the cost of live ones.

Again is published, each with the bytes of the first time,

* what the broker took shortly before it lost our session (CONNACK without session_present);
* what the broker gave to nobody (PUBACK 0x10), once somebody listens: one Result of each such topic is tried now and
  then, and what follows it is published when one is heard;
* what an operator asks for at `edge/v1/_bridge/{bridge}/replay`;
* the Result of a whole window that comes a second time after our restart: then its message is acknowledged.

Of all these at most `WINDOW` are under way, so that a live Result waits for no more than these, and after each
half of it there is a `REST`, so that the event loop is free for live ones most of the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from bridge.errors import Refused, StoreError
from bridge.messages import Error
from bridge.mqtt.messages import Publish
from bridge.mqtt.session import NO_MATCHING_SUBSCRIBERS
from bridge.replay_jobs import Job, asked, heard
from bridge.requests import Reply, answer
from bridge.store.kept_file import Entry, Query

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Callable, Sequence

    from bridge.pipeline.unheard import Unheard
    from bridge.store.kept import Kept

log = logging.getLogger("bridge.replay")

WINDOW = 128  # Results published again and not yet acknowledged by the broker, at most
MOST_WAITING = 8  # operators' requests that wait
PROBE_FIRST, PROBE_LONGEST = 2.0, 30.0  # seconds between two tries to be heard
SWEEP_EVERY = 5.0  # seconds between two tries of all topics
REST = 0.002  # seconds after each half of the window: some 25,000 Results a second at most
ROOM = 0.05  # seconds between two looks whether the broker takes more


class Publisher(Protocol):
    """What a replay needs of a connection."""

    @property
    def full(self) -> bool:
        """More publishes wait for the broker than may."""
        ...

    def publish(self, messages: Sequence[Publish]) -> None:
        """Queue messages."""
        ...


class Replayer:
    """Runs replays.

    Args:
        kept: the kept Results.
        publisher: the broker's connection.
        unheard: what the broker gave to nobody.
        recalled: told which whole window's Result was published again, or is kept no more.
        counts: where to count.
        again: seconds before the broker lost us of which the Results are published again.
    """

    def __init__(
        self,
        kept: Kept,
        publisher: Publisher,
        unheard: Unheard,
        recalled: Callable[[str], None],
        counts: Counter[str],
        *,
        again: float,
    ) -> None:
        self._kept = kept
        self._publisher = publisher
        self._unheard = unheard
        self._recalled = recalled
        self._counts = counts
        self._again = again
        self._lost: float | None = None
        self._recalls: dict[int, list[str]] = {}
        self._requests: deque[Job] = deque()
        self._before = kept.unheard  # first record of which Results may have reached nobody, of an earlier process
        self._noted = kept.unheard
        self._wake = asyncio.Event()
        unheard.on_low = self._wake.set
        self._room = asyncio.Event()
        self._under_way = 0
        self._taken = 0
        self._pause = PROBE_FIRST
        self._probe_at = self._sweep_at = 0.0
        self._swept = True

    # ---- what may be asked for

    def session_lost(self, heard_at: float | None) -> None:
        """The broker does not know our session any more.

        Args:
            heard_at: monotonic seconds of the newest Result that it took; None if this process published none.
        """
        since = (self._kept.latest if heard_at is None else heard_at) - self._again
        self._lost = since if self._lost is None else min(since, self._lost)
        self._wake.set()

    def asked(self, request: dict[str, Any], reply: Reply | None) -> None:
        """Take an operator's request.

        Raises:
            Refused: `malformed`, `not_finite` or `missing_key`, naming the key; `overload` when too many wait.
        """
        job = asked(request, reply)
        if len(self._requests) >= MOST_WAITING:
            raise Refused("overload", f"{MOST_WAITING} replays wait already")
        self._requests.append(job)
        self._counts["replays_asked"] += 1
        self._wake.set()

    def recall(self, window: str, record: int) -> None:
        """Publish the Result of one window again."""
        self._recalls.setdefault(record, []).append(window)
        self._wake.set()

    # ---- the one who does it

    async def run(self) -> None:
        """Do what is asked, for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_FIRST):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._all()
            except StoreError as why:
                log.error("%s; what is kept is published again when it can be read", why)  # noqa: TRY400 # the message says it all

    async def _all(self) -> None:
        """Everything that is due: the most urgent first, looked for anew after each."""
        while True:
            await self._note_unheard()
            if self._recalls:
                await self._recall_all()
            elif (job := self._next()) is not None:
                await self._replay(job)
            elif not await self._try_to_be_heard():
                return

    async def _note_unheard(self) -> None:
        """Keep the watermark on the disk, as soon as there is one: a `kill -9` may follow."""
        low = self._unheard.low
        if low != self._noted and self._before is None:
            await self._kept.note_unheard(low)
            self._noted = low

    def _next(self) -> Job | None:
        if self._lost is not None:
            since, self._lost = self._lost, None
            return Job("the broker lost our session", Query(at=since))
        if self._before is not None:
            first, self._before = self._before, None
            return Job("an earlier process was not heard", Query(first - 1))
        if found := self._unheard.take_found():
            self._probe_at = 0.0  # where one is heard, others may be
            return heard(found)
        return self._requests.popleft() if self._requests else None

    async def _replay(self, job: Job) -> None:
        self._taken = 0
        try:
            await self._publish(self._chunks(job.query), spares=job.spares)
        except StoreError as why:
            if job.reply is None:
                self._requests.appendleft(job)
                raise
            log.error("%s: cannot be read: %s", job.why, why)  # noqa: TRY400 # the message says it all
            told: msgspec.Struct | dict[str, int] = Error("overload", "what is kept cannot be read now", None, None)
        else:
            told = {"published": self._taken}
            if self._taken or job.reply is not None:
                log.info("%s: %d Results published again", job.why, self._taken)
        if job.reply is not None:
            self._publisher.publish([answer(job.reply, told)])
        self._unheard.settle()

    async def _chunks(self, query: Query) -> AsyncIterator[list[Entry]]:
        query = query._replace(until=await self._kept.newest())  # what comes later is published by itself
        while (found := await self._kept.read(query)) is not None:
            entries, last = found
            yield entries
            query = query._replace(after=last)

    async def _publish(self, chunks: AsyncIterator[list[Entry]], *, spares: bool) -> None:
        """Publish, as the broker takes them; returns once it has taken all."""
        async for entries in chunks:
            if self._recalls:  # these are waited for, by messages that hold up all later ones
                await self._recall_all()
            for n, _, topic, payload in entries:
                if self._under_way >= WINDOW or self._publisher.full:
                    await self._some_room()
                if not spares or not self._unheard.covers(topic, n):
                    self._send(topic, payload, partial(self._replayed, n, topic, payload))
        await self._all_taken()

    def _send(self, topic: str, payload: bytes, done: Callable[[int], None]) -> None:
        self._under_way += 1
        self._publisher.publish([Publish(topic, payload, done=done)])

    async def _some_room(self) -> None:
        """Wait until half of what is under way is taken, and the broker takes more."""
        while self._under_way > WINDOW // 2:
            self._room.clear()
            await self._room.wait()
        await asyncio.sleep(REST)
        while self._publisher.full:  # noqa: ASYNC110 # the broker is slow or away; live Results go first
            await asyncio.sleep(ROOM)

    async def _all_taken(self) -> None:
        while self._under_way:
            self._room.clear()
            await self._room.wait()

    def _replayed(self, n: int, topic: str, payload: bytes, code: int) -> None:
        self._taken += code < 0x80
        self._acknowledged(n, topic, payload, code)

    def _acknowledged(self, n: int, topic: str, payload: bytes, code: int) -> None:
        self._under_way -= 1
        if self._under_way in {0, WINDOW // 2}:
            self._room.set()
        if code >= 0x80:
            self._counts["results_refused_by_broker"] += 1
            return
        self._counts["results_replayed"] += 1
        if code == NO_MATCHING_SUBSCRIBERS:
            self._unheard.note(topic, payload, n)
        else:
            self._unheard.heard(topic)

    # ---- whole windows that come a second time

    async def _recall_all(self) -> None:
        while self._recalls:
            n = next(iter(self._recalls))
            found = await self._kept.read(Query(n - 1, n))
            windows = self._recalls.pop(n)  # not before: what cannot be read now is tried again
            entries = found[0] if found is not None else ()
            by_id = {_id(entry.payload): entry for entry in entries}  # a final one is after its provisional one
            for window in windows:
                entry = by_id.get(window)
                if entry is None:  # over age or size by now
                    self._recalled(window)
                    continue
                if self._under_way >= WINDOW:
                    await self._some_room()
                self._send(entry.topic, entry.payload, partial(self._recall_taken, window, entry))

    def _recall_taken(self, window: str, entry: Entry, code: int) -> None:
        self._acknowledged(entry.n, entry.topic, entry.payload, code)
        self._recalled(window)

    # ---- what nobody heard

    async def _try_to_be_heard(self) -> bool:
        """Try one Result of one topic, of all as soon as one is heard; whether something was found to publish again."""
        now = time.monotonic()
        marks = self._unheard.marks
        if not marks:
            self._pause = PROBE_FIRST
            return False
        if self._swept and now < self._probe_at:
            return False
        probes = self._unheard.probes(1 if self._swept else None)
        self._swept = True
        await self._publish(_once([Entry(mark.n, 0.0, topic, mark.payload) for topic, mark in probes]), spares=False)
        heard = bool(self._unheard.found)
        if heard and len(probes) == 1 and marks and now >= self._sweep_at:
            self._swept, self._sweep_at = False, now + SWEEP_EVERY
        self._pause = PROBE_FIRST if heard else min(2 * self._pause, PROBE_LONGEST)
        self._probe_at = now + self._pause
        return heard


async def _once(entries: list[Entry]) -> AsyncIterator[list[Entry]]:
    yield entries


class _Id(msgspec.Struct):
    id: str


_decode_id = msgspec.json.Decoder(_Id).decode


def _id(payload: bytes) -> str:
    return _decode_id(payload).id
