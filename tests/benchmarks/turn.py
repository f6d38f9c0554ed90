"""Where a turn of the pipeline spends its time, in process: `python -m tests.benchmarks.turn [MESSAGES] [rows]`.

The real parts on real recordings, without sockets and broker: the publisher keeps what it is given and acknowledges it
after the turn; what is published is kept on the disk meanwhile. Of whole windows it prints the median µs a message of
each step (of what the disk answered the mean, for it answers for several turns at once), the part of it that decodes,
and the CPU of the thread that writes; with `rows`, of row streams of 100 and of 10,000 devices, some turns of the one
and some of the other, mean µs and the ratio of their times.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bridge.assembly import route_table
from bridge.catalog import Catalog, default_directory
from bridge.config import BridgeSection, Config, RouteSection
from bridge.mqtt.messages import Delivery, Publish
from bridge.pipeline.admit import Admission, ErrorGate
from bridge.pipeline.doors import MqttDoor
from bridge.pipeline.entries import Patience
from bridge.pipeline.inbox import Inbox
from bridge.pipeline.outbound import Outbound
from bridge.pipeline.pipeline import SIZE, Pipeline
from bridge.pipeline.turn import Turn
from bridge.pipeline.window import Windower
from bridge.runtime.load import load
from bridge.store.journal import Journal
from bridge.store.kept import Kept
from bridge.wire.formats import Format
from bridge.wire.observation import decode_observation
from tests.benchmarks import work

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.mqtt.connection import Connection
    from bridge.pipeline.arrival import Arrival

MESSAGES = 64  # in a turn
WINDOWS = 40_000  # in all
DEVICES = 16
FLEETS = (100, 10_000)
BLOCK, BLOCKS = 10_000, 12  # messages of a fleet before the other's turn, and how often each has one


class _Broker:
    """What door and way out need of a connection."""

    full = False

    def __init__(self) -> None:
        self.session = self
        self.connects = 1
        self.sent: list[Publish] = []
        self.acknowledged = 0

    def publish(self, messages: Iterable[Publish]) -> None:
        self.sent += messages

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            delivery.settled = 0
            self.acknowledged += 1


class _Parts:
    """A pipeline and what stands around it; `rows`: streams of rows, not whole windows."""

    def __init__(self, folder: Path, *, rows: bool = False) -> None:
        manifest = Catalog(default_directory())[work.MODEL]
        stream = work.SERIES if rows else work.WHOLE
        route = RouteSection(stream=stream, model=work.MODEL, windows="rows" if rows else "whole", place="bridge")
        table = route_table(Config(BridgeSection(id="turn"), routes=(route,)), {work.MODEL: manifest})
        self.broker, counts = _Broker(), Counter[str]()
        self.results = 0
        self.kept = Kept(folder / "results.db", print, age=3_600.0, size=1 << 28)
        self.inbox = Inbox(1 << 25, lambda: None, table.owner)
        self.journal = Journal(folder / "journal.db", print)
        self.pipeline = Pipeline(
            inbox=self.inbox,
            admission=Admission(table, {}, max_payload=1 << 20, max_rows=65_536, depth=32),
            table=table,
            windower=Windower(Patience(), lambda: "e"),
            engines={work.MODEL: load(manifest, manifest.for_tier("bridge"))},
            journal=self.journal,
            outbound=Outbound(self.broker, lambda _topic, _payload: None, ErrorGate(), counts, kept=self.kept),
            cloud=None,
            counts=counts,
        )
        self.door = MqttDoor(self.inbox, lambda _: False)
        self.door.connection = cast("Connection", self.broker)

    async def turn(self, deliveries: list[Delivery]) -> dict[str, float]:
        """Seconds of each step of one turn."""
        clock, pipeline = time.perf_counter, self.pipeline
        marks = [("", clock())]
        self.door.received(deliveries)
        events = await self.inbox.take(most=len(deliveries), size=SIZE, wait=0.0)
        marks.append(("door, inbox", clock()))
        turn = Turn(now=time.monotonic(), wall=time.time())
        for event in events:
            pipeline._intake.take(cast("Arrival", event), turn)
        marks.append(("admit, window", clock()))
        pipeline._note_series(turn)
        marks.append(("note series", clock()))
        pipeline._decider.infer(turn)
        marks.append(("infer", clock()))
        for cut in turn.computed:
            pipeline._decider.place(cut, turn)
        marks.append(("place", clock()))
        turn.changes.taken.extend(pipeline._out.taken())
        record = self.journal.prepare(turn.changes)
        marks.append(("journal: prepare", clock()))
        if record is not None:
            self.journal.write(record)
        marks.append(("journal: write", clock()))
        if record is not None:
            self.journal.done(record)
        marks.append(("journal: done", clock()))
        pipeline._tell(turn)
        marks.append(("publish", clock()))
        sent, self.broker.sent = self.broker.sent, []
        self.results += len(sent)
        for message in sent:
            assert message.done is not None
            message.done(0)
        marks.append(("PUBACKs", clock()))
        await asyncio.sleep(0)  # what the disk has meanwhile is settled
        marks.append(("kept", clock()))
        return {name: at - before for (_, before), (name, at) in itertools.pairwise(marks)}


async def measure(messages: int, folder: Path) -> dict[str, float]:
    """µs a message of each step: the median, of what the disk answers the mean."""
    parts, given = _Parts(folder), work.whole_windows()
    parts.kept.start()
    taken: dict[str, list[float]] = defaultdict(list)
    others = time.process_time() - time.thread_time()
    number = 65_536  # so that the row number takes four bytes in CBOR
    for _ in range(WINDOWS // messages):
        deliveries = []
        for packet_id in range(1, messages + 1):
            topic = f"edge/v1/{work.SITE}/d{number % DEVICES}/data/{work.WHOLE}"
            payload = given.payloads[number % len(given.payloads)] + number.to_bytes(4, "big")
            deliveries.append(Delivery(topic, payload, 1, False, None, None, None, packet_id))
            number += 1
        steps = await parts.turn(deliveries)
        for name, seconds in steps.items():
            taken[name].append(seconds)
        taken["all"].append(sum(steps.values()))
    await parts.kept.flush()
    taken["kept, its thread"] = [(time.process_time() - time.thread_time() - others) * messages / (number - 65_536)]
    assert parts.results == parts.broker.acknowledged == number - 65_536, f"{parts.results} of {number - 65_536}"
    await parts.kept.close()
    payload = given.payloads[0] + number.to_bytes(4, "big")
    for _ in range(WINDOWS // 10):
        begin = time.perf_counter()
        decode_observation(payload, Format.CBOR)
        taken["decoding alone"].append((time.perf_counter() - begin) * messages)
    middle = {name: statistics.mean if name.startswith("kept") else statistics.median for name in taken}
    return {name: float(middle[name](found)) / messages * 1e6 for name, found in taken.items()}


class _Fleet:
    """So many devices whose messages each complete a window that the message before began."""

    def __init__(self, devices: int) -> None:
        self._work = work.half_windows(f"fleet-{devices}")
        self._topics = [f"edge/v1/{work.SITE}/d{n}/data/{work.SERIES}".encode() for n in range(devices)]
        self._next = 0

    @property
    def due(self) -> int:
        """How many windows are complete."""
        return self._next - len(self._topics)

    def deliveries(self, count: int) -> list[Delivery]:
        """The next messages, device by device, as new objects."""
        made = []
        for n in range(self._next, self._next + count):
            k, device = divmod(n, len(self._topics))
            payload = self._work.payloads[k % len(self._work.payloads)] + work.tail(k * work.HOP, text=False)
            made.append(Delivery(self._topics[device].decode(), payload, 1, False, None, None, None, n % 65_535 + 1))
        self._next += count
        return made


async def measure_rows(messages: int, folder: Path) -> dict[str, list[float]]:
    """µs a message of each step, of each fleet; means, for many messages share a commit and its sync."""
    parts = _Parts(folder, rows=True)
    parts.kept.start()
    fleets = [_Fleet(devices) for devices in FLEETS]
    for _ in range(0, 2 * FLEETS[-1], messages):  # each device has begun a window
        for fleet in fleets:
            await parts.turn(fleet.deliveries(messages))
    gc.collect()
    gc.freeze()  # as the bridge does once it is ready
    taken: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(fleets))
    turns = BLOCK // messages + 1
    for block in range(BLOCKS):
        for which in range(len(fleets))[:: 1 if block % 2 else -1]:
            for _ in range(turns):
                steps = await parts.turn(fleets[which].deliveries(messages))
                for name, seconds in [*steps.items(), ("all", sum(steps.values()))]:
                    taken[name][which] += seconds
    await parts.kept.flush()
    await parts.kept.close()
    gc.unfreeze()
    due = sum(fleet.due for fleet in fleets)
    assert parts.results == due, f"{parts.results} Results for {due} windows"
    return {name: [1e6 * one / (BLOCKS * turns * messages) for one in found] for name, found in taken.items()}


def main() -> None:
    """Measure and print."""
    say, given = sys.stdout.write, sys.argv[1:]
    rows, counts = "rows" in given, [int(one) for one in given if one != "rows"]
    messages = counts[0] if counts else MESSAGES
    with tempfile.TemporaryDirectory(prefix="turn-") as folder:
        say(f"µs a message, turns of {messages}\n")
        if rows:
            for name, (few, many) in asyncio.run(measure_rows(messages, Path(folder))).items():
                say(f"{name:16s} {few:6.2f} {many:6.2f}  {few / many if many else 0.0:.3f}\n")
        else:
            for name, each in asyncio.run(measure(messages, Path(folder))).items():
                say(f"{name:16s} {each:6.2f}\n")


if __name__ == "__main__":
    main()
