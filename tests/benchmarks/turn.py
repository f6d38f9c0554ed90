"""Where a turn of the pipeline spends its time, in process: `python -m tests.benchmarks.turn [MESSAGES]`.

The real parts on whole windows of real recordings, without sockets and broker: the publisher keeps what it is given and
acknowledges it after the turn; what is published is kept on the disk meanwhile. Prints the median µs a message of each
step (of what the disk answered the mean, for it answers for several turns at once), the part of it that decodes, and
the CPU of the thread that writes.
"""

from __future__ import annotations

import asyncio
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
    """A pipeline and what stands around it."""

    def __init__(self, folder: Path) -> None:
        manifest = Catalog(default_directory())[work.MODEL]
        route = RouteSection(stream=work.WHOLE, model=work.MODEL, windows="whole", place="bridge")
        table = route_table(Config(BridgeSection(id="turn"), routes=(route,)), {work.MODEL: manifest})
        self.broker, counts = _Broker(), Counter[str]()
        self.kept = Kept(folder / "results.db", print, age=3_600.0, size=1 << 28)
        self.inbox = Inbox(1 << 25, lambda: None, table.owner)
        self.pipeline = Pipeline(
            inbox=self.inbox,
            admission=Admission(table, {}, max_payload=1 << 20, max_rows=65_536, depth=32),
            table=table,
            windower=Windower(Patience(), lambda: "e"),
            engines={work.MODEL: load(manifest, manifest.for_tier("bridge"))},
            journal=Journal(folder / "journal.db", print),
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
        pipeline._decider.infer(turn)
        marks.append(("infer", clock()))
        for cut in turn.computed:
            pipeline._decider.place(cut, turn)
        marks.append(("place", clock()))
        pipeline._tell(turn)
        marks.append(("publish", clock()))
        sent, self.broker.sent = self.broker.sent, []
        for message in sent:
            assert message.done is not None
            message.done(0)
        marks.append(("PUBACKs", clock()))
        assert len(sent) == len(deliveries), f"{len(sent)} Results for {len(deliveries)} windows"
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
    assert parts.broker.acknowledged == number - 65_536
    await parts.kept.close()
    payload = given.payloads[0] + number.to_bytes(4, "big")
    for _ in range(WINDOWS // 10):
        begin = time.perf_counter()
        decode_observation(payload, Format.CBOR)
        taken["decoding alone"].append((time.perf_counter() - begin) * messages)
    middle = {name: statistics.mean if name.startswith("kept") else statistics.median for name in taken}
    return {name: float(middle[name](found)) / messages * 1e6 for name, found in taken.items()}


def main() -> None:
    """Measure and print."""
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else MESSAGES
    with tempfile.TemporaryDirectory(prefix="turn-") as folder:
        found = asyncio.run(measure(messages, Path(folder)))
    sys.stdout.write(f"µs a message, turns of {messages}\n")
    for name, each in found.items():
        sys.stdout.write(f"{name:16s} {each:6.2f}\n")


if __name__ == "__main__":
    main()
