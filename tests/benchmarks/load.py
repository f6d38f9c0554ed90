"""The load generator and the counter of Results: one process, bare sockets, packets encoded beforehand; for all alike.

`python -m tests.benchmarks.load`: a `Task` as JSON on stdin, a `Told` as JSON on stdout. It publishes at QoS 1, never
more than `IN_FLIGHT` unacknowledged, and listens at QoS 0, so that counting costs the broker least; each Result is
decoded, and its label compared with what it should be.
"""

from __future__ import annotations

import gc
import os
import select
import statistics
import sys
import time
from pathlib import Path

import msgspec

from tests.benchmarks import frames, proc, work
from tests.benchmarks.task import Task, Told

IN_FLIGHT = 1_000
BASE = 65_536  # row number of the first whole window
AT_ONCE = 128  # messages in one write
SAMPLED = 0.25  # seconds between two looks at memory
PRIMED = 20.0  # seconds that priming may take
TICK = 0.001  # seconds between two looks at what came, with more than one under way: being woken for each costs others
QUIET = 1.0  # seconds without a Result after which what is missing counts as missing


class _Seen(msgspec.Struct):
    device: str
    seq: int
    label: str


class Generator:
    """One run."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._work = work.load(Path(task.work))
        stream = work.SERIES if task.series else work.WHOLE
        size = len(self._work.payloads[0]) + len(work.tail(0, text=self._work.text))
        names = [f"edge/v1/{work.SITE}/d{n}/data/{stream}" for n in range(task.devices)]
        self._heads = [frames.publish_head(name, size) for name in names]
        self._pub = frames.dial(task.broker, "load")
        self._sub = frames.dial(task.broker, "counter", listen=work.RESULT_FILTER)
        self._poll = select.poll()
        self._poll.register(self._pub, select.POLLIN)
        self._poll.register(self._sub, select.POLLIN)
        self._decode = msgspec.json.Decoder(_Seen).decode
        self._next = task.first
        self._acked = self._ack_bytes = 0
        self._pending: dict[int, float] = {}
        self._results = frames.Reader(self._sub)
        self._ignored = bytearray(frames.READ)
        self._gathers = task.rate is not None or task.outstanding > 1
        self._latencies: list[float] = []
        self._looked = 0.0
        self._heard = 0.0
        self._rss: dict[str, list[int]] = {name: [] for name in task.watch}
        self.answered = self.wrong = self.repeated = 0

    # ---- going out

    def _send(self, count: int, now: float) -> None:
        payloads, heads, series, text = self._work.payloads, self._heads, self._task.series, self._work.text
        devices, different = len(heads), len(payloads)
        out: list[bytes] = []
        for i in range(self._next, self._next + count):
            k, device = divmod(i, devices)
            payload, seq = (payloads[k % different], k * work.HOP) if series else (payloads[i % different], BASE + i)
            out += (heads[device], (i % 65_535 + 1).to_bytes(2, "big"), payload, work.tail(seq, text=text))
            if not series or k:
                self._pending[i] = now
        self._next += count
        left = sum(map(len, out)) - self._pub.sendmsg(out)  # not joined: half the memory traffic of a loaded machine
        if left:
            self._pub.sendall(b"".join(out)[-left:])

    def _room(self, now: float, since: float, begun: int) -> int:
        task = self._task
        flight = IN_FLIGHT - (self._next - task.first - self._acked)
        if task.rate is not None:
            return min(flight, int((now - since) * task.rate) - (self._next - begun), AT_ONCE)
        return min(flight, task.outstanding - len(self._pending), AT_ONCE)

    # ---- coming in

    def _turn(self, wait: float) -> None:
        for number, _ in self._poll.poll(wait * 1e3):
            if number == self._sub.fileno():
                self._count()
            elif got := self._pub.recv_into(self._ignored):  # nothing but PUBACKs, four bytes each
                self._ack_bytes += got
                self._acked = self._ack_bytes // 4
            else:
                raise ConnectionError("the broker closed the connection")

    def _count(self) -> None:
        packets = self._results.read()
        now = self._heard = time.perf_counter()
        for first, body in packets:
            if first & 0xF0 == frames.PUBLISH:  # at QoS 0: its payload follows its topic
                self._result(body[frames.topic_end(body, 0) :], now)

    def _result(self, payload: memoryview, now: float) -> None:
        seen = self._decode(payload)
        if self._task.series:
            k = seen.seq // work.HOP + 1
            i, which = k * self._task.devices + int(seen.device[1:]), k
        else:
            i = which = seen.seq - BASE
        at = self._pending.pop(i, None)
        if at is None:
            known = self._task.first <= i < self._next
            self.repeated += known
            self.wrong += not known
        elif seen.label != self._work.labels[which % len(self._work.labels)] or (
            not self.answered and sorted(msgspec.json.decode(payload)) != self._work.keys
        ):
            self.wrong += 1
        else:
            self.answered += 1
            self._latencies.append(now - at)

    # ---- the run

    def run(self) -> Told:
        """Prime, warm up, measure, wait for what is missing."""
        task = self._task
        if task.series and not task.first:
            self._prime()
        since, begun = time.perf_counter(), self._next
        self._go_on(since + task.warm, since, begun)
        answered, sent, cpu = self.answered, self._next, self._cpu()
        self._latencies.clear()
        start = time.perf_counter()
        self._go_on(start + task.seconds, since, begun)
        seconds = time.perf_counter() - start
        answered, sent = self.answered - answered, self._next - sent
        spent = {name: after - cpu[name] for name, after in self._cpu().items()}
        latencies = sorted(self._latencies) or [0.0]
        self._heard = time.perf_counter()
        while self._pending and time.perf_counter() - self._heard < QUIET:
            self._turn(0.05)
            self._look(time.perf_counter())
        return Told(
            sent=self._next - task.first, answered=self.answered, wrong=self.wrong, repeated=self.repeated,
            missing=len(self._pending), rate=answered / seconds, offered=sent / seconds,
            p50=statistics.median(latencies), p99=latencies[int(0.99 * len(latencies))], cpu=spent, rss=self._rss,
            seconds=seconds,
        )  # fmt: skip

    def _prime(self) -> None:
        """The first message of each device, which completes nothing; until the bridge is through with them."""
        task = self._task
        while self._next < task.first + task.devices:
            left = task.first + task.devices - self._next
            self._send(max(0, min(AT_ONCE, left, IN_FLIGHT - (self._next - task.first - self._acked))), 0.0)
            self._turn(0.0)
        end = time.perf_counter() + PRIMED
        while not self.answered and (now := time.perf_counter()) < end:
            self._go_on(now + 0.05, now, self._next)

    def _go_on(self, until: float, since: float, begun: int) -> None:
        while (now := time.perf_counter()) < until:
            room = self._room(now, since, begun)
            if room > 0:
                self._send(room, now)
            if self._gathers and room < AT_ONCE:
                time.sleep(TICK)
            self._turn(0.0 if room >= AT_ONCE or self._gathers else 0.05)
            self._look(now)

    def _cpu(self) -> dict[str, float]:
        found = {name: proc.cpu_seconds(pid) for name, pid in self._task.watch.items()}
        return found | {"load": time.process_time()}

    def _look(self, now: float) -> None:
        if now - self._looked >= SAMPLED:
            self._looked = now
            for name, pid in self._task.watch.items():
                self._rss[name].append(proc.rss_bytes(pid))


def main() -> None:
    """Do what stdin says."""
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    os.nice(task.nice)
    generator = Generator(task)
    gc.disable()  # nothing here is cyclic; a collection would be a pause of ours in the bridge's latency
    sys.stdout.buffer.write(msgspec.json.encode(generator.run()))


if __name__ == "__main__":
    main()
