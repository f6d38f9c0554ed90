"""Who sees both ends, the agent's stdout and an independent subscriber, in one thread; and memory meanwhile."""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING

from bridge import topics
from tests.benchmarks import frames, proc

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from tests.faults.measures.sight import Sight

SAMPLED = 0.1  # seconds between two looks at memory


class Witness:
    """Watches one life of an agent.

    Args:
        port: of the broker.
        agent: with its stdout as a pipe.
        watch: process ids whose memory is sampled, by name.
        sight: takes what is seen.

    Attributes:
        rss: resident bytes of each process, as sampled.
    """

    def __init__(self, port: int, agent: subprocess.Popen[bytes], watch: dict[str, int], sight: Sight) -> None:
        assert agent.stdout is not None
        self.rss: dict[str, list[int]] = {one: [] for one in watch}
        self.sight = sight
        self._watch = watch
        self._agent, self._out = agent, agent.stdout.fileno()
        self._sock = frames.dial(port, f"witness-{agent.pid}", listen=topics.RESULT_FILTER, qos=1)
        self._lines = self._packets = b""
        self._looked = 0.0
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        self._poll.register(self._sock, select.POLLIN)

    def watch(self, until: Callable[[], bool], seconds: float) -> bool:
        """Looks on until something holds; whether it did in that time."""
        end = time.monotonic() + seconds
        while not (held := until()) and time.monotonic() < end:
            self._turn()
        return held

    def look_on(self, seconds: float) -> None:
        """Looks on for so long."""
        self.watch(lambda: False, seconds)

    def close(self) -> None:
        """Listens no more."""
        self._sock.close()

    def _turn(self) -> None:
        for number, _ in self._poll.poll(20):
            if number == self._out:
                self._confirmations(os.read(self._out, frames.READ))
            else:
                self._results(self._sock.recv(frames.READ))
        now = time.monotonic()
        if now - self._looked >= SAMPLED:
            self._looked = now
            for name, pid in self._watch.items():
                self.rss[name].append(proc.rss_bytes(pid))

    def _confirmations(self, data: bytes) -> None:
        now = time.monotonic()
        if not data:
            raise ConnectionError(f"the agent closed its stdout; exit code {self._agent.poll()}")
        *lines, self._lines = (self._lines + data).split(b"\n")
        for line in lines:
            self.sight.confirmed(line, now)

    def _results(self, data: bytes) -> None:
        now = time.monotonic()
        if not data:
            raise ConnectionError("the broker closed the connection")
        self._packets += data
        packets, used = frames.split(self._packets)
        answers = b""
        for first, start, end in packets:
            if first & 0xF0 == frames.PUBLISH:
                _, packet, payload = frames.message(self._packets, first, start, end)
                answers += frames.puback(packet)
                self.sight.answered(payload, now)
        self._packets = self._packets[used:]
        self._sock.sendall(answers)
